// The text of the capture functions. README.md argues each part.

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "proxy/capture/capture.hpp"
#include "sql_texts.hpp"

namespace pgjanus::capture {
namespace {

// What a column that is not there (any more) reads as in a whole row. A row that holds this text by
// accident, or by malice, only makes its table be read anew.
constexpr std::string_view missing_column = "pgjanus: no such column";

struct Pin {
  TextDepends of;
  std::string_view name, value;
};

// Equal to what proxy/pg/connection.cpp pins: both must write one value as one text.
constexpr std::array<Pin, 8> pins{{{text_depends::date_style, "DateStyle", "'ISO, MDY'"},
                                   {text_depends::time_zone, "TimeZone", "'UTC'"},
                                   {text_depends::interval_style, "IntervalStyle", "'postgres'"},
                                   {text_depends::float_digits, "extra_float_digits", "3"},
                                   {text_depends::bytea_output, "bytea_output", "'hex'"},
                                   {text_depends::monetary, "lc_monetary", "'C'"},
                                   // Of regclass, regtype and the like, and of whatever an extension's type prints.
                                   {text_depends::search_path, "search_path", "pg_catalog, pg_temp"},
                                   {text_depends::identifiers, "quote_all_identifiers", "off"}}};

/// What the texts that the table's functions note depend on.
TextDepends noted_depends(const TableInfo& table) {
  TextDepends depends = 0;
  if (table.keyed()) {
    for (const auto& key : table.key) depends |= key.text_depends;
  } else {
    for (const auto& column : table.columns) depends |= column.text_depends;
  }
  return depends;
}

/// The SET clauses that make the table's texts the same in every session.
std::string pinned_settings(const TableInfo& table) {
  std::string clauses;
  for (const auto& pin : pins) {
    if ((noted_depends(table) & pin.of) == 0) continue;
    clauses.append("\n  SET ").append(pin.name).append(" = ").append(pin.value);
  }
  return clauses;
}

std::string filled(std::string_view text, std::string_view placeholder, std::string_view value) {
  std::string result;
  for (;;) {
    const auto at = text.find(placeholder);
    result.append(text.substr(0, at));
    if (at == std::string_view::npos) return result;
    result.append(value);
    text.remove_prefix(at + placeholder.size());
  }
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (!text.empty()) text.append(separator);
    text.append(part);
  }
  return text;
}

/// The type's output function, always. The collation is ours: columns of different ones would leave
/// it open and fail the app's statement, a nondeterministic one would take two spellings for one.
std::string text_of(const std::string& column) {
  return "pg_catalog.concat(" + column + ") COLLATE pg_catalog.\"C\"";
}

/// One row source of a trigger: a transition table, or OLD or NEW of a row-level one.
struct Changed {
  std::string from;
  int weight;
};

/// SELECT of `expressions` of each row. The outer row f has every column we name: a name that the table
/// has lost resolves to f's instead of failing the app's statement, at no cost, since the planner pulls
/// both levels up into one scan.
std::string select_changed(const Changed& rows, const std::vector<std::string>& names,
                           std::string_view absent, std::string_view expressions,
                           std::string_view more) {
  std::vector<std::string> absent_columns;
  for (const auto& name : names) {
    absent_columns.push_back(std::string{absent} + " AS " + pg::quote_name(name));
  }
  return "SELECT k.*" + std::string{more} + " FROM (SELECT " + joined(absent_columns, ", ") +
         ") f, LATERAL (SELECT " + std::string{expressions} + " FROM " + rows.from + ") k";
}

/// IS DISTINCT FROM NULL and not IS NOT NULL: a row type with a NULL field is not NULL.
std::string text_or_null(const std::string& column) {
  return "CASE WHEN " + column + " IS DISTINCT FROM NULL THEN " + text_of(column) + " END";
}

/// The key of each row, once; NULL where a part of it is not there. Old and new ones meet as texts: equal
/// texts are found at less than half of the cost of equal arrays.
std::string keyed_rows(const TableInfo& table, const std::vector<Changed>& changes) {
  std::vector<std::string> names, there, texts, parts, numbered, parts_there, selects;
  for (const auto& key : table.key) {
    const auto name = pg::quote_name(key.name);
    const auto part = "k" + std::to_string(names.size());
    names.push_back(key.name);
    there.push_back(name + " IS DISTINCT FROM NULL");
    texts.push_back(text_of(name));
    numbered.push_back(text_or_null(name) + " AS " + part);
    parts.push_back("c." + part);
    parts_there.push_back("c." + part + " IS NOT NULL");
  }
  const bool one = changes.size() == 1;
  const auto key = [](const std::vector<std::string>& conditions, const std::vector<std::string>& values) {
    return "CASE WHEN " + joined(conditions, " AND ") + " THEN ARRAY[" + joined(values, ", ") + "] END";
  };
  const auto expressions = one ? key(there, texts) + " AS changed" : joined(numbered, ", ");
  for (const auto& rows : changes) {
    selects.push_back(select_changed(rows, names, "NULL::pg_catalog.text", expressions, ""));
  }
  return "SELECT pg_catalog.pg_current_xact_id(), " + std::to_string(table.id) + ", " +
         (one ? "c.changed" : key(parts_there, parts)) + ", NULL::pg_catalog.int4\n  FROM (" +
         joined(selects, "\n        UNION ") + ") c";
}

std::string whole_rows(const TableInfo& table, const std::vector<Changed>& changes) {
  std::vector<std::string> names, texts, selects;
  for (const auto& column : table.columns) {
    names.push_back(column.name);
    texts.push_back(text_or_null(pg::quote_name(column.name)));
  }
  const auto absent = pg::quote_literal(missing_column);
  for (const auto& rows : changes) {
    selects.push_back(select_changed(rows, names, absent + "::pg_catalog.text",
                                     "ARRAY[" + joined(texts, ", ") + "]::pg_catalog.text[] AS changed",
                                     ", " + std::to_string(rows.weight) + " AS weight"));
  }
  const auto complete = "pg_catalog.array_position(c.changed, " + absent + ") IS NULL";
  return "SELECT pg_catalog.pg_current_xact_id(), " + std::to_string(table.id) + ",\n         CASE WHEN " +
         complete + " THEN c.changed END,\n         CASE WHEN " + complete +
         " THEN pg_catalog.sum(c.weight)::pg_catalog.int4 END\n  FROM (" + joined(selects, "\n        UNION ALL ") +
         ") c\n  GROUP BY c.changed\n  HAVING pg_catalog.sum(c.weight) OPERATOR(pg_catalog.<>) 0 OR NOT " + complete;
}

/// "Read this table anew."
std::string every_row(const TableInfo& table) {
  return "VALUES (pg_catalog.pg_current_xact_id(), " + std::to_string(table.id) +
         ", NULL::pg_catalog.text[], NULL::pg_catalog.int4)";
}

std::string function(const TableInfo& table, std::string_view operation, std::string_view changes) {
  const auto body = filled(sql::capture_body, "{changes}", changes);
  auto text = filled(sql::capture_function, "{name}", function_name(table.id, operation));
  text = filled(text, "{pins}", pinned_settings(table));
  return filled(text, "{body}", pg::quote_literal(body));
}

std::string note(std::string_view rows) {
  return "INSERT INTO pgjanus.journal (xid, table_id, key, weight)\n  " + std::string{rows} + ";";
}

/// The statements that note what one operation changed: of the one row that a row-level trigger
/// is for, or of the transition tables. One function does both, so that a table may join or leave
/// an inheritance tree: its triggers are set anew then, its functions still fit.
std::string changes_of(const TableInfo& table, std::string_view operation) {
  const Changed old_rows{"old_rows", -1}, new_rows{"new_rows", 1};
  const Changed old_row{"(SELECT OLD.*) r", -1}, new_row{"(SELECT NEW.*) r", 1};
  std::vector<Changed> tables, row;
  if (operation != "insert") {
    tables.push_back(old_rows);
    row.push_back(old_row);
  }
  if (operation != "delete") {
    tables.push_back(new_rows);
    row.push_back(new_row);
  }
  const auto rows = [&](const std::vector<Changed>& changed) {
    return table.keyed() ? keyed_rows(table, changed) : whole_rows(table, changed);
  };
  // In a partition tree a row-level trigger sees rows that move between partitions. Without a key
  // such a row cannot be told from one that is in a transition table as well: it would be counted
  // twice, so the table is read anew.
  const bool anew = table.kind == 'p' && !table.keyed();
  std::string text;
  if (table.kind == 'p' && operation == "update") {  // The end of what rows_may_move() began.
    text =
        "IF TG_NARGS OPERATOR(pg_catalog.>) 0 THEN\n    PERFORM pg_catalog.set_config('pgjanus.rows_move', "
        "pg_catalog.substr(pg_catalog.current_setting('pgjanus.rows_move', true), 2), true);\n  END IF;\n  ";
  }
  return text + "IF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN\n  " + note(anew ? every_row(table) : rows(row)) +
         "\n  ELSE\n  " + note(rows(tables)) + "\n  END IF;";
}

constexpr std::array<std::string_view, 4> operations{"insert", "update", "delete", "truncate"};
constexpr std::size_t tables_a_trip = 50;
constexpr pg::Duration functions_limit{300'000};

std::string creation(const TableInfo& table, std::string_view operation) {
  const auto changes =
      operation == "truncate" ? note(every_row(table)) : changes_of(table, operation);
  return function(table, operation, changes);
}

// Firing needs no right to execute; attaching one to a table of one's own would.
std::string revocation(const TableInfo& table) {
  std::vector<std::string> names;
  for (const auto operation : operations) {
    names.push_back("pgjanus." + function_name(table.id, operation) + "()");
  }
  return "REVOKE ALL ON FUNCTION " + joined(names, ", ") + " FROM PUBLIC;\n";
}

}  // namespace

std::string function_name(int table_id, std::string_view operation) {
  return "capture_" + std::to_string(table_id) + "_" + std::string{operation};
}

std::string functions_sql(const TableInfo& table) {
  std::string sql;
  for (const auto operation : operations) sql += creation(table, operation);
  return sql + revocation(table);
}

boost::asio::awaitable<void> create_functions(pg::Connection& connection,
                                              std::vector<TableInfo> tables) {
  std::set<std::string> looked_into;
  bool checked = true;
  std::string sql;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    auto shape = tables[i];
    shape.id = 0;
    const bool first = looked_into.insert(functions_sql(shape)).second;
    if (first != checked || i == 0) {
      sql += std::string{"SET LOCAL check_function_bodies = "} + (first ? "on;\n" : "off;\n");
    }
    checked = first;
    sql += functions_sql(tables[i]);
    if (i + 1 < tables.size() && (i + 1) % tables_a_trip != 0) continue;
    co_await connection.run(std::move(sql), functions_limit);
    sql.clear();
  }
}

boost::asio::awaitable<std::set<int>> unpinned(pg::Connection& connection, std::vector<TableInfo> tables) {
  auto rows = co_await connection.run(
      "SELECT substring(p.proname from '^capture_([0-9]+)_')::integer, "
      "ARRAY(SELECT split_part(c, '=', 1) FROM unnest(p.proconfig) c)::text "
      "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'pgjanus' "
      "WHERE p.proname ~ '^capture_[0-9]+_update$'");
  std::map<int, TextDepends> stand;
  for (int row = 0; row < rows.size(); ++row) {
    auto& depends = stand[static_cast<int>(rows.integer(row, 0))];
    const auto names = pg::parse_array(rows.text(row, 1));
    for (const auto& pin : pins) {
      if (std::find(names.begin(), names.end(), pin.name) != names.end()) depends |= pin.of;
    }
  }
  std::set<int> found;
  for (const auto& table : tables) {
    const auto at = stand.find(table.id);
    if (at != stand.end() && (noted_depends(table) & ~at->second) != 0) found.insert(table.id);
  }
  co_return found;
}

}  // namespace pgjanus::capture
