#pragma once
// The schema, from one side to the other, by pg_dump and pg_restore.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/table.hpp"
#include "proxy/settings/settings.hpp"
#include "router/names.hpp"

namespace pgjanus::schema {

/// One line of an archive's table of contents: "222; 1259 16921 TABLE d ci postgres".
struct TocEntry {
  std::string line;
  std::string type;    // "TABLE", "SEQUENCE OWNED BY", …
  std::string schema;  // "-" without one
  std::string name;    // Tag; of a function with its arguments
};
/// Names of the source that a line of the list does not tell from what stands beside them: such as hold a blank.
struct BlankNames {
  std::vector<std::string> schemas, owners;
};
/// Parses one line; type empty when it is a comment or blank. Pure.
[[nodiscard]] TocEntry parse_toc_line(std::string_view line, const BlankNames& names = {});

/// A schema-only archive in memory.
struct Archive {
  std::string bytes;
  std::vector<TocEntry> contents;
};

/// pg_dump --schema-only of one section ("pre-data" or "post-data") without schema pgjanus, owners,
/// privileges, publications, subscriptions, tablespaces and security labels; under that exported snapshot, if one
/// is given. Throws pg::Error with the program's own words; 55P03 where it gave way to the app's locks, 40001
/// where the app's DDL took away what it had seen: it may be called again then.
boost::asio::awaitable<Archive> dump_schema(ConnectionParameters parameters, std::string section,
                                            std::string snapshot, BlankNames names, pg::Duration limit);
/// What dump_schema() wants to know.
boost::asio::awaitable<BlankNames> blank_names(pg::Connection& source);

/// The SQL of the chosen entries, in the archive's order, ready for Connection::run (psql's own
/// commands taken out). It changes session settings: run it on a connection of its own.
boost::asio::awaitable<std::string> restore_script(const Archive& archive,
                                                   std::vector<TocEntry> chosen);

/// A script of pg_restore in its pieces, one an object. Pure; only good for finding out which
/// object an error belongs to, since a function's body could look like a border.
struct ScriptPiece {
  std::string object;  // "TABLE d.ci"; empty for the settings at the top.
  std::string sql;
};
[[nodiscard]] std::vector<ScriptPiece> split_script(std::string_view script);

/// What the target is before the copy.
enum class Ground : std::uint8_t {
  empty,     // No tables of users: everything is missing but what every database has.
  populated  // Relations and what they may need (schemas, types, functions, extensions), where the
             // target has none of that name. Anything else is taken to be there.
};
/// Runs a script inside the transaction that `connection` is in. Throws pg::Error whose text names
/// the object; the transaction is then failed. On populated ground what needs something that the target has otherwise
/// (class 42) is left out and logged: it came since the first preparation, and replaying DDL brings it in its order.
boost::asio::awaitable<void> run_script(pg::Connection& connection, std::string script, Ground ground,
                                        pg::Duration limit);

/// Entries of a pre-data archive that the target does not have yet, under the names that it has for them.
boost::asio::awaitable<std::vector<TocEntry>> missing_entries(pg::Connection& target,
                                                              const Archive& archive,
                                                              Ground ground, const NameMap& names);

/// Whether an entry makes or changes one of the table's partitions. Pure.
[[nodiscard]] bool belongs_to(const TocEntry& entry, const TableInfo& table);

/// A script of the source in the target's names, with the schemas that it needs for them. Pure.
[[nodiscard]] std::string renamed_script(std::string_view script, const NameMap& names);

}  // namespace pgjanus::schema
