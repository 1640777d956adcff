#pragma once
// Two pieces of work at the same time, on one thread.

#include <boost/asio/awaitable.hpp>
#include <functional>

namespace pgjanus {

/// Runs both, each to its end. The first failure is thrown once both have ended; `on_failure` is
/// called as it happens and should bring the other one to its end soon (close its connection): a
/// failure that this causes is not told. It may be empty.
boost::asio::awaitable<void> side_by_side(boost::asio::awaitable<void> one,
                                          boost::asio::awaitable<void> other,
                                          std::function<void()> on_failure);

}  // namespace pgjanus
