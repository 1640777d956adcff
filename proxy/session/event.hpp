#pragma once
// Waiting inside one thread: coroutines of a session wake each other with these. No locks.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace pgjanus {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

/// Errors of I/O come back as values.
inline constexpr auto awaiting = asio::as_tuple(asio::use_awaitable);

/// Wakes every waiter. A waiter checks its condition in a loop, without suspending between check
/// and wait(), so no wake-up is lost. Lives on one thread.
class Signal {
 public:
  explicit Signal(const asio::any_io_executor& executor) : timer_{executor, Deadline::max()} {}
  void notify() { timer_.cancel(); }
  asio::awaitable<void> wait() {
    const auto woken = co_await timer_.async_wait(awaiting);
    static_cast<void>(woken);
  }

 private:
  asio::steady_timer timer_;
};

/// Like Signal with a limit, for one waiter at a time.
class Alarm {
 public:
  explicit Alarm(const asio::any_io_executor& executor) : timer_{executor} {}
  void notify() { timer_.cancel(); }
  asio::awaitable<void> wait_until(Deadline deadline) {
    timer_.expires_at(deadline);
    const auto woken = co_await timer_.async_wait(awaiting);
    static_cast<void>(woken);
  }

 private:
  asio::steady_timer timer_;
};

}  // namespace pgjanus
