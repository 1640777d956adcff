#include "proxy/session/transfer.hpp"

#include <algorithm>
#include <cctype>

#include "router/names.hpp"

namespace pgjanus {

namespace {

constexpr char separator = '\x01';  // Between type names: format_type() prints no control bytes.

// What ends with the transaction or follows from the connection is not the session's.
constexpr std::string_view settings_sql =
    "SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'"
    " AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')";

constexpr std::string_view pin_sql =
    "SELECT CASE"
    // Whatever stands in the temporary schema (2615: pg_namespace) depends on it.
    " WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0 AND EXISTS (SELECT FROM"
    " pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 AND refobjid"
    " OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) THEN 'temporary table'"
    " WHEN EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) THEN 'WITH HOLD cursor'"
    " WHEN EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'"
    " AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN 'session advisory lock'"
    " WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"
    " THEN 'SQL PREPARE' ELSE '' END";

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return parts;
}

bool is_name_byte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '.' ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}

void set_one(std::string& sql, const std::string& name, const std::string& value) {
  sql += "SELECT pg_catalog.set_config(" + literal(name) + ", " + literal(value) + ", false);";
}

}  // namespace

std::string literal(std::string_view text) {
  const bool escape = text.find('\\') != std::string_view::npos;
  std::string quoted = escape ? " E'" : "'";
  for (const char c : text) {
    quoted += c;
    if (c == '\'' || c == '\\') quoted += c;
  }
  return quoted + '\'';
}

std::string pin_query() { return std::string{pin_sql}; }

std::string pin_of(const Answer& answer) {
  if (answer.results.empty() || answer.results.front().empty()) return {};
  return answer.results.front().front().front().value_or(std::string{});
}

std::string state_query(const std::vector<std::string>& custom, Prepareds which) {
  std::string sql{pin_sql};
  sql += ";";
  sql += settings_sql;
  for (const auto& name : custom)
    sql += " UNION ALL SELECT " + literal(name) + ", s FROM pg_catalog.current_setting(" +
           literal(name) + ", true) s WHERE s IS NOT NULL";
  sql += ";SELECT session_user, pg_catalog.current_setting('role');"
         "SELECT c FROM pg_catalog.pg_listening_channels() c;"
         "SELECT name, statement, pg_catalog.array_to_string(parameter_types, E'\\x01')"
         " FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql";
  if (which == Prepareds::none) sql += " AND false";
  return sql;
}

std::optional<SessionState> state_of(const Answer& answer, std::string_view login) {
  if (answer.lost || !answer.errors.empty() || answer.results.size() != 5) return {};
  const auto text = [](const std::optional<std::string>& value) {
    return value.value_or(std::string{});
  };
  SessionState state;
  state.pin = pin_of(answer);
  for (const auto& row : answer.results[1]) state.settings[text(row.at(0))] = text(row.at(1));
  if (answer.results[2].size() != 1) return {};
  state.authorization = text(answer.results[2].front().at(0));
  if (state.authorization == login) state.authorization.clear();
  state.role = text(answer.results[2].front().at(1));
  if (state.role == "none") state.role.clear();
  for (const auto& row : answer.results[3]) state.channels.push_back(text(row.at(0)));
  std::sort(state.channels.begin(), state.channels.end());
  for (const auto& row : answer.results[4])
    state.prepared[text(row.at(0))] = {text(row.at(1)), split(text(row.at(2)))};
  return state;
}

std::vector<std::string> settings_change(const SessionState& present, const SessionState& wanted) {
  std::vector<std::string> queries;
  std::string sql;
  for (const auto& [name, value] : present.settings)
    if (!wanted.settings.contains(name)) sql += "RESET " + name + ";";
  for (const auto& [name, value] : wanted.settings) {
    const auto had = present.settings.find(name);
    if (had != present.settings.end() && had->second == value) continue;
    if (name == "client_encoding")
      set_one(queries.emplace_back(), name, value);
    else
      set_one(sql, name, value);
  }
  const bool other_user = present.authorization != wanted.authorization;
  const bool other_role = present.role != wanted.role;
  if (!sql.empty() || !queries.empty() || other_user || other_role) {
    // Settings may need the rights of the user that logged in; then the roles as they were.
    std::string before, after;
    if (!present.role.empty()) before += "RESET ROLE;";
    if (!present.authorization.empty()) before += "RESET SESSION AUTHORIZATION;";
    if (!wanted.authorization.empty())
      after += "SET SESSION AUTHORIZATION " + literal(wanted.authorization) + ";";
    if (!wanted.role.empty()) after += "SET ROLE " + literal(wanted.role) + ";";
    sql = before + sql + after;
  }
  for (const auto& channel : present.channels)
    if (!std::binary_search(wanted.channels.begin(), wanted.channels.end(), channel))
      sql += "UNLISTEN " + sql_word(channel) + ";";
  for (const auto& channel : wanted.channels)
    if (!std::binary_search(present.channels.begin(), present.channels.end(), channel))
      sql += "LISTEN " + sql_word(channel) + ";";
  if (!sql.empty()) queries.push_back(std::move(sql));
  return queries;
}

std::vector<std::string> prepared_missing(const SessionState& present, const SessionState& wanted) {
  std::vector<std::string> names;
  for (const auto& [name, statement] : wanted.prepared) {
    const auto had = present.prepared.find(name);
    if (had == present.prepared.end() || !(had->second == statement)) names.push_back(name);
  }
  return names;
}

std::string types_query(const std::vector<std::string>& names) {
  std::string sql = "SELECT n, pg_catalog.to_regtype(n)::pg_catalog.oid FROM pg_catalog.unnest(ARRAY[";
  for (const auto& name : names) sql += (&name == &names.front() ? "" : ",") + literal(name);
  return sql + "]::pg_catalog.text[]) n";
}

void note_custom_names(std::string_view text, std::vector<std::string>& names) {
  if (text.find('.') == std::string_view::npos) return;
  const auto add = [&](std::string_view name) {
    const auto dot = name.find('.');
    if (dot == std::string_view::npos || dot == 0 || dot + 1 == name.size()) return;
    if (names.size() >= custom_names_max) return;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
  };
  for (std::size_t at = 0; at + 4 < text.size(); ++at) {
    const auto lower = [&](std::size_t i) { return i < text.size() ? (text[i] | 0x20) : 0; };
    if (lower(at) != 's' || lower(at + 1) != 'e' || lower(at + 2) != 't') continue;
    if (at > 0 && is_name_byte(text[at - 1]) && text[at - 1] != '.') continue;
    auto from = at + 3;
    static constexpr std::string_view config = "_config";
    std::size_t matched = 0;
    while (matched < config.size() && (from + matched < text.size()) &&
           (config[matched] == '_' ? text[from + matched] == '_' : lower(from + matched) == config[matched]))
      ++matched;
    if (matched == config.size()) from += matched;
    // Blanks, quotes, the parenthesis and the words SESSION and LOCAL stand before the name.
    for (int word = 0; word < 2 && from < text.size(); ++word) {
      while (from < text.size() && !is_name_byte(text[from]) && text[from] != ';') ++from;
      auto end = from;
      while (end < text.size() && is_name_byte(text[end])) ++end;
      add(text.substr(from, end - from));
      from = end;
    }
  }
}

}  // namespace pgjanus
