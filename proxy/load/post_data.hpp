#pragma once
// The post-data section of pg_dump as a list of entries: indexes, constraints, triggers, rules, …

#include <string>
#include <string_view>
#include <vector>

namespace pgjanus::load {

/// One entry of a plain pg_dump. The header is what pg_dump writes above it
/// (pg_backup_archiver.c, _printTocEntry): "-- Name: n; Type: t; Schema: s; Owner: o".
struct Entry {
  std::string name;    // The tag: "users_email_key", of a constraint "users users_email_key".
  std::string type;    // INDEX, CONSTRAINT, FK CONSTRAINT, INDEX ATTACH, TRIGGER, …
  std::string schema;  // "-" for what is in no schema.
  std::string owner;
  std::string sql;  // Its statements, without SET lines and psql's backslash commands.
  std::string there_schema{}, there_name{};  // Schema and tag on the mirror; empty: the same.

  /// What pgjanus.steps remembers of it: changes when the definition does.
  [[nodiscard]] std::string step() const;
  [[nodiscard]] std::pair<std::string, std::string> on_mirror() const {
    return there_schema.empty() ? std::pair{schema, name} : std::pair{there_schema, there_name};
  }
  /// For people: "INDEX public.users_email_key".
  [[nodiscard]] std::string display() const;
};

/// Splits a plain dump at its headers. Headers inside of literals, quoted names, dollar quotes and
/// block comments are text; statements before the first header are left out, and SET,
/// SELECT pg_catalog.set_config and \restrict lines everywhere (our session is pinned already).
/// Throws std::runtime_error where a literal or comment does not end.
[[nodiscard]] std::vector<Entry> split_post_data(std::string_view dump);

}  // namespace pgjanus::load
