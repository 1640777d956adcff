#pragma once
// Who may log in from where: [[access]] of the TOML file. No sockets here: addresses are text.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgjanus {

/// A range of addresses. IPv4 stands in it as IPv4-mapped IPv6, so that a client that reached an
/// IPv6 listener over IPv4 is met by the same entry.
struct Network {
  std::array<std::uint8_t, 16> address{};
  unsigned bits = 128;
  [[nodiscard]] bool contains(const Network& host) const noexcept;
};

/// "10.0.0.0/8", "fd00::/8", or one address. Nothing for anything else, also for bits set behind
/// the prefix: 10.1.2.3/8 is more often a slip than meant.
[[nodiscard]] std::optional<Network> parse_network(std::string_view text);

/// One [[access]]: lets in whoever fits all that it says.
struct AccessEntry {
  std::vector<Network> from;       // Empty: from anywhere.
  bool tls = false;                // Only over TLS.
  std::vector<std::string> users;  // Empty: every user.
};

/// The entries together. A client is let in when any of them fits, so their order says nothing; no
/// entry at all lets everybody try a password.
class AccessRules {
 public:
  AccessRules() = default;
  explicit AccessRules(std::vector<AccessEntry> entries) : entries_{std::move(entries)} {}

  enum class Encryption : std::uint8_t { none, tls };
  /// Some user may log in from there this way.
  [[nodiscard]] bool admits(std::string_view address, Encryption encryption) const;
  /// This user may.
  [[nodiscard]] bool admits(std::string_view address, Encryption encryption,
                            std::string_view user) const;
  /// An entry asks for TLS.
  [[nodiscard]] bool needs_tls() const noexcept;
  [[nodiscard]] const std::vector<AccessEntry>& entries() const noexcept { return entries_; }

 private:
  std::vector<AccessEntry> entries_;
};

}  // namespace pgjanus
