#pragma once
// Waiting inside one io_context: a wake-up that coroutines wait for, always with a limit.

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace pgjanus {

/// Waits; cancelled only by the end of the io_context.
inline boost::asio::awaitable<void> pause_for(std::chrono::microseconds time) {
  auto executor = co_await boost::asio::this_coro::executor;
  boost::asio::steady_timer timer{executor, time};
  co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
}

/// Wakes whoever waits. One thread; the owner outlives the waits.
class Wakeup {
 public:
  explicit Wakeup(boost::asio::any_io_executor executor) : timer_{executor} {
    timer_.expires_at(std::chrono::steady_clock::time_point::max());
  }
  /// Wakes everybody who waits now, and whoever waits next if nobody did.
  void notify() noexcept {
    pending_ = true;
    timer_.cancel();
  }
  /// Until notified or the limit has gone; true when notified. Who waits beside another looks
  /// again after a moment: two on one timer would wake each other for ever.
  boost::asio::awaitable<bool> wait(std::chrono::milliseconds limit) {
    if (!pending_ && waited_for_) {
      const auto moment = std::min(limit, std::chrono::milliseconds{20});
      co_await pause_for(moment);
    } else if (!pending_) {
      waited_for_ = true;
      timer_.expires_after(limit);
      co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      waited_for_ = false;
    }
    const bool notified = pending_;
    pending_ = false;
    co_return notified;
  }

 private:
  boost::asio::steady_timer timer_;
  bool pending_ = false, waited_for_ = false;
};

}  // namespace pgjanus
