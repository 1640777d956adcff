#pragma once
// pgjanus.tables while the app's tables come, go and change: the primary's list follows its catalog,
// the mirror's follows the primary's.

#include <boost/asio/awaitable.hpp>
#include <set>
#include <string>
#include <vector>

#include "proxy/ddl/marks.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus::ddl {

/// A row of pgjanus.tables.
struct Listed {
  int id = 0;
  std::string schema, name;
  std::vector<std::string> key, columns;
  friend bool operator==(const Listed&, const Listed&) = default;
};

boost::asio::awaitable<std::vector<Listed>> read_listing(pg::Connection& connection);

/// The tables of the primary that are to be listed: all but those that match `exclude`, and those that we may
/// not capture (somebody else's, or with foreign tables as partitions), unless they are listed already. Only those that
/// changed since the last look, by the marks `now`, read before, are described again.
/// What is known of the primary's tables from one look to the next.
struct Found {
  Marks marks;                    // As of which
  std::vector<TableInfo> tables;  // all that could be listed are like this,
  std::set<std::pair<int, std::int64_t>> whole;  // and the capture of these (id, oid) stands.
};
struct Candidates {
  std::vector<TableInfo> tables;
  std::set<std::string> beyond_us;  // Named schema.table, with why.
};
boost::asio::awaitable<Candidates> candidates(pg::Connection& primary,
                                              const std::vector<Listed>& listing,
                                              const std::vector<std::string>& exclude,
                                              Found& found, Marks now);
/// Those whose capture has to be looked at.
[[nodiscard]] std::vector<TableInfo> unsure(const std::vector<TableInfo>& tables, const Found& found);

/// Whether the list has these tables, under their names, with their keys, and nothing else. Pure.
[[nodiscard]] bool listed_rightly(const std::vector<Listed>& listing,
                                  const std::vector<TableInfo>& tables);

/// On the primary: lists what is there now and replaces capture functions whose key, columns or columns' types
/// changed, in one transaction; then puts the triggers that are missing, each relation in its own. Rows that may have
/// changed without them are noted in the transaction that puts them: a new partition's by their keys,
/// otherwise the table as a whole. `known` is the shape of the boundary. Throws pg::Error, 55P03 when
/// the app holds a table for longer than some seconds; what was done then stays, and is gone on with.
/// Where the primary takes no writes only the list is made right; PGJ04 where that is not enough.
enum class Primary { open, barred };
boost::asio::awaitable<void> list_and_capture(pg::Connection& primary, const Shape& known,
                                              const std::vector<std::string>& exclude, Primary writes,
                                              Found& found);

/// On the mirror, in the caller's transaction: makes its list the given one. Returns the tables whose rows
/// there cannot be built upon: those that are new to it, or have another key.
boost::asio::awaitable<std::set<int>> follow_listing(pg::Connection& mirror,
                                                     const std::vector<Listed>& listing);

/// The statement that notes what a relation of a table holds: its keys, or the table as a whole where these do not tell.
[[nodiscard]] std::string note_sql(const TableInfo& table, const RelationInfo& relation);
/// A statement that fails where a relation is not the one that was looked at, but another that has taken its name since;
/// empty when the table has none of that name.
[[nodiscard]] std::string still_named_sql(const TableInfo& table, const std::string& relation);

/// Ids that the journal names since a boundary (its snapshot's text).
boost::asio::awaitable<std::set<int>> journaled_ids(pg::Connection& primary,
                                                    const std::string& boundary);

}  // namespace pgjanus::ddl
