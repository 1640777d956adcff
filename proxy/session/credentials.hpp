#pragma once
// Who may log in, and as whom that client's session logs in to each side.

#include <map>
#include <mutex>
#include <string>

#include "proxy/settings/settings.hpp"
#include "wire/scram.hpp"

namespace pgjanus {

/// Users and passwords of the settings. The URLs are read anew each time, so that a rotated
/// password holds from the next login on. Any thread.
class Credentials {
 public:
  explicit Credentials(const Settings& settings);

  struct Login {
    wire::ScramVerifier verifier;  // A mock for unknown users: the exchange looks the same.
    bool known = false;
    bool trusted = false;  // No password is configured, and we listen on loopback only.
  };
  /// Throws SettingsError when the URL cannot be read.
  [[nodiscard]] Login find(const std::string& user);

  /// Where and as whom this user's session logs in on that side. Throws SettingsError.
  [[nodiscard]] ConnectionParameters parameters(Side side, const std::string& user) const;
  /// The database name that clients ask for. Throws SettingsError.
  [[nodiscard]] std::string database() const;

 private:
  struct Known {
    std::string password;
    wire::ScramVerifier verifier;
  };
  [[nodiscard]] wire::ScramVerifier mock(const std::string& user) const;

  const std::string database_;
  const PerSide<UrlSource> url_;
  const std::vector<UserEntry> users_;
  const bool loopback_;
  std::string secret_;  // Makes mock salts: the same for a name, unknown to others.
  std::mutex mutex_;
  std::map<std::string, Known> verifiers_;
};

}  // namespace pgjanus
