#pragma once
// Where the admin socket is: made by `run`, found by every other verb.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/settings/settings.hpp"

namespace pgjanus::admin {

/// The directories that are tried when none is named, in order: /run/pgjanus,
/// $XDG_RUNTIME_DIR/pgjanus, and pgjanus-UID in the temporary directory.
[[nodiscard]] std::vector<std::string> default_directories(const Environment& environment);

/// Makes (0750) or accepts a directory for our socket: it must belong to us or to root and let
/// nobody else write. Throws SettingsError saying why not.
void accept_directory(const std::string& directory);

/// The directory to use, absolute: `wanted` when given, else the first of the defaults that can be made.
/// Throws SettingsError.
[[nodiscard]] std::string choose_directory(const std::string& wanted,
                                           const Environment& environment);

/// `<directory>/.s.PGSQL.<port>`.
[[nodiscard]] std::string socket_path(const std::string& directory, std::uint16_t port);

/// Holds the right to a socket path for as long as it lives: a lock on a file beside it, which the
/// kernel drops when the process dies, so that a socket whose process died is told from a live one
/// without a race. Removes both files at the end.
class SocketClaim {
 public:
  /// Throws SettingsError when another process has the path.
  explicit SocketClaim(std::string path);
  ~SocketClaim();
  SocketClaim(const SocketClaim&) = delete;
  SocketClaim& operator=(const SocketClaim&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_, lock_path_;
  int lock_ = -1;
};

/// A socket that somebody listens on.
struct LiveSocket {
  std::string directory;
  std::uint16_t port = 0;
  [[nodiscard]] std::string path() const { return socket_path(directory, port); }
};

/// Live sockets of a directory; those of other owners in a shared temporary directory are left out.
[[nodiscard]] std::vector<LiveSocket> live_sockets(const std::string& directory);

/// The one proxy that a verb means (contract.md, "Finding the proxy"). Throws SettingsError naming
/// what was found and where was looked.
[[nodiscard]] LiveSocket find_proxy(const AdminAddress& address, const Environment& environment);

}  // namespace pgjanus::admin
