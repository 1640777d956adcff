#include "proxy/service.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace pgjanus {
namespace {

constexpr int first_inherited = 3;  // SD_LISTEN_FDS_START.
constexpr int inherited_max = 64;

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return 0;
  const auto* end = text + std::strlen(text);
  int number = 0;
  const auto [rest, error] = std::from_chars(text, end, number);
  return error == std::errc{} && rest == end ? number : 0;
}

int option_of(int socket, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

}  // namespace

std::vector<int> inherited_sockets() {
  // The process id is named so that a child which inherited the variables leaves them alone.
  const bool ours = number_in("LISTEN_PID") == ::getpid();
  const int count = ours ? number_in("LISTEN_FDS") : 0;
  for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(variable);
  std::vector<int> sockets;
  for (int fd = first_inherited; fd < first_inherited + std::min(count, inherited_max); ++fd) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (option_of(fd, SO_TYPE) != SOCK_STREAM || option_of(fd, SO_ACCEPTCONN) != 1)
      throw SettingsError{"LISTEN_FDS: descriptor " + std::to_string(fd) +
                          " is no listening stream socket; a .socket unit needs ListenStream= and "
                          "Accept=no"};
    sockets.push_back(fd);
  }
  return sockets;
}

std::optional<Address> address_of(int socket) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&where), &size) != 0) return {};
  char text[INET6_ADDRSTRLEN] = {};
  if (where.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&where);
    ::inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    return Address{text, ntohs(in->sin_port)};
  }
  if (where.ss_family != AF_INET6) return {};
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&where);
  ::inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
  return Address{text, ntohs(in6->sin6_port)};
}

void tell_service_manager(std::string_view state) noexcept {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  const auto length = std::strlen(path);
  if (length >= sizeof where.sun_path) return;
  std::memcpy(where.sun_path, path, length);
  if (path[0] == '@') where.sun_path[0] = '\0';  // Linux's abstract names begin with a zero byte.
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // Nobody to tell it to is no error: the manager's own limit finds a service that stays silent.
  static_cast<void>(::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&where), size));
  ::close(fd);
}

}  // namespace pgjanus
