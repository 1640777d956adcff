#pragma once
// Runs one command.

#include <boost/asio/awaitable.hpp>
#include <functional>

#include "proxy/admin/reply.hpp"
#include "proxy/session/control.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus::admin {

/// What the console works on. References outlive the console; all on the control thread.
struct Parts {
  Operations& operations;
  SessionControl* sessions = nullptr;  // Null: no sessions here (tests).
  const Settings& settings;
  std::function<Outcome()> reload;     // RELOAD: reads the settings again.
  std::function<void()> shutdown;      // SHUTDOWN: begins to drain.
};

/// Runs a command to its end. Never throws: what an operation throws becomes an error reply.
boost::asio::awaitable<Reply> execute(const Parts& parts, Command command,
                                      Operations::Caller caller);

/// The columns that execute() will answer with.
boost::asio::awaitable<std::vector<wire::Column>> describe(const Parts& parts, Command command);

}  // namespace pgjanus::admin
