#include "proxy/engine/remove.hpp"

#include "proxy/schema/state.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

constexpr pg::Duration lock_limit{600'000};

Outcome outcome(Ended ended, std::string message, std::string hint = {}) {
  return {ended, std::move(message), std::move(hint), nullptr};
}

/// A connection, or the sentence that says why there is none.
struct Reached {
  pg::ConnectionPtr connection;
  std::string failure;
};
boost::asio::awaitable<Reached> reach(const Databases& databases, Side side) {
  Reached reached;
  try {
    reached.connection = co_await databases.open(side, "remove");
  } catch (const pg::Error& error) {
    reached.failure = error.what();
  }
  co_return reached;
}

/// Takes the triggers off the app's tables, then runs `last` on what is left of the schema.
boost::asio::awaitable<std::size_t> strip(pg::Connection& connection, Side side, std::string last,
                                          Progress progress, capture::OnWaiting waiting) {
  auto steps = co_await capture::removal_steps(connection);
  const auto relations = steps.size();
  if (progress && relations != 0) {
    progress("removing triggers from " + std::to_string(relations) + " relations of the " +
             std::string{to_string(side)});
  }
  steps.push_back({"pgjanus.journal", std::move(last)});
  co_await capture::run_steps(connection, std::move(steps), lock_limit, std::move(waiting));
  co_return relations;
}

// What was taken from a mirror (foreign keys, triggers, bounds of sequences) comes back.
constexpr const char* give_back =
    "BEGIN; SET LOCAL lock_timeout = '10s';"
    " SELECT pgjanus.restore_sequences(); SELECT pgjanus.restore_kept(); COMMIT";
constexpr const char* drop_schema = "DROP SCHEMA IF EXISTS pgjanus CASCADE";

/// Why abort is refused; empty when it may go on.
std::string abort_refusal(const std::optional<StoredState>& source,
                          const std::optional<StoredState>& target) {
  const bool swapped =
      (source && source->side != Side::source) || (target && target->side != Side::target);
  if (swapped) return "source and target are swapped: the databases remember which is which";
  if ((source && source->phase == "finished") || (target && target->phase == "finished")) {
    return "the migration is finished: there is nothing to abort";
  }
  if ((source && source->role != Role::primary) || (target && target->role != Role::mirror)) {
    return "the target has been made primary: abort is for before a cutover";
  }
  return {};
}

}  // namespace

boost::asio::awaitable<Outcome> abort_migration(const Databases& databases, Progress progress,
                                                capture::OnWaiting waiting) {
  const auto source = co_await databases.open(Side::source, "abort");
  const auto reached = co_await reach(databases, Side::target);
  const auto& target = reached.connection;
  const auto source_state = co_await read_state(*source);
  std::optional<StoredState> target_state;
  if (target) target_state = co_await read_state(*target);
  const auto refusal = abort_refusal(source_state, target_state);
  if (!refusal.empty()) {
    co_return outcome(Ended::refused, refusal, "`rollback` first, or `finish`");
  }
  if (target && !source_state && !target_state) {
    co_return outcome(Ended::done, "nothing of pgjanus stands in either database");
  }
  co_await strip(*source, Side::source, drop_schema, progress, waiting);
  if (!target) {
    co_return outcome(
        Ended::error,
        "the source is free of pgjanus; the target could not be reached: " + reached.failure,
        "run `abort` again when it is back");
  }
  if (target_state) co_await target->run(give_back);
  co_await strip(*target, Side::target, drop_schema, progress, waiting);
  co_return outcome(Ended::done, "aborted: nothing of pgjanus is left on either side",
                    "tables and rows that were copied to the target are still there");
}

boost::asio::awaitable<Outcome> finish_migration(const Databases& databases, Side primary,
                                                 Progress progress, capture::OnWaiting waiting) {
  const auto mirror_connection = co_await databases.open(other(primary), "finish");
  const auto connection = co_await databases.open(primary, "finish");
  const auto mirror_state = co_await read_state(*mirror_connection);
  const auto state = co_await read_state(*connection);
  if (!state || !mirror_state) {
    co_return outcome(Ended::not_ready, "there is no migration to finish", "see `status`");
  }
  if (state->role != Role::primary || mirror_state->role != Role::mirror) {
    co_return outcome(Ended::refused, "the stored roles are not one primary and one mirror",
                      "a flip has not ended; see `status`");
  }
  // The mirror first: its fence stands whatever happens next.
  constexpr const char* finished =
      "UPDATE pgjanus.state SET phase = 'finished' WHERE phase <> 'finished'";
  co_await mirror_connection->run(finished);
  const pg::Rows changed = co_await connection->run(finished);
  const auto relations =
      co_await strip(*connection, primary, std::string{sql::drop_all_but_state}, progress, waiting);
  const bool already = changed.affected() == 0 && relations == 0;
  co_return outcome(
      Ended::done,
      std::string{already ? "already finished: the " : "finished: the "} +
          std::string{to_string(primary)} + " is the database, the other side keeps its fence",
      "`finish --unfence` lifts that fence when nothing can write there by mistake any more");
}

boost::asio::awaitable<Outcome> unfence(const Databases& databases, std::string self,
                                        Progress progress, capture::OnWaiting waiting) {
  std::optional<Side> old_side;
  pg::ConnectionPtr connection;
  for (const Side side : {Side::source, Side::target}) {
    auto candidate = co_await databases.open(side, "unfence");
    const auto state = co_await read_state(*candidate);
    if (!state || state->phase != "finished") {
      co_return outcome(Ended::not_ready, "the migration is not finished", "`finish` comes first");
    }
    if (state->role != Role::mirror) continue;
    old_side = side;
    connection = std::move(candidate);
  }
  if (!old_side) co_return outcome(Ended::error, "neither side is the old one");
  const pg::Rows there = co_await connection->run("SELECT to_regclass('pgjanus.members')");
  if (!there.null(0, 0)) {
    pg::Parameters parameters{self};
    const pg::Rows members = co_await connection->run(
        "SELECT name FROM pgjanus.members WHERE name <> $1 AND seen_at > now() - interval '30 s'",
        std::move(parameters));
    if (!members.empty()) {
      co_return outcome(Ended::refused, "a proxy is still a member: " + members.str(0, 0),
                        "stop it, or give it the new database's URL");
    }
  }
  const pg::Rows kept = co_await connection->run("SELECT to_regclass('pgjanus.kept')");
  if (!kept.null(0, 0)) co_await connection->run(give_back);
  co_await strip(*connection, *old_side, std::string{sql::drop_all_but_state}, progress, waiting);
  co_return outcome(Ended::done, "the fence on the " + std::string{to_string(*old_side)} +
                                     " is lifted: it takes writes again");
}

}  // namespace pgjanus
