#pragma once
// The service manager that started us, if any: listening sockets it hands over, and what it is told.
// The protocols of systemd, sd_listen_fds(3) and sd_notify(3), without its library: an environment
// variable and a datagram.

#include <string_view>
#include <vector>

#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// Descriptors of listening sockets that were handed to this very process, in their order; empty
/// without any. They close on exec, and the variables that name them are removed, so that no child
/// takes them for its own: call it once, before there are threads. Throws SettingsError when one of
/// them is no listening stream socket.
[[nodiscard]] std::vector<int> inherited_sockets();

/// Where an inherited socket listens; nothing for a Unix-domain socket.
[[nodiscard]] std::optional<Address> address_of(int socket);

/// Tells the service manager, such as "READY=1" or "STOPPING=1"; lost when there is none.
void tell_service_manager(std::string_view state) noexcept;

}  // namespace pgjanus
