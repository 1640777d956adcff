#pragma once
// Capture: the functions and triggers that note which rows changed (design.md sections 3 and 4).
// README.md argues the details.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus::capture {

/// The SQL that creates (or replaces) the capture functions of one table, in schema pgjanus. Needs
/// no lock on the app's tables. Pure; `table.id` is set.
[[nodiscard]] std::string functions_sql(const TableInfo& table);
/// The same for many tables. Inside the caller's transaction, whose check_function_bodies it sets: the
/// server looks into the first of functions that differ in nothing but the table's number.
boost::asio::awaitable<void> create_functions(pg::Connection& connection,
                                              std::vector<TableInfo> tables);
/// Of these tables: those whose capture functions pin fewer settings than their columns' types need by now
/// (ALTER COLUMN TYPE). What such a function noted is the text that the app's session would have read.
boost::asio::awaitable<std::set<int>> unpinned(pg::Connection& connection, std::vector<TableInfo> tables);
/// "capture_7_insert"; operation is insert, update, delete or truncate.
[[nodiscard]] std::string function_name(int table_id, std::string_view operation);

/// One DDL step on one relation: its own transaction, with a lock timeout of 300 ms and retries.
struct Step {
  std::string relation;  // Name for SQL; for people, and for finding who blocks.
  std::string sql;       // One or several statements, run as one transaction.
  bool leaves = false;   // Not of this table any more: it merely loses triggers.
};

/// Steps that bring the triggers of a table to ENABLE ALWAYS capture, and drop the guard. Empty
/// when everything stands as it should (looked up in the catalog, tgenabled included). The
/// functions must exist. Relations are those of the catalog, not of `table`.
boost::asio::awaitable<std::vector<Step>> capture_steps(pg::Connection& connection,
                                                        const TableInfo& table);
/// Steps that put the guard (fence without transition tables) on a table of a mirror being loaded,
/// and take capture triggers away.
boost::asio::awaitable<std::vector<Step>> guard_steps(pg::Connection& connection,
                                                      const TableInfo& table);
/// Both for many tables with one look at the catalog.
boost::asio::awaitable<std::vector<Step>> capture_steps(pg::Connection& connection,
                                                        const std::vector<TableInfo>& tables);
boost::asio::awaitable<std::vector<Step>> guard_steps(pg::Connection& connection,
                                                      const std::vector<TableInfo>& tables);
/// Steps that drop every trigger of ours in the database, one relation each. Never one DROP SCHEMA
/// CASCADE for it: that would wait for each table with the locks of all before it.
boost::asio::awaitable<std::vector<Step>> removal_steps(pg::Connection& connection);

/// Who keeps others from locking the relation, for people.
boost::asio::awaitable<std::string> holder_of(pg::Connection& connection, std::string relation);

/// Runs steps one by one: SET LOCAL lock_timeout 300 ms, retry with growing pauses, until `limit`
/// has gone for one step; then throws pg::Error naming the relation and who holds the lock. Their
/// commits do not wait for the disk, but the return does: then all of them are there for good. A
/// relation that is gone by then is no error. Any other error is thrown as it is.
/// `waiting` hears of each failed try: relation, and pid, user, application and seconds of a
/// holder; it may be empty.
using OnWaiting = std::function<void(const std::string& relation, const std::string& holder)>;
boost::asio::awaitable<void> run_steps(pg::Connection& connection, std::vector<Step> steps,
                                       pg::Duration limit, OnWaiting waiting);
/// The same where nobody is held up by locks on many relations at once: a mirror that is not in use
/// yet. A group that fails is run one by one.
boost::asio::awaitable<void> run_steps_in_groups(pg::Connection& connection,
                                                 std::vector<Step> steps, pg::Duration limit,
                                                 OnWaiting waiting);

/// Tables of which a capture trigger is missing, replaced or not in mode A: their ids. What the
/// mirror loop asks every second. A table that does not exist (any more) is not named.
boost::asio::awaitable<std::vector<int>> lost(pg::Connection& connection,
                                              const std::vector<TableInfo>& tables);
/// Another text whenever lost() might answer otherwise than before: a tenth of its work, for whoever asks again and again.
boost::asio::awaitable<std::string> footprint(pg::Connection& connection);
/// Of these tables (ids and oids): those on which another table's capture stands, since they have exchanged their
/// names and the list does not say so yet. What the journal has of such an id is not what stands under its name.
boost::asio::awaitable<std::set<int>> mistaken(pg::Connection& connection, const std::vector<TableInfo>& tables);
/// What lost() looks at of the listed tables: id, names, and names of key columns, nothing else. To
/// describe thousands of tables every second would cost the primary more than the app does.
boost::asio::awaitable<std::vector<TableInfo>> names_of_listed(pg::Connection& connection);

}  // namespace pgjanus::capture
