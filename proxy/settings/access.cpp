#include "proxy/settings/access.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace pgjanus {
namespace {

constexpr unsigned mapped_bits = 96;  // ::ffff:0:0/96, RFC 4291, section 2.5.5.2.

bool bit(const Network& network, unsigned index) noexcept {
  return (network.address[index / 8] >> (7 - index % 8) & 1) != 0;
}

bool fits(const AccessEntry& entry, const std::optional<Network>& host,
          AccessRules::Encryption encryption) {
  if (entry.tls && encryption == AccessRules::Encryption::none) return false;
  if (entry.from.empty()) return true;
  return host && std::ranges::any_of(entry.from, [&](const Network& network) {
           return network.contains(*host);
         });
}

}  // namespace

bool Network::contains(const Network& host) const noexcept {
  for (unsigned index = 0; index < bits; ++index) {
    if (bit(*this, index) != bit(host, index)) return false;
  }
  return true;
}

std::optional<Network> parse_network(std::string_view text) {
  const auto slash = std::min(text.find('/'), text.size());
  const std::string address{text.substr(0, slash)};
  Network network;
  unsigned offset = 0;
  if (inet_pton(AF_INET6, address.c_str(), network.address.data()) != 1) {
    network.address = {};
    network.address[10] = network.address[11] = 0xff;
    if (inet_pton(AF_INET, address.c_str(), network.address.data() + 12) != 1) return std::nullopt;
    offset = mapped_bits;
  }
  if (slash == text.size()) return network;
  unsigned bits = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, bits);
  if (error != std::errc{} || rest != end || bits > 128 - offset) return std::nullopt;
  network.bits = bits + offset;
  for (unsigned index = network.bits; index < 128; ++index) {
    if (bit(network, index)) return std::nullopt;
  }
  return network;
}

bool AccessRules::admits(std::string_view address, Encryption encryption) const {
  const auto host = parse_network(address);
  return entries_.empty() || std::ranges::any_of(entries_, [&](const AccessEntry& entry) {
           return fits(entry, host, encryption);
         });
}

bool AccessRules::admits(std::string_view address, Encryption encryption,
                         std::string_view user) const {
  const auto host = parse_network(address);
  return entries_.empty() || std::ranges::any_of(entries_, [&](const AccessEntry& entry) {
           const auto& users = entry.users;
           return fits(entry, host, encryption) &&
                  (users.empty() || std::ranges::find(users, user) != users.end());
         });
}

bool AccessRules::needs_tls() const noexcept {
  return std::ranges::any_of(entries_, &AccessEntry::tls);
}

}  // namespace pgjanus
