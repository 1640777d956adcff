#include "proxy/admin/socket.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

namespace pgjanus::admin {
namespace {

constexpr std::string_view prefix = ".s.PGSQL.";

std::string reason(int error) { return std::strerror(error); }

/// Whether somebody listens there. A socket that we may not connect to counts as live: it is not
/// ours to replace.
bool listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = result == 0 ? 0 : errno;
  close(fd);
  // EAGAIN: its queue of connections is full, so somebody holds it.
  return error == 0 || error == EACCES || error == EPERM || error == EAGAIN;
}

/// libpq takes what does not begin with a slash for a host's name, and the commands may run elsewhere. A
/// socket's path has 108 bytes, so dots go.
std::string absolute(const std::string& directory) {
  if (directory.starts_with('/')) return directory;
  std::error_code error;
  const auto found = std::filesystem::weakly_canonical(std::filesystem::absolute(directory, error), error);
  return error ? directory : found.string();
}

std::string listed(const std::vector<LiveSocket>& sockets) {
  std::string text;
  for (const auto& socket : sockets) text += (text.empty() ? "" : ", ") + socket.path();
  return text;
}

std::string listed(const std::vector<std::string>& directories) {
  std::string text;
  for (const auto& directory : directories) {
    text += (text.empty() ? "" : ", ") + directory;
    // Whoever may not look there cannot know whether a proxy runs.
    if (access(directory.c_str(), R_OK | X_OK) != 0 && errno == EACCES) {
      text += " (which this user may not look into)";
    }
  }
  return text;
}

}  // namespace

std::vector<std::string> default_directories(const Environment& environment) {
  std::vector<std::string> directories{"/run/pgjanus"};
  if (const auto runtime = environment("XDG_RUNTIME_DIR"); runtime && !runtime->empty()) {
    directories.push_back(*runtime + "/pgjanus");
  }
  const auto temporary = environment("TMPDIR");
  directories.push_back((temporary && !temporary->empty() ? *temporary : std::string{"/tmp"}) +
                        "/pgjanus-" + std::to_string(geteuid()));
  return directories;
}

void accept_directory(const std::string& directory) {
  const auto fail = [&](const std::string& why) {
    throw SettingsError{"cannot use " + directory + " for the admin socket: " + why};
  };
  if (mkdir(directory.c_str(), 0750) != 0 && errno != EEXIST) fail(reason(errno));
  struct stat info {};
  // lstat: a link that somebody planted in a shared directory must not lead us elsewhere.
  if (lstat(directory.c_str(), &info) != 0) fail(reason(errno));
  if (S_ISLNK(info.st_mode) && info.st_uid == geteuid()) {
    if (stat(directory.c_str(), &info) != 0) fail(reason(errno));
  }
  if (!S_ISDIR(info.st_mode)) fail("it is no directory");
  if (info.st_uid != geteuid() && info.st_uid != 0) fail("it belongs to another user");
  if (info.st_uid == geteuid() && (info.st_mode & S_IWOTH) != 0) {
    fail("everybody may write there; chmod 0750 it");
  }
  if (info.st_uid != geteuid() && (info.st_mode & S_IWOTH) != 0) {
    fail("it is a shared directory; name one of your own");
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) fail(reason(errno));
}

std::string choose_directory(const std::string& wanted, const Environment& environment) {
  if (!wanted.empty()) {
    accept_directory(wanted);
    return absolute(wanted);
  }
  std::string tried;
  for (const auto& directory : default_directories(environment)) {
    try {
      accept_directory(directory);
      return directory;
    } catch (const SettingsError& error) {
      tried += (tried.empty() ? "" : "; ") + std::string{error.what()};
    }
  }
  throw SettingsError{tried + "; name a directory with --admin-dir"};
}

std::string socket_path(const std::string& directory, std::uint16_t port) {
  return directory + '/' + std::string{prefix} + std::to_string(port);
}

SocketClaim::SocketClaim(std::string path)
    : path_{std::move(path)}, lock_path_{path_ + ".lock"} {
  if (path_.size() >= sizeof(sockaddr_un::sun_path)) {
    throw SettingsError{path_ + " is too long for a Unix-domain socket (107 bytes); name a shorter "
                                "--admin-dir"};
  }
  // The file may be removed by its owner between our open and our lock: then the lock is on a file
  // that nobody else can see, and the next round takes the new one.
  for (int round = 0; round < 100; ++round) {
    lock_ = open(lock_path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (lock_ < 0) throw SettingsError{"cannot write " + lock_path_ + ": " + reason(errno)};
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      close(lock_);
      throw SettingsError{"another pgjanus already serves " + path_ +
                          "; stop it, or use another port with --listen"};
    }
    struct stat held {}, named {};
    if (fstat(lock_, &held) == 0 && stat(lock_path_.c_str(), &named) == 0 &&
        held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
      break;
    }
    close(lock_);
    lock_ = -1;
  }
  if (lock_ < 0) throw SettingsError{"cannot keep " + lock_path_};
  if (listens(path_)) {  // Not one of ours: a server of Postgres with this port and directory.
    close(lock_);
    unlink(lock_path_.c_str());
    throw SettingsError{path_ + " is in use by another program"};
  }
  unlink(path_.c_str());  // Of a process that died.
}

SocketClaim::~SocketClaim() {
  unlink(path_.c_str());
  unlink(lock_path_.c_str());
  close(lock_);
}

std::vector<LiveSocket> live_sockets(const std::string& directory) {
  std::vector<LiveSocket> sockets;
  struct stat info {};
  if (stat(directory.c_str(), &info) != 0) return sockets;
  // A directory with our predictable name in /tmp may be somebody else's trap.
  const auto foreign = info.st_uid != geteuid() && info.st_uid != 0;
  if (foreign && directory.find("/pgjanus-") != std::string::npos) return sockets;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{directory, error}) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    unsigned port = 0;
    const auto* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, port);
    if (parsed.ec != std::errc{} || parsed.ptr != end || port == 0 || port > 65535) continue;
    if (listens(entry.path().string())) {
      sockets.push_back({directory, static_cast<std::uint16_t>(port)});
    }
  }
  std::ranges::sort(sockets, {}, &LiveSocket::port);
  return sockets;
}

LiveSocket find_proxy(const AdminAddress& address, const Environment& environment) {
  const auto directories = address.directory ? std::vector{absolute(*address.directory)}
                                             : default_directories(environment);
  std::vector<LiveSocket> found;
  for (const auto& directory : directories) {
    for (auto& socket : live_sockets(directory)) {
      if (!address.port || socket.port == *address.port) found.push_back(std::move(socket));
    }
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    const auto port = address.port ? " for port " + std::to_string(*address.port) : std::string{};
    throw SettingsError{"no running pgjanus found" + port + " under " + listed(directories) +
                        "; start one with `pgjanus run`, or name its --admin-dir and --listen"};
  }
  throw SettingsError{"several proxies run: " + listed(found) +
                      "; pick one with --admin-dir and --listen"};
}

}  // namespace pgjanus::admin
