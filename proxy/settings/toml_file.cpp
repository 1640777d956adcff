// The TOML file: keys checked against the table of settings, values handed on as text with their
// line. The only file that includes toml++.

#include <toml++/toml.h>

#include <algorithm>

#include "proxy/settings/options.hpp"

namespace pgjanus {
namespace {

std::string place(const std::string& path, const toml::node& node) {
  return path + ':' + std::to_string(node.source().begin.line);
}

/// A scalar, or an array of strings joined by commas, as text; nothing for anything else.
std::optional<std::string> as_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  const auto* list = node.as_array();
  if (!list) return std::nullopt;
  std::string joined;
  for (const auto& element : *list) {
    const auto* text = element.as_string();
    if (!text) return std::nullopt;
    if (!joined.empty()) joined += ',';
    joined += text->get();
  }
  return joined;
}

std::string known_keys(std::string_view section) {
  std::string keys;
  for (const auto& option : options()) {
    if (!option.toml.starts_with(section) || option.toml.size() <= section.size() ||
        option.toml[section.size()] != '.') {
      continue;
    }
    if (!keys.empty()) keys += ", ";
    keys += option.toml.substr(section.size() + 1);
  }
  return keys;
}

void read_section(const std::string& path, const std::string& section, const toml::table& table,
                  TomlSettings& out) {
  for (const auto& [key, node] : table) {
    const auto dotted = section + '.' + std::string{key.str()};
    const auto option = std::ranges::find(options(), dotted, &Option::toml);
    if (option == options().end()) {
      throw SettingsError{place(path, node) + ": unknown key \"" + std::string{key.str()} +
                          "\" in [" + section + "]; it has: " + known_keys(section)};
    }
    auto text = as_text(node);
    if (!text) {
      throw SettingsError{place(path, node) + ": " + dotted + " must be " +
                          std::string{option->expects} + ", as a string in quotes"};
    }
    out.givens[std::string{option->name}] = {std::move(*text), place(path, node)};
  }
}

void read_user(const std::string& path, const toml::table& table, TomlSettings& out) {
  UserEntry user;
  for (const auto& [key, node] : table) {
    const auto* text = node.as_string();
    const auto name = std::string{key.str()};
    if (!text) throw SettingsError{place(path, node) + ": " + name + " must be a string"};
    if (name == "name") user.name = text->get();
    else if (name == "password") user.password = text->get();
    else if (name == "source_user") user.server_user[Side::source] = text->get();
    else if (name == "target_user") user.server_user[Side::target] = text->get();
    else if (name == "source_password") user.server_password[Side::source] = text->get();
    else if (name == "target_password") user.server_password[Side::target] = text->get();
    else
      throw SettingsError{place(path, node) + ": unknown key \"" + name +
                          "\" in [[user]]; it has: name, password, source_user, "
                          "source_password, target_user, target_password"};
  }
  if (user.name.empty() || user.password.empty()) {
    throw SettingsError{place(path, table) + ": a [[user]] needs name and password"};
  }
  out.users.push_back(std::move(user));
}

/// The tables of an array of tables; throws when the key was written in another way.
std::vector<const toml::table*> tables_of(const std::string& path, std::string_view name,
                                          const toml::node& node) {
  std::vector<const toml::table*> tables;
  const auto* list = node.as_array();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    if (const auto* table = list->get_as<toml::table>(i)) tables.push_back(table);
  }
  if (!list || tables.size() != list->size()) {
    throw SettingsError{place(path, node) + ": write [[" + std::string{name} +
                        "]], with two brackets: there may be several"};
  }
  return tables;
}

void read_top(const std::string& path, const std::string& name, const toml::node& node,
              TomlSettings& out) {
  if (name == "user") {
    for (const auto* table : tables_of(path, name, node)) read_user(path, *table, out);
    return;
  }
  if (name == "database") {
    const auto tables = tables_of(path, name, node);
    if (tables.size() > 1) {
      throw SettingsError{place(path, *tables[1]) +
                          ": a second [[database]]; this version moves one database a process, "
                          "so run one pgjanus for each"};
    }
    for (const auto* table : tables) read_section(path, name, *table, out);
    return;
  }
  const auto known = std::ranges::any_of(options(), [&](const Option& option) {
    return option.toml.starts_with(name + '.');
  });
  const auto* table = node.as_table();
  if (!known || !table) {
    throw SettingsError{place(path, node) + ": unknown key \"" + name +
                        "\"; there are [[database]], [[user]], [listen], [admin], [http], "
                        "[mirror], [tables], [reads], [pool], [run], [load], [log]"};
  }
  read_section(path, name, *table, out);
}

}  // namespace

TomlSettings read_toml(const std::string& path) {
  toml::table document;
  try {
    document = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    const auto line = error.source().begin.line;
    // toml++ quotes what it met only as far as the offending character, never a whole value.
    throw SettingsError{(line ? path + ':' + std::to_string(line) : path) + ": " +
                        std::string{error.description()}};
  }
  TomlSettings out;
  for (const auto& [key, node] : document) read_top(path, std::string{key.str()}, node, out);
  return out;
}

}  // namespace pgjanus
