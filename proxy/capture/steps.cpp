// Running DDL steps on the app's tables without holding up the app.

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/capture/capture.hpp"
#include "sql_texts.hpp"

namespace pgjanus::capture {
namespace {

using Clock = std::chrono::steady_clock;
constexpr pg::Duration first_pause{100}, longest_pause{2'000};
constexpr std::size_t steps_a_group = 64;
constexpr pg::Duration group_limit{300'000};  // Each of them may wait for its locks for 3.3 s.

/// Whether trying again may help: lock_not_available, deadlock_detected, serialization_failure,
/// query_canceled (of others), and "tuple concurrently updated" of two DDLs, which has no code.
bool passes_by_itself(const pg::Error& error) {
  constexpr std::array<std::string_view, 4> states{"55P03", "40P01", "40001", "57014"};
  return std::find(states.begin(), states.end(), error.sqlstate) != states.end() ||
         (error.is("XX000") && error.message.find("concurrently") != std::string::npos);
}

/// undefined_table, invalid_schema_name: dropped since we looked, and its triggers with it.
bool relation_is_gone(const pg::Error& error) { return error.is("42P01") || error.is("3F000"); }

}  // namespace

boost::asio::awaitable<std::string> holder_of(pg::Connection& connection, std::string relation) {
  pg::Parameters parameters{std::move(relation)};
  const pg::Rows rows =
      co_await connection.run(std::string{sql::lock_holder}, std::move(parameters));
  if (rows.empty()) co_return "whoever held the lock has just let it go";
  std::string text;
  if (!rows.text(0, 4).empty()) {
    text = "prepared transaction '" + rows.str(0, 4) + "'";
  } else {
    text = "pid " + rows.str(0, 0);
    if (!rows.text(0, 1).empty()) text += ", user " + rows.str(0, 1);
    if (!rows.text(0, 2).empty()) text += ", application " + rows.str(0, 2);
    if (rows.text(0, 6) == "autovacuum worker") text += ", autovacuum";
  }
  if (!rows.text(0, 3).empty()) text += ", for " + rows.str(0, 3) + " s";
  co_return text + " (" + rows.str(0, 5) + ")";
}

namespace {

/// One try; the error instead of an exception, since the caller goes on after it.
boost::asio::awaitable<std::optional<pg::Error>> attempt(
    pg::Connection& connection, const std::string& sql,
    pg::Duration limit = pg::Connection::default_limit) {
  std::optional<pg::Error> failure;
  try {
    co_await connection.run(
        "BEGIN;\nSET LOCAL lock_timeout = '300ms';\nSET LOCAL synchronous_commit = off;\n" +
            sql + ";\nCOMMIT",
        limit);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure && connection.usable()) co_await connection.run("ROLLBACK");
  co_return failure;
}

boost::asio::awaitable<void> run_step(pg::Connection& connection, const Step& step,
                                      pg::Duration limit, const OnWaiting& waiting) {
  const auto deadline = Clock::now() + limit;
  auto pause = first_pause;
  for (;;) {
    auto failure = co_await attempt(connection, step.sql);
    if (!failure || relation_is_gone(*failure)) co_return;
    if (failure->lost || !passes_by_itself(*failure)) throw *failure;
    const std::string holder = co_await holder_of(connection, step.relation);
    if (waiting) waiting(step.relation, holder);
    if (Clock::now() + pause > deadline) {
      pg::Error error{
          "no lock on " + step.relation + " within " +
          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) +
          " s; held by " + holder};
      error.sqlstate = failure->sqlstate;
      error.message = error.what();
      error.hint = "end that transaction, and run the command again: it goes on from here";
      throw error;
    }
    auto executor = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer{executor, pause};
    co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    pause = std::min(pause * 2, longest_pause);
  }
}

// WAL is flushed in its order: with this commit all of them are on disk. Before it a crash takes
// away the last of them and whatever was written after them, so no write is kept that a trigger
// which is lost had noted, or should have.
boost::asio::awaitable<void> flush_steps(pg::Connection& connection) {
  co_await connection.run(
      "BEGIN; SET LOCAL synchronous_commit = on; "
      "SELECT pg_logical_emit_message(true, 'pgjanus', 'steps'); COMMIT");
}

}  // namespace

boost::asio::awaitable<void> run_steps(pg::Connection& connection, std::vector<Step> steps,
                                       pg::Duration limit, OnWaiting waiting) {
  for (const auto& step : steps) co_await run_step(connection, step, limit, waiting);
  if (!steps.empty()) co_await flush_steps(connection);
}

boost::asio::awaitable<void> run_steps_in_groups(pg::Connection& connection,
                                                 std::vector<Step> steps, pg::Duration limit,
                                                 OnWaiting waiting) {
  for (std::size_t first = 0; first < steps.size(); first += steps_a_group) {
    const auto end = std::min(first + steps_a_group, steps.size());
    std::string sql;
    for (auto i = first; i < end; ++i) sql += (i > first ? ";\n" : "") + steps[i].sql;
    const auto failure = co_await attempt(connection, sql, group_limit);
    if (!failure) continue;
    if (failure->lost) throw *failure;
    for (auto i = first; i < end; ++i) co_await run_step(connection, steps[i], limit, waiting);
  }
  if (!steps.empty()) co_await flush_steps(connection);
}

}  // namespace pgjanus::capture
