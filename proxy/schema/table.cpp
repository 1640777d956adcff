#include "proxy/schema/table.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "proxy/schema/differences.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

using nlohmann::json;

struct KnownType {
  std::int64_t oid;
  TextDepends depends = 0;
};

/// What the output of built-in types depends on: by pg_type.oid, whose numbers never change.
/// A type that is missing here only costs its table all SET clauses on its capture functions.
constexpr std::array<KnownType, 39> known_types{{
    {16},    // bool
    {17, text_depends::bytea_output},
    {18},    // "char"
    {19},    // name
    {20},    // int8
    {21},    // int2
    {23},    // int4
    {25},    // text
    {26},    // oid
    {27},    // tid
    {28},    // xid
    {114},   // json
    {650},   // cidr
    {700, text_depends::float_digits},   // float4
    {701, text_depends::float_digits},   // float8
    {774},   // macaddr8
    {790, text_depends::monetary},
    {829},   // macaddr
    {869},   // inet
    {1005},  // int2[]
    {1007},  // int4[]
    {1009},  // text[]
    {1015},  // varchar[]
    {1016},  // int8[]
    {1042},  // bpchar
    {1043},  // varchar
    {1082, text_depends::date_style},    // date
    {1083},  // time
    {1114, text_depends::date_style},    // timestamp
    {1184, text_depends::date_style | text_depends::time_zone},  // timestamptz
    {1186, text_depends::interval_style},
    {1266, text_depends::date_style},    // timetz
    {1560},  // bit
    {1562},  // varbit
    {1700},  // numeric
    {2950},  // uuid
    {3220},  // pg_lsn
    {3802},  // jsonb
    {5069},  // xid8
}};

TextDepends depends(const json& column) {
  if (column.at("kind") == "e") return 0;
  const auto oid = column.at("base").get<std::int64_t>();
  const auto found = std::lower_bound(known_types.begin(), known_types.end(), oid,
                                      [](const KnownType& known, std::int64_t value) { return known.oid < value; });
  return found != known_types.end() && found->oid == oid ? found->depends : text_depends::unknown;
}

ColumnInfo read_column(const json& column) {
  return {.name = column.at("name"),
          .type = column.at("type"),
          .plain_type = column.at("plain_type"),
          .has_array_type = column.at("has_array_type"),
          .not_null = column.at("not_null"),
          .identity_always = column.at("identity_always"),
          .text_depends = depends(column),
          .number = column.at("number")};
}

char letter(const json& text) { return text.get<std::string>().at(0); }

TableInfo read_table(const json& document) {
  TableInfo table;
  table.id = document.at("id");
  table.oid = document.at("oid");
  table.schema = document.at("schema");
  table.name = document.at("name");
  table.called = {document.at("called_schema"), document.at("called_name")};
  table.kind = letter(document.at("kind"));
  table.inheritance = document.at("inheritance");
  table.unlogged = document.at("unlogged");
  table.key_deferrable = document.at("key_deferrable");
  table.key_indexed = document.at("key_indexed");
  table.other_unique = document.at("other_unique");
  for (const auto& column : document.at("columns")) table.columns.push_back(read_column(column));
  for (const auto& key : document.at("key")) {
    const std::string name = key.at("name");
    const auto column = std::find_if(table.columns.begin(), table.columns.end(),
                                     [&](const ColumnInfo& c) { return c.name == name; });
    if (column == table.columns.end()) continue;  // Generated: only possible behind our back.
    table.key.push_back({.name = name,
                         .plain_type = column->plain_type,
                         .equals = key.at("equals"),
                         .collate = key.at("collate"),
                         .text_depends = column->text_depends});
  }
  for (const auto& relation : document.at("relations")) {
    table.relations.push_back({.oid = relation.at("oid"),
                               .schema = relation.at("schema"),
                               .name = relation.at("name"),
                               .kind = letter(relation.at("kind")),
                               .pages = relation.at("pages")});
  }
  return table;
}

boost::asio::awaitable<std::vector<TableInfo>> describe(pg::Connection& connection,
                                                        std::string_view listed,
                                                        std::string some = {}) {
  std::string query = "WITH listed AS MATERIALIZED (";
  query.append(listed).append(")\n").append(sql::describe_tables);
  pg::Rows rows;
  if (some.empty()) {
    rows = co_await connection.run(std::move(query));
  } else {
    auto parameters = pg::params(std::move(some));
    rows = co_await connection.kept(std::move(query), std::move(parameters));
  }
  std::vector<TableInfo> tables;
  for (int row = 0; row < rows.size(); ++row) {
    tables.push_back(read_table(json::parse(rows.text(row, 0))));
  }
  co_return tables;
}

/// A row of describe_columns.sql.
TableInfo read_columns(const pg::Rows& rows, int row) {
  TableInfo table;
  table.id = static_cast<int>(rows.integer(row, 0));
  table.oid = static_cast<std::uint32_t>(rows.integer(row, 1));
  table.schema = rows.str(row, 2);
  table.name = rows.str(row, 3);
  table.called = {rows.str(row, 4), rows.str(row, 5)};
  table.kind = rows.text(row, 6).at(0);
  for (const auto& column : json::parse(rows.text(row, 9))) {
    ColumnInfo info;
    info.name = column.at(0);
    info.type = column.at(1);
    info.plain_type = column.at(2).is_null() ? info.type : column.at(2).get<std::string>();
    info.not_null = column.at(3);
    table.columns.push_back(std::move(info));
  }
  for (const auto& key : json::parse(rows.text(row, 8))) {
    const auto name = key.get<std::string>();
    const auto column = std::find_if(table.columns.begin(), table.columns.end(),
                                     [&](const ColumnInfo& c) { return c.name == name; });
    if (column == table.columns.end()) continue;  // Generated: only possible behind our back.
    auto& of_key = table.key.emplace_back();
    of_key.name = name;
    of_key.plain_type = column->plain_type;
  }
  if (table.oid != 0) {
    table.relations.push_back({.oid = table.oid, .schema = table.schema, .name = table.name, .kind = table.kind, .pages = rows.integer(row, 7)});
  }
  return table;
}

void leave_out(std::vector<TableInfo>& tables, const std::vector<std::string>& exclude) {
  std::erase_if(tables, [&](const TableInfo& table) {
    return std::any_of(exclude.begin(), exclude.end(),
                       [&](const std::string& pattern) { return table_matches(pattern, table); });
  });
}

/// Tables whose key is settled have that one, whatever this side's indexes would make it.
std::string listed_all(const Differences& differences) {
  std::string listed{sql::listed_all};
  if (differences.side == Side::source || differences.keys.empty()) return listed;
  std::string keys = "CASE";
  for (const auto& [table, columns] : differences.keys) {
    const auto local = differences.names.on(differences.side, table);
    const std::vector<std::optional<std::string_view>> names{columns.begin(), columns.end()};
    keys += " WHEN n.nspname = " + pg::quote_literal(local.schema) + " AND c.relname = " +
            pg::quote_literal(local.name) + " THEN " + pg::quote_literal(pg::array_literal(names)) + "::text[]";
  }
  constexpr std::string_view none = "NULL::text[]";
  return listed.replace(listed.find(none), none.size(), keys + " END");
}

/// Wildcards without backtracking over more than the last star: linear in practice, bounded always.
bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool table_matches(std::string_view pattern, const TableInfo& table) {
  const bool any_schema = pattern.find('.') == std::string_view::npos;
  return glob(pattern, any_schema ? table.by_source().name : table.display());
}

boost::asio::awaitable<std::vector<TableInfo>> discover_tables(
    pg::Connection& connection, const std::vector<std::string>& exclude) {
  const auto differences = co_await read_differences(connection);
  auto tables = co_await discover_tables(connection, exclude, differences);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> discover_tables(
    pg::Connection& connection, const std::vector<std::string>& exclude,
    const Differences& differences) {
  const auto listed = listed_all(differences);
  auto tables = co_await describe(connection, listed);
  for (auto& table : tables) differences.apply(table);
  leave_out(tables, exclude);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> discover_names(
    pg::Connection& connection, const std::vector<std::string>& exclude) {
  const auto differences = co_await read_differences(connection);
  const pg::Rows rows = co_await connection.run(std::string{sql::listed_all});
  std::vector<TableInfo> tables(static_cast<std::size_t>(rows.size()));
  for (int row = 0; row < rows.size(); ++row) {
    auto& table = tables[static_cast<std::size_t>(row)];
    table.oid = static_cast<std::uint32_t>(rows.integer(row, 0));
    table.schema = rows.str(row, 2);
    table.name = rows.str(row, 3);
    differences.apply(table);
  }
  leave_out(tables, exclude);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> stored_tables(pg::Connection& connection) {
  auto tables = co_await describe(connection, sql::listed_stored);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> stored_tables(pg::Connection& connection,
                                                             std::vector<int> ids) {
  std::string listed{sql::listed_stored};
  listed += "\nWHERE t.id = ANY ('{";
  for (std::size_t i = 0; i < ids.size(); ++i) {
    listed += (i > 0 ? "," : "") + std::to_string(ids[i]);
  }
  listed += "}'::integer[])";
  auto tables = co_await describe(connection, listed);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> stored_again(pg::Connection& connection, std::set<int> ids) {
  std::string list = "{";
  for (const int id : ids) list += (list.size() > 1 ? "," : "") + std::to_string(id);
  const auto listed = std::string{sql::listed_stored} + "\nWHERE t.id = ANY ($1::integer[])";
  auto tables = co_await describe(connection, listed, list + "}");
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> discover_again(pg::Connection& connection,
                                                              std::set<std::int64_t> relations) {
  std::string list = "{";
  for (const auto oid : relations) list += (list.size() > 1 ? "," : "") + std::to_string(oid);
  const auto differences = co_await read_differences(connection);
  const auto listed = listed_all(differences) + "\n  AND c.oid = ANY ($1::oid[])";
  auto tables = co_await describe(connection, listed, list + "}");
  for (auto& table : tables) differences.apply(table);
  co_return tables;
}

boost::asio::awaitable<std::vector<TableInfo>> stored_columns(pg::Connection& connection) {
  std::string query = "WITH listed AS MATERIALIZED (";
  query.append(sql::listed_stored).append(")\n").append(sql::describe_columns);
  const pg::Rows rows = co_await connection.run(std::move(query));
  std::vector<TableInfo> tables;
  for (int row = 0; row < rows.size(); ++row) tables.push_back(read_columns(rows, row));
  co_return tables;
}

}  // namespace pgjanus
