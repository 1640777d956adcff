#include "proxy/engine/side_by_side.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <exception>

namespace pgjanus {

namespace asio = boost::asio;

namespace {

// The references are to the frame of side_by_side(), which waits for us.
asio::awaitable<void> to_its_end(asio::awaitable<void> act, std::exception_ptr& first,
                                 const std::function<void()>& on_failure) {
  std::exception_ptr failure;
  try {
    co_await std::move(act);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure || first) co_return;
  first = failure;
  if (on_failure) on_failure();
}

}  // namespace

asio::awaitable<void> side_by_side(asio::awaitable<void> one, asio::awaitable<void> other,
                                   std::function<void()> on_failure) {
  using namespace asio::experimental::awaitable_operators;
  std::exception_ptr first;
  auto both = to_its_end(std::move(one), first, on_failure) &&
              to_its_end(std::move(other), first, on_failure);
  co_await std::move(both);
  if (first) std::rethrow_exception(first);
}

}  // namespace pgjanus
