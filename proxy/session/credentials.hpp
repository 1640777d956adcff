#pragma once
// Who may log in, from where, and as whom that client's session logs in to each side.

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "proxy/settings/settings.hpp"
#include "wire/scram.hpp"

namespace pgjanus {

/// Users, passwords and access rules of the settings. URLs and password files are read anew each
/// time, so that a rotated password holds from the next login on. Any thread.
class Credentials {
 public:
  explicit Credentials(const Settings& settings);

  struct Login {
    wire::ScramVerifier verifier;  // A mock for unknown users: the exchange looks the same.
    bool known = false;
    bool trusted = false;  // No password is configured, and we listen on loopback only.
  };
  /// Throws SettingsError when a file cannot be read.
  [[nodiscard]] Login find(const std::string& user);
  /// What stands for nobody: the exchange of an unknown user.
  [[nodiscard]] Login nobody(const std::string& user) const;

  using Encryption = AccessRules::Encryption;
  /// Somebody may log in from this address; asked before anything else is.
  [[nodiscard]] bool admits(std::string_view address, Encryption encryption) const;
  /// This user may. Who may not gets nobody()'s exchange, so that trying tells no names.
  [[nodiscard]] bool admits(std::string_view address, Encryption encryption,
                            std::string_view user) const;

  /// Where and as whom this user's session logs in on that side. Throws SettingsError.
  [[nodiscard]] ConnectionParameters parameters(Side side, const std::string& user) const;
  /// The database name that clients ask for. Throws SettingsError.
  [[nodiscard]] std::string database() const;

  /// RELOAD: other users and access rules from the next login on.
  void use(const Settings& settings);

 private:
  /// What a reload replaces, as a whole.
  struct Rules {
    std::vector<UserEntry> users;
    AccessRules access;
    [[nodiscard]] const UserEntry* find(std::string_view name) const;
  };
  struct Known {
    std::string password;
    wire::ScramVerifier verifier;
  };
  [[nodiscard]] std::shared_ptr<const Rules> rules() const;
  [[nodiscard]] std::optional<std::string> url_password(const std::string& user) const;
  [[nodiscard]] Login with_password(const std::string& user, const std::string& password);

  const std::string database_;
  const PerSide<UrlSource> url_;
  const bool loopback_;
  std::string secret_;  // Makes mock salts: the same for a name, unknown to others.
  mutable std::mutex mutex_;
  std::shared_ptr<const Rules> rules_;
  std::map<std::string, Known> verifiers_;
};

}  // namespace pgjanus
