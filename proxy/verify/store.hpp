#pragma once
// How far a comparison came, kept on the primary, so that one that was interrupted goes on.

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "proxy/verify/pass.hpp"

namespace pgjanus::verify {

/// Begins a run, or goes on with the stored one if that was asked for the same, in this epoch, came
/// forward within a day and did not end. True when it goes on. `scope` is JSON.
boost::asio::awaitable<bool> begin_run(pg::Connection& primary, std::string scope);
/// A run to which nobody can come back: a comparison after a repair.
boost::asio::awaitable<void> begin_unstored(pg::Connection& primary);
boost::asio::awaitable<void> end_run(pg::Connection& primary);
/// The scope of the run that begin_run() would go on with, if it was asked for.
boost::asio::awaitable<std::optional<std::string>> unfinished_scope(pg::Connection& primary);

/// Gives tables the parts that were stored for them, where the mark still fits, and counts what
/// was found there. What is stored for other tables or marks is forgotten.
boost::asio::awaitable<void> take_up(pg::Connection& primary, Pass& pass);
/// Stores the parts of tables that have none stored yet.
boost::asio::awaitable<void> store_parts(pg::Connection& primary, Pass& pass);
/// Of a table that was given up: its parts are to be compared anew, and its findings go.
boost::asio::awaitable<void> forget_table(pg::Connection& primary, int table_id);

/// The statement that notes parts as done, with its parameters; for Record::commit().
struct Note {
  std::string sql;
  pg::Parameters parameters;
};
struct Piece {
  Work* work = nullptr;
  Part* part = nullptr;
};
[[nodiscard]] Note done_note(const std::vector<Piece>& pieces);

}  // namespace pgjanus::verify
