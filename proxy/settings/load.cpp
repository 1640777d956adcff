// Flags over environment over TOML, and what must hold between settings.

#include <unistd.h>

#include <cstdlib>

#include "proxy/settings/options.hpp"

namespace pgjanus {
namespace {

[[noreturn]] void wrong(const Option& option, const Given& given) {
  auto text = given.where + ": ";
  text += option.secret ? "this value" : '"' + given.value + '"';
  throw SettingsError{text + " is wrong for " + std::string{option.name} + "; it takes " +
                      std::string{option.expects}};
}

/// Checks every value, also of what a stronger place overrides: a file that is wrong today is wrong
/// on the day the variable goes.
Givens checked(Givens givens) {
  Settings scratch;
  for (const auto& [name, given] : givens) {
    const auto* option = find_option(name);
    if (!option->set(scratch, given.value)) wrong(*option, given);
  }
  return givens;
}

/// Puts what one place said over what weaker places said. A URL and its _FILE form are one
/// setting: the stronger place decides between them, and one place must not say both.
void overlay(Givens& below, Givens above) {
  for (const std::string name : {"source", "target"}) {
    const auto url = above.find(name);
    const auto file = above.find(name + "-file");
    if (url != above.end() && file != above.end()) {
      throw SettingsError{url->second.where + " and " + file->second.where +
                          " are both set; leave one of them out"};
    }
    if (url != above.end()) below.erase(name + "-file");
    if (file != above.end()) below.erase(name);
  }
  for (auto& [name, given] : above) below[name] = std::move(given);
}

Givens from_environment(const Environment& environment) {
  Givens givens;
  for (const auto& option : options()) {
    auto value = environment(option.environment);
    // Set but empty means not set, as with libpq's own variables: compose files cannot unset.
    if (!value || value->empty()) continue;
    givens[std::string{option.name}] = {std::move(*value), std::string{option.environment}};
  }
  return checked(std::move(givens));
}

Givens from_flags(const Flags& flags) {
  Givens givens;
  for (const auto& [name, value] : flags) {
    if (!find_option(name)) throw SettingsError{"--" + name + ": no such setting"};
    givens[name] = {value, "--" + name};
  }
  return checked(std::move(givens));
}

TomlSettings gather(const Flags& flags, const Environment& environment) {
  auto env = from_environment(environment);
  auto args = from_flags(flags);
  TomlSettings all;
  for (const auto* place : {&args, &env}) {
    const auto config = place->find("config");
    if (config == place->end()) continue;
    all = read_toml(config->second.value);
    all.givens = checked(std::move(all.givens));
    break;
  }
  overlay(all.givens, std::move(env));
  overlay(all.givens, std::move(args));
  return all;
}

std::string said_at(const Givens& givens, const std::string& side) {
  const auto file = givens.find(side + "-file");
  if (file != givens.end()) return file->second.where;
  const auto url = givens.find(side);
  return url == givens.end() ? side : url->second.where;
}

/// Both URLs, readable and different. The engine also compares system identifier and database oid,
/// which no spelling of a host name can hide.
void check_databases(Settings& settings, const Givens& givens) {
  PerSide<ConnectionParameters> sides;
  for (const auto side : {Side::source, Side::target}) {
    const auto name = std::string{to_string(side)};
    if (!settings.url[side].given()) {
      const auto* option = find_option(name);
      throw SettingsError{"no " + name + " database: set " + std::string{option->environment} +
                          ", --" + name + ", or " + name + " under [[database]] (" +
                          std::string{option->expects} + ")"};
    }
    try {
      sides[side] = settings.url[side].read();
    } catch (const SettingsError& error) {
      throw SettingsError{said_at(givens, name) + ": " + error.what()};
    }
  }
  const auto& source = sides[Side::source];
  const auto& target = sides[Side::target];
  const auto host = [](const ConnectionParameters& p) { return p.get("hostaddr", p.get("host")); };
  if (host(source) == host(target) && source.get("port") == target.get("port") &&
      source.get("dbname") == target.get("dbname")) {
    throw SettingsError{said_at(givens, "source") + " and " + said_at(givens, "target") +
                        " name the same database (" + source.describe() +
                        "); the target must be another one"};
  }
  if (settings.database.empty()) settings.database = source.get("dbname");
}

void check_together(const Settings& settings) {
  if (settings.certificate.empty() != settings.key.empty()) {
    throw SettingsError{"certificate and key belong together: " +
                        std::string{settings.key.empty() ? "key" : "certificate"} + " is missing"};
  }
  if (settings.access.needs_tls() && settings.certificate.empty()) {
    throw SettingsError{"an [[access]] asks for TLS, and there is no certificate for clients: set "
                        "certificate and key under [listen]"};
  }
  for (const auto& user : settings.users) {
    // Files that cannot be read are found now, not at a client's login.
    for (const auto* source : {&user.password, &user.server_password[Side::source],
                               &user.server_password[Side::target]}) {
      if (source->given()) static_cast<void>(source->read());
    }
  }
  for (const auto& file : {settings.certificate, settings.key}) {
    if (!file.empty() && access(file.c_str(), R_OK) != 0) {
      throw SettingsError{"cannot read " + file + " (certificate and key for clients)"};
    }
  }
}

}  // namespace

Environment process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string{name}.c_str());
    return value ? std::optional<std::string>{value} : std::nullopt;
  };
}

Settings load_settings(const Flags& flags, const Environment& environment, Needs needs) {
  auto said = gather(flags, environment);
  Settings settings;
  for (const auto& [name, given] : said.givens) find_option(name)->set(settings, given.value);
  settings.users = std::move(said.users);
  settings.access = AccessRules{std::move(said.access)};
  settings.renames = std::move(said.renames);
  check_together(settings);
  if (needs == Needs::databases) check_databases(settings, said.givens);
  return settings;
}

AdminAddress admin_address(const Flags& flags, const Environment& environment) {
  const auto said = gather(flags, environment);
  AdminAddress address;
  if (const auto found = said.givens.find("admin-dir"); found != said.givens.end()) {
    address.directory = found->second.value;
  }
  if (const auto found = said.givens.find("listen"); found != said.givens.end()) {
    address.port = parse_address(found->second.value)->port;  // Checked above.
  }
  return address;
}

}  // namespace pgjanus
