#include "proxy/verify/both.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <exception>

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

struct Attempt {
  pg::Rows rows;
  std::exception_ptr error;
};

// Both sides run at the same time; a failure of one must neither hide behind the other's nor leave
// it running.
asio::awaitable<Attempt> attempt(pg::Connection& side, std::string sql, pg::Connection& peer) {
  Attempt result;
  try {
    result.rows = co_await side.run(std::move(sql), scan_limit);
  } catch (...) {
    result.error = std::current_exception();
  }
  if (result.error) co_await peer.cancel();
  co_return result;
}

}  // namespace

asio::awaitable<BothRows> run_both(TwinSnapshots& twins, std::string primary_sql,
                                   std::string mirror_sql) {
  using namespace asio::experimental::awaitable_operators;
  auto both = attempt(*twins.primary, std::move(primary_sql), *twins.mirror) &&
              attempt(*twins.mirror, std::move(mirror_sql), *twins.primary);
  auto [primary, mirror] = co_await std::move(both);
  // The one that was cancelled says 57014; the other one knows why.
  const auto cancelled = [](const std::exception_ptr& error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const pg::Error& failure) {
      return failure.is("57014");
    } catch (...) {
      return false;
    }
    return false;
  };
  if (primary.error && (!mirror.error || !cancelled(primary.error))) {
    std::rethrow_exception(primary.error);
  }
  if (mirror.error) std::rethrow_exception(mirror.error);
  co_return BothRows{primary.rows, mirror.rows};
}

}  // namespace pgjanus::verify
