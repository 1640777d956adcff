#pragma once
// The table of settings: one name, three spellings (contract.md, "Settings").

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// One setting. `name` is the flag without dashes.
struct Option {
  std::string_view name, environment, toml;
  std::string_view expects;  // What would be right, for error messages and --help.
  bool (*set)(Settings&, const std::string& value);  // False: the value is wrong.
  bool secret = false;       // Values are never repeated in messages.
};
[[nodiscard]] std::span<const Option> options() noexcept;
/// The option of that name, or null.
[[nodiscard]] const Option* find_option(std::string_view name) noexcept;

/// What was said for one setting, and where: "--listen", "PGJANUS_LISTEN", "file.toml:12".
struct Given {
  std::string value, where;
};
using Givens = std::map<std::string, Given, std::less<>>;  // By Option::name.

/// What a TOML file says. Keys are checked, values are not yet.
struct TomlSettings {
  Givens givens;  // "database", "source" and so on among them, of its one [[database]].
  std::vector<UserEntry> users;
  std::vector<AccessEntry> access;
  NameMap renames;
};
/// Reads and checks a file. Throws SettingsError naming the line.
[[nodiscard]] TomlSettings read_toml(const std::string& path);

}  // namespace pgjanus
