#pragma once
// The admin socket: accepts, names connections for cancel requests, ends them.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "proxy/admin/executor.hpp"

namespace pgjanus::admin {

/// Serves the Postgres protocol on a Unix-domain socket, on the control thread. Several admin
/// connections at once; a command that takes long holds up only its own connection.
class Console {
 public:
  Console(boost::asio::io_context& io, Parts parts);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Binds the socket and begins to accept. `path`: claimed by the caller (SocketClaim). Throws
  /// SettingsError.
  void listen(const std::string& path);

  /// Stops accepting and closes every connection; commands under way become abandoned.
  void stop();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace pgjanus::admin
