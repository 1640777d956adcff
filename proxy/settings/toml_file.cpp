// The TOML file: keys checked against the table of settings, values handed on as text with their
// line. The only file that includes toml++.

#include <toml++/toml.h>

#include <algorithm>

#include "proxy/settings/options.hpp"
#include "wire/scram.hpp"

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

/// Takes one key of a [[user]]; false when there is no such key.
bool set_user_key(UserEntry& user, std::string_view name, const std::string& text) {
  if (name == "name") user.name = text;
  else if (name == "verifier") user.verifier = text;
  else if (name == "password") user.password = PasswordSource::literal(text);
  else if (name == "password_file") user.password = PasswordSource::file(text);
  else {
    for (const auto side : {Side::source, Side::target}) {
      const auto prefix = std::string{to_string(side)} + '_';
      if (!name.starts_with(prefix)) continue;
      const auto rest = name.substr(prefix.size());
      if (rest == "user") user.server_user[side] = text;
      else if (rest == "password") user.server_password[side] = PasswordSource::literal(text);
      else if (rest == "password_file") user.server_password[side] = PasswordSource::file(text);
      else return false;
      return true;
    }
    return false;
  }
  return true;
}

/// What the keys of a [[user]] must be together; the reason where they are not.
std::string wrong_user(const UserEntry& user, const toml::table& table) {
  if (user.name.empty()) return "a [[user]] needs a name";
  for (const std::string prefix : {"", "source_", "target_"}) {
    if (table.contains(prefix + "password") && table.contains(prefix + "password_file"))
      return prefix + "password and " + prefix + "password_file say the same; leave one out";
  }
  if (user.verifier.empty())
    return user.password.given() ? "" : "a [[user]] needs name and password (or password_file, or verifier)";
  if (user.password.given()) return "a [[user]] has a password or a verifier, not both";
  if (!wire::parse_verifier(user.verifier))
    return "verifier must be SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, as in "
           "pg_authid.rolpassword";
  for (const auto side : {Side::source, Side::target}) {
    if (!user.server_password[side].given())
      return "a verifier lets a client in, but logs in nowhere: the [[user]] also needs " +
             std::string{to_string(side)} + "_password";
  }
  return {};
}

void read_user(const std::string& path, const toml::table& table, TomlSettings& out) {
  UserEntry user;
  for (const auto& [key, node] : table) {
    const auto* text = node.as_string();
    const auto name = std::string{key.str()};
    if (!text) throw SettingsError{place(path, node) + ": " + name + " must be a string"};
    if (!set_user_key(user, name, text->get()))
      throw SettingsError{place(path, node) + ": unknown key \"" + name +
                          "\" in [[user]]; it has: name, password, password_file, verifier, "
                          "source_user, source_password, source_password_file, target_user, "
                          "target_password, target_password_file"};
  }
  auto wrong = wrong_user(user, table);
  for (const auto& other : out.users) {
    if (wrong.empty() && other.name == user.name) wrong = "a second [[user]] named " + user.name;
  }
  if (!wrong.empty()) throw SettingsError{place(path, table) + ": " + wrong};
  out.users.push_back(std::move(user));
}

/// The texts of a string or an array of strings.
std::vector<std::string> texts_of(const std::string& path, const std::string& key,
                                  const toml::node& node) {
  std::vector<std::string> texts;
  if (const auto* text = node.as_string()) texts.push_back(text->get());
  const auto* list = node.as_array();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    if (const auto* text = list->get_as<std::string>(i)) texts.push_back(text->get());
  }
  if (texts.empty() || (list && texts.size() != list->size()))
    throw SettingsError{place(path, node) + ": " + key + " must be a list of strings that is not empty"};
  return texts;
}

void read_access(const std::string& path, const toml::table& table, TomlSettings& out) {
  AccessEntry entry;
  for (const auto& [key, node] : table) {
    const auto name = std::string{key.str()};
    if (name == "from") {
      for (const auto& text : texts_of(path, name, node)) {
        const bool loopback = text == "loopback";
        for (const auto& range : loopback ? std::vector<std::string>{"127.0.0.0/8", "::1"}
                                          : std::vector<std::string>{text}) {
          const auto network = parse_network(range);
          if (!network)
            throw SettingsError{place(path, node) + ": \"" + text + "\" in from is no network; it "
                                "takes \"loopback\", an address, or a network such as 10.0.0.0/8 "
                                "(no bits set behind the prefix)"};
          entry.from.push_back(*network);
        }
      }
    } else if (name == "users") {
      entry.users = texts_of(path, name, node);
    } else if (name == "tls") {
      const auto* required = node.as_boolean();
      if (!required) throw SettingsError{place(path, node) + ": tls must be true or false"};
      entry.tls = required->get();
    } else {
      throw SettingsError{place(path, node) + ": unknown key \"" + name +
                          "\" in [[access]]; it has: from, tls, users"};
    }
  }
  out.access.push_back(std::move(entry));
}

/// One name of a [[rename]].
QualifiedName relation_of(const std::string& path, const std::string& key, const toml::node& node) {
  const auto* text = node.as_string();
  auto name = text ? parse_name(text->get()) : std::nullopt;
  if (!name || name->schema.empty()) {
    throw SettingsError{place(path, node) + ": " + (text ? '"' + text->get() + '"' : std::string{"this"}) +
                        " is wrong for " + key + " in [[rename]]; it takes a table with its schema, such "
                        "as \"public.users\" (names in double quotes as in SQL)"};
  }
  if (name->schema == "pgjanus" || name->schema == "information_schema" || name->schema.starts_with("pg_")) {
    throw SettingsError{place(path, node) + ": schema " + name->schema + " in [[rename]] is not the app's"};
  }
  return *name;
}

void read_rename(const std::string& path, const toml::table& table, TomlSettings& out) {
  Rename rename;
  for (const auto& [key, node] : table) {
    const auto name = std::string{key.str()};
    if (name == "source") rename.source = relation_of(path, name, node);
    else if (name == "target") rename.target = relation_of(path, name, node);
    else
      throw SettingsError{place(path, node) + ": unknown key \"" + name +
                          "\" in [[rename]]; it has: source, target"};
  }
  if (rename.source.name.empty() || rename.target.name.empty())
    throw SettingsError{place(path, table) + ": a [[rename]] needs source and target"};
  if (rename.source == rename.target)
    throw SettingsError{place(path, table) + ": " + to_string(rename.source) + " has the same name on both sides; "
                        "leave this [[rename]] out"};
  const auto text = to_string(rename.source) + " to " + to_string(rename.target);
  if (!out.renames.add(std::move(rename)))
    throw SettingsError{place(path, table) + ": [[rename]] " + text + ": one of these names has a [[rename]] already"};
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
  if (name == "access") {
    for (const auto* table : tables_of(path, name, node)) read_access(path, *table, out);
    return;
  }
  if (name == "rename") {
    for (const auto* table : tables_of(path, name, node)) read_rename(path, *table, out);
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
                        "\"; there are [[database]], [[user]], [[access]], [[rename]], [listen], [admin], [http], "
                        "[mirror], [tables], [reads], [pool], [run], [load], [verify], [log]"};
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
