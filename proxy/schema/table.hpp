#pragma once
// One mirrored table as one side's catalog shows it. The unit is what an app would call a table: a
// partition tree is one table (its root), each member of a legacy inheritance tree is its own.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "router/names.hpp"

namespace pgjanus {

/// Settings that a type's output depends on, bit by bit; 0: none. `unknown`: all of them.
using TextDepends = std::uint8_t;
namespace text_depends {
constexpr TextDepends date_style = 1, time_zone = 2, interval_style = 4, float_digits = 8, bytea_output = 16,
                      monetary = 32, search_path = 64, identifiers = 128, unknown = 255;
}

struct ColumnInfo {
  std::string name;
  std::string type;            // format_type(): a name with its modifiers, schema-qualified.
  std::string plain_type;      // The same without modifiers ("numeric", "public.citext").
  bool has_array_type = true;  // Values travel as plain_type[]; else as text[].
  bool not_null = false;
  bool identity_always = false;
  TextDepends text_depends = 0;
  int number = 0;  // attnum; 0: not asked for.
};

struct KeyColumn {
  std::string name;
  std::string plain_type;
  std::string equals;  // "OPERATOR(pg_catalog.=)": the equality of the key index's operator class.
  std::string
      collate;  // " COLLATE pg_catalog.\"C\"" where the column's collation is not the type's.
  TextDepends text_depends = 0;
};

/// A relation of the tree: triggers stand on every one, rows only on leaves.
struct RelationInfo {
  std::uint32_t oid = 0;
  std::string schema, name;
  char kind = 'r';         // r plain or leaf, p partitioned
  std::int64_t pages = 0;  // pg_relation_size / block size, at discovery.
};

struct TableInfo {
  int id = 0;             // pgjanus.tables.id; 0 before it has one.
  std::uint32_t oid = 0;  // Of the root.
  std::string schema, name;  // As this side calls it.
  QualifiedName called;      // As the source calls it, and so do people, settings and pgjanus.tables.
  char kind = 'r';           // r plain, p partitioned root
  bool inheritance = false;  // Member of a legacy inheritance tree: row-level capture, FROM ONLY.
  bool unlogged = false;
  // Not dropped, not generated, not this side's own business, in attnum order.
  std::vector<ColumnInfo> columns;
  std::vector<KeyColumn> key;       // Empty: whole rows are journaled with a count.
  bool key_deferrable = false;
  bool key_indexed = false;             // A unique index of this side is over just the key's columns.
  bool other_unique = false;            // Unique or exclusion constraints beyond the key.
  std::vector<RelationInfo> relations;  // Root first; for 'r' just itself.

  [[nodiscard]] bool keyed() const noexcept { return !key.empty(); }
  /// Rows of a batch are all deleted before any is inserted: upserts could clash half way.
  [[nodiscard]] bool delete_first() const noexcept { return key_deferrable || other_unique; }
  /// schema.table of the source for people; quoted only where needed is not promised, not for SQL.
  [[nodiscard]] std::string display() const { return to_string(by_source()); }
  /// The source's name; this side's where nobody has said which that is.
  [[nodiscard]] QualifiedName by_source() const {
    return called.name.empty() ? QualifiedName{schema, name} : called;
  }
  /// For SQL.
  [[nodiscard]] std::string sql_name() const { return pg::qualified(schema, name); }
  /// "ONLY x" or "x" as FROM, DELETE and UPDATE need it: a partition root without ONLY.
  [[nodiscard]] std::string sql_rows() const { return (kind == 'p' ? "" : "ONLY ") + sql_name(); }
};

/// What differs on purpose between the sides (schema/differences.hpp), as one side stores it.
struct Differences;

/// All tables of the database that can be mirrored: user schemas without `pgjanus`, temporary and
/// system ones; not partitions of a listed root, not foreign tables, not members of extensions.
/// `exclude` are patterns schema.table with * and ? (one without a dot means any schema).
/// `connection` is inside no transaction or a READ COMMITTED one. ids are 0. What differs on purpose is
/// taken from what the side has stored, or from `differences` where it has stored nothing yet.
boost::asio::awaitable<std::vector<TableInfo>> discover_tables(
    pg::Connection& connection, const std::vector<std::string>& exclude);

boost::asio::awaitable<std::vector<TableInfo>> discover_tables(
    pg::Connection& connection, const std::vector<std::string>& exclude,
    const Differences& differences);

/// Their oids and names alone: describing thousands of tables costs many times as much.
boost::asio::awaitable<std::vector<TableInfo>> discover_names(
    pg::Connection& connection, const std::vector<std::string>& exclude);

/// The same as discover_tables() for the tables that pgjanus.tables of this side lists, with their ids and in id order.
/// A listed table that is gone has oid 0 and no columns. The key is the stored one, also where no
/// index enforces it (yet); columns are those of this side's catalog.
boost::asio::awaitable<std::vector<TableInfo>> stored_tables(pg::Connection& connection);
/// Only those of them that are named by id.
boost::asio::awaitable<std::vector<TableInfo>> stored_tables(pg::Connection& connection,
                                                             std::vector<int> ids);

/// The same as stored_tables() and discover_tables() for a few, again and again on one connection.
boost::asio::awaitable<std::vector<TableInfo>> stored_again(pg::Connection& connection, std::set<int> ids);
boost::asio::awaitable<std::vector<TableInfo>> discover_again(pg::Connection& connection,
                                                              std::set<std::int64_t> relations);

/// The same tables with names, kind, columns (name, type, plain_type, not_null) and the names of the key, and one
/// relation, itself, with the pages of the last ANALYZE; all other fields have their defaults.
boost::asio::awaitable<std::vector<TableInfo>> stored_columns(pg::Connection& connection);

/// Whether a name matches a pattern of --exclude. Pure.
[[nodiscard]] bool table_matches(std::string_view pattern, const TableInfo& table);

}  // namespace pgjanus
