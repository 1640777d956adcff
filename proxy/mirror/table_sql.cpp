#include "proxy/mirror/table_sql.hpp"

#include <algorithm>

namespace pgjanus {

namespace {

using pg::quote_name;

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

const ColumnInfo& column_of(const TableInfo& table, const std::string& name) {
  const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const ColumnInfo& column) { return column.name == name; });
  if (found == table.columns.end()) {
    pg::Error error{"column " + name + " of " + table.display() + " does not exist on the mirror"};
    error.message = error.what();
    error.sqlstate = "42703";
    error.schema = table.schema;
    error.table = table.name;
    error.column = name;
    throw error;
  }
  return *found;
}

// A parameter is an array of the column's own type, so that its elements meet the type's input
// function and no cast. A type without an array type (an array itself) travels as text.
std::string parameter(std::size_t number, const ColumnInfo& column) {
  return "$" + std::to_string(number) + "::" +
         (column.has_array_type ? column.plain_type : std::string{"text"}) + "[]";
}

std::string taken(const std::string& from, const ColumnInfo& column) {
  return column.has_array_type ? from : "(" + from + ")::" + column.plain_type;
}

/// unnest($1::t1[], …) AS u(c1, …): names by position, since a column may be called anything.
std::string unnested(const TableInfo& table, const std::vector<std::string>& columns) {
  std::vector<std::string> arrays, names;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    arrays.push_back(parameter(i + 1, column_of(table, columns[i])));
    names.push_back("c" + std::to_string(i));
  }
  return "unnest(" + joined(arrays, ", ") + ") AS u(" + joined(names, ", ") + ")";
}

std::vector<std::string> key_names(const TableInfo& table) {
  std::vector<std::string> names;
  for (const auto& key : table.key) names.push_back(key.name);
  return names;
}

/// t.k1 = <alias>.c0 AND …, with the operators of the key's own index.
std::string key_matches(const TableInfo& side, const std::string& alias) {
  std::vector<std::string> conditions;
  for (std::size_t i = 0; i < side.key.size(); ++i) {
    const auto& key = side.key[i];
    const auto value = taken(alias + ".c" + std::to_string(i), column_of(side, key.name));
    conditions.push_back("t." + quote_name(key.name) + " " + key.equals + " " + value + key.collate);
  }
  return joined(conditions, " AND ");
}

std::string read_sql(const TableInfo& table, const std::string& columns) {
  // One column: each row once by construction, and less to set up than a join. Not in a partition tree, where
  // each leaf would look for all keys.
  if (table.key.size() == 1 && table.kind == 'r') {
    const auto& key = table.key.front();
    const auto& column = column_of(table, key.name);
    if (column.has_array_type) {
      return "SELECT " + columns + " FROM " + table.sql_rows() + " AS t WHERE t." + quote_name(key.name) + " " + key.equals +
             " ANY (" + parameter(1, column) + key.collate + ")";
    }
  }
  std::vector<std::string> distinct;
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    const auto name = "c" + std::to_string(i);
    distinct.push_back("u." + name + table.key[i].collate + " AS " + name);
  }
  // DISTINCT by type: two spellings of one key (citext, 1.0 and 1.00) must give the row once.
  return "SELECT " + columns + " FROM (SELECT DISTINCT " + joined(distinct, ", ") + " FROM " +
         unnested(table, key_names(table)) + ") k JOIN " + table.sql_rows() + " AS t ON " +
         key_matches(table, "k");
}

struct Insertion {
  std::string columns, values;
};

Insertion insertion(const TableInfo& mirror, const std::vector<std::string>& names) {
  std::vector<std::string> columns, values;
  for (std::size_t i = 0; i < names.size(); ++i) {
    columns.push_back(quote_name(names[i]));
    values.push_back(taken("u.c" + std::to_string(i), column_of(mirror, names[i])));
  }
  return {joined(columns, ", "), joined(values, ", ")};
}

std::string upsert_sql(const PairedTable& table, const std::string& insert,
                       const std::vector<std::string>& names) {
  std::vector<std::string> keys, sets;
  for (const auto& key : table.primary.key) keys.push_back(quote_name(key.name));
  for (const auto& name : names) {
    // GENERATED ALWAYS identity takes no UPDATE; as a key it is equal already, otherwise the
    // table is delete_first.
    if (column_of(table.mirror, name).identity_always) continue;
    sets.push_back(quote_name(name) + " = EXCLUDED." + quote_name(name));
  }
  const auto target = insert + " ON CONFLICT (" + joined(keys, ", ") + ") DO ";
  return sets.empty() ? target + "NOTHING" : target + "UPDATE SET " + joined(sets, ", ");
}

// Equal rows are found by the text of the whole row: some types have no equality, and text is
// what the journal holds.
void add_keyless(PairedTable& table, const std::vector<std::string>& names,
                 const Insertion& target) {
  std::vector<std::string> arrays, columns, ours, theirs;
  for (std::size_t i = 0; i < names.size(); ++i) {
    arrays.push_back("$" + std::to_string(i + 1) + "::text[]");
    columns.push_back("c" + std::to_string(i));
    ours.push_back("t." + quote_name(names[i]));
    theirs.push_back("u.c" + std::to_string(i));
  }
  const auto times = "$" + std::to_string(names.size() + 1) + "::bigint[]";
  const auto rows = table.mirror.sql_rows();
  table.insert_times = "INSERT INTO " + table.mirror.sql_name() + " (" + target.columns +
                       ") OVERRIDING SYSTEM VALUE SELECT " + target.values + " FROM " +
                       unnested(table.mirror, names);
  // One more array than columns: the counts.
  const auto end_of_arrays = table.insert_times.rfind(") AS u(");
  table.insert_times.insert(end_of_arrays, ", " + times);
  table.insert_times.pop_back();
  table.insert_times += ", n), generate_series(1, u.n)";
  table.remove_times =
      "DELETE FROM " + rows + " AS d WHERE (d.tableoid, d.ctid) IN (SELECT x.tableoid, x.ctid FROM "
      "(SELECT t.tableoid, t.ctid, u.n, row_number() OVER (PARTITION BY u.i) AS number FROM " + rows +
      " AS t JOIN unnest(" + joined(arrays, ", ") + ", " + times + ") WITH ORDINALITY AS u(" +
      joined(columns, ", ") + ", n, i) ON ROW(" + joined(ours, ", ") + ")::text = ROW(" +
      joined(theirs, ", ") + ")::text) x WHERE x.number <= x.n)";
}

// A table without columns, or of generated ones only: all its rows are equal, only counts travel.
void add_columnless(PairedTable& table) {
  const auto rows = table.mirror.sql_rows();
  table.insert = "INSERT INTO " + table.mirror.sql_name() +
                 " SELECT FROM unnest($1::bigint[]) AS u(n), generate_series(1, u.n)";
  table.insert_times = table.insert;
  table.remove_times =
      "DELETE FROM " + rows + " AS d WHERE (d.tableoid, d.ctid) IN (SELECT x.tableoid, x.ctid FROM "
      "(SELECT t.tableoid, t.ctid, row_number() OVER () AS number FROM " + rows +
      " AS t) x WHERE x.number <= (SELECT sum(u.n) FROM unnest($1::bigint[]) AS u(n)))";
}

}  // namespace

PairedTable pair_table(TableInfo primary, TableInfo mirror) {
  PairedTable table;
  table.id = primary.id;
  table.primary = std::move(primary);
  table.mirror = std::move(mirror);
  // The mirror's rows are found by the primary's key, whatever the mirror calls its own.
  table.mirror.key = table.primary.key;

  std::vector<std::string> names, selected;
  for (std::size_t i = 0; i < table.primary.columns.size(); ++i) {
    const auto& name = table.primary.columns[i].name;
    names.push_back(name);
    selected.push_back("t." + quote_name(name));
  }
  bool hidden_identity = false;
  for (const auto& name : names) {
    const auto key = key_names(table.primary);
    hidden_identity = hidden_identity || (column_of(table.mirror, name).identity_always &&
                                          std::find(key.begin(), key.end(), name) == key.end());
  }
  table.delete_first =
      table.primary.delete_first() || table.mirror.delete_first() || hidden_identity ||
      !table.mirror.key_indexed;
  const auto columns = joined(selected, ", ");
  table.read_all = "SELECT " + columns + " FROM " + table.primary.sql_rows() + " AS t";
  table.remove_all = "DELETE FROM " + table.mirror.sql_rows();
  if (names.empty()) {
    add_columnless(table);
    return table;
  }
  const auto target = insertion(table.mirror, names);
  table.insert = "INSERT INTO " + table.mirror.sql_name() + " (" + target.columns +
                 ") OVERRIDING SYSTEM VALUE SELECT " + target.values + " FROM " +
                 unnested(table.mirror, names);
  if (!table.keyed()) {
    add_keyless(table, names, target);
    return table;
  }
  for (const auto& key : table.primary.key) {
    const auto at = std::find(names.begin(), names.end(), key.name);
    table.key_at.push_back(static_cast<std::size_t>(at - names.begin()));
  }
  table.read = read_sql(table.primary, columns);
  table.remove = "DELETE FROM " + table.mirror.sql_rows() + " AS t USING " +
                 unnested(table.mirror, key_names(table.mirror)) + " WHERE " +
                 key_matches(table.mirror, "u");
  table.upsert = upsert_sql(table, table.insert, names);
  return table;
}

void ColumnArrays::append(std::size_t column, const std::optional<std::string_view>& value) {
  auto& literal = literals_[column];
  if (literal.size() > 1) literal += ',';
  if (!value) {
    literal += "NULL";
    return;
  }
  literal += '"';
  for (const char c : *value) {
    if (c == '"' || c == '\\') literal += '\\';
    literal += c;
  }
  literal += '"';
}

std::size_t ColumnArrays::bytes() const noexcept {
  std::size_t sum = 0;
  for (const auto& literal : literals_) sum += literal.size();
  return sum;
}

pg::Parameters ColumnArrays::parameters() const {
  pg::Parameters parameters;
  parameters.reserve(literals_.size());
  for (const auto& literal : literals_) parameters.emplace_back(literal + "}");
  return parameters;
}

}  // namespace pgjanus
