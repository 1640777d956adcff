#pragma once
// The HTTP endpoints of the contract, on top of metrics/.

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "metrics/http_server.hpp"
#include "proxy/engine/status.hpp"

namespace pgjanus::http {

/// Where the answers come from; called on the control thread.
struct Source {
  std::function<Status()> status;
  std::function<SessionTotals()> totals;
  std::function<bool()> draining;  // Then /readyz says no, whatever the engine says.
};

/// Handlers of /, /status, /metrics, /healthz and /readyz. Each hands its question to the control
/// thread: an answer of /healthz proves that it turns. `source` must answer until `io` is stopped.
[[nodiscard]] metrics::Handlers endpoints(boost::asio::io_context& io, Source source);

}  // namespace pgjanus::http
