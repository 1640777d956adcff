// What a flip asks before it begins, and the dry run that only asks.

#include <nlohmann/json.hpp>

#include "proxy/flip/flip_run.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/schema/differences.hpp"
#include "sql_texts.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

asio::awaitable<std::string> FlipRun::catalogs_differ() {
  PerSide<std::set<std::string>> shapes;
  std::set<std::string> alone;  // What the target may have for itself.
  for (const Side side : {Side::source, Side::target}) {
    auto connection = co_await engine_.open(side, "catalogs");
    auto rows = co_await connection->run(std::string{sql::catalog_shape});
    const auto differences = co_await read_differences(*connection);
    for (int row = 0; row < rows.size(); ++row) {
      const auto name = differences.names.of(side, {rows.str(row, 0), rows.str(row, 1)});
      const auto owner = differences.names.of(side, {rows.str(row, 3), rows.str(row, 4)});
      if (differences.own(owner, rows.str(row, 5))) continue;
      TableInfo table;
      table.called = owner;
      const bool excluded = std::any_of(engine_.settings_.exclude.begin(), engine_.settings_.exclude.end(),
                                        [&](const auto& pattern) { return table_matches(pattern, table); });
      auto line = to_string(name) + rows.str(row, 2);
      if (excluded && side == Side::target) alone.insert(line);
      shapes[side].insert(std::move(line));
    }
  }
  std::string differences;
  int count = 0;
  for (const Side side : {Side::source, Side::target}) {
    for (const auto& line : shapes[side]) {
      if (shapes[other(side)].contains(line) || (side == Side::target && alone.contains(line))) continue;
      if (++count <= 5) {
        differences += (differences.empty() ? "" : "; ") + line + " only on the " +
                       std::string{to_string(side)};
      }
    }
  }
  if (count > 5) differences += "; and " + std::to_string(count - 5) + " more";
  co_return differences;
}

asio::awaitable<std::vector<FlipRun::Guard>> FlipRun::guards() {
  std::vector<Guard> guards;
  const auto loop = engine_.loop_;
  const bool mirroring = engine_.phase_ == Phase::mirroring && loop;
  guards.push_back({"mirroring", "phase " + std::string{to_string(engine_.phase_)},
                    "run prepare and load first", mirroring, false, Ended::not_ready});
  if (!mirroring) co_return guards;
  for (const Side side : {Side::source, Side::target}) {
    std::string trouble;
    try {
      auto connection = co_await engine_.open(side, "guard");
      co_await connection->run("SELECT 1");
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    guards.push_back({std::string{to_string(side)} + "_reachable",
                      trouble.empty() ? "answers" : trouble, "make the database reachable",
                      trouble.empty(), false, Ended::refused});
    if (!trouble.empty()) co_return guards;
  }
  const auto report = loop->report();
  guards.push_back({"in_sync", "mirror is " + std::string{to_string(report.state)} +
                                   (report.error ? ": " + *report.error : std::string{}),
                    "wait until the mirror is in sync; status says what it waits for",
                    report.state == MirrorState::in_sync, false, Ended::not_ready});
  std::set<std::string> missing;
  auto connection = co_await engine_.open(from_, "guard");
  auto there = co_await discover_names(*connection, engine_.settings_.exclude);
  auto known = co_await stored_tables(*connection);
  for (const auto& table : there) {
    const bool captured = std::any_of(known.begin(), known.end(), [&](const TableInfo& one) {
      return one.oid == table.oid;
    });
    if (!captured) missing.insert(table.display() + " is new");
  }
  for (auto& table : loop->not_mirrored()) missing.insert(std::move(table));
  auto on_mirror = co_await engine_.open(options_.to, "guard");
  auto states = co_await on_mirror->run(
      "SELECT schema_name || '.' || table_name || CASE state WHEN 'mirrored' THEN ' is catching up' "
      "WHEN 'held_up' THEN ' waits for a lock of the app' ELSE ' is ' || state END FROM pgjanus.tables "
      "WHERE state <> 'mirrored' OR boundary IS NOT NULL");
  for (int row = 0; row < states.size(); ++row) missing.insert(states.str(row, 0));
  std::string what;
  for (const auto& table : missing) what += (what.empty() ? "" : ", ") + table;
  guards.push_back({"tables", missing.empty() ? "all tables are mirrored" : what,
                    "wait for those that catch up; prepare and load the others", missing.empty(), false,
                    Ended::not_ready});
  const bool verified = engine_.verified_since_change_ && engine_.verify_differences_ == 0;
  guards.push_back({"verified",
                    verified ? "verified at " + engine_.verify_at_.value_or("")
                             : "no clean verification since the last load, reload, repair or SKIP",
                    "run verify, or use --force", verified, true, Ended::refused});
  auto differences = co_await catalogs_differ();
  guards.push_back({"catalogs", differences.empty() ? "tables and sequences agree" : differences,
                    "bring both schemas to the same state; new tables: prepare and load again",
                    differences.empty(), false, Ended::refused});
  auto prepared = co_await connection->run(
      "SELECT count(*), coalesce(min(gid), '') FROM pg_prepared_xacts "
      "WHERE database = current_database()");
  const bool none = prepared.integer(0, 0) == 0;
  guards.push_back({"prepared_transactions",
                    none ? "none" : prepared.str(0, 0) + " prepared transactions, first " +
                                        prepared.str(0, 1),
                    "COMMIT PREPARED or ROLLBACK PREPARED them", none, false, Ended::refused});
  co_return guards;
}

asio::awaitable<std::vector<Waiting>> FlipRun::blockers() {
  std::vector<Waiting> found;
  auto open = co_await engine_.sessions_.open_transactions();
  for (const auto& session : open) {
    found.push_back({"open transaction of client " + std::to_string(session.client),
                     std::string{to_string(from_)}, session.user, session.application_name,
                     session.reason, session.server_pid, session.seconds});
  }
  auto connection = co_await engine_.open(from_, "guard");
  auto writers = co_await writers_in_the_way(*connection);
  for (const auto& writer : writers) {
    if (writer.application_name.starts_with("pgjanus")) continue;
    const bool known = std::any_of(found.begin(), found.end(), [&](const Waiting& one) {
      return one.pid == writer.server_pid;
    });
    if (!known) {
      found.push_back({"open transaction that does not pass pgjanus",
                       std::string{to_string(from_)}, writer.user, writer.application_name,
                       writer.reason, writer.server_pid, writer.seconds});
    }
  }
  co_return found;
}

asio::awaitable<Outcome> FlipRun::dry_run() {
  from_ = engine_.primary();
  Outcome outcome;
  auto& document = outcome.document = nlohmann::json::object();
  document["guards"] = nlohmann::json::array();
  document["ends"] = nlohmann::json::array();
  document["blockers"] = nlohmann::json::array();
  if (already_there()) {
    document["ready"] = true;
    outcome.message = std::string{"the "} + std::string{to_string(options_.to)} +
                      " is the primary already: nothing would happen";
    co_return outcome;
  }
  bool ready = true;
  std::string in_the_way;
  auto asked = co_await guards();
  for (const auto& guard : asked) {
    document["guards"].push_back({{"name", guard.name}, {"ok", guard.ok},
                                  {"skippable", guard.skippable}, {"detail", guard.detail},
                                  {"remedy", guard.ok ? "" : guard.remedy}});
    if (guard.ok || (guard.skippable && options_.force)) continue;
    ready = false;
    in_the_way += (in_the_way.empty() ? "" : "; ") + guard.name + ": " + guard.detail;
  }
  auto ends = co_await engine_.sessions_.pinned(3000ms);
  for (const auto& session : ends) {
    document["ends"].push_back({{"client", session.client}, {"reason", session.reason}});
  }
  if (engine_.loop_ && engine_.reachable_[from_]) {  // Without a mirror there is no journal to ask.
    auto open = co_await blockers();
    for (const auto& blocker : open) {
      document["blockers"].push_back(
          {{"side", blocker.side}, {"pid", blocker.pid}, {"user", blocker.user},
           {"application_name", blocker.application_name}, {"seconds", blocker.seconds}});
    }
  }
  document["ready"] = ready;
  outcome.message =
      ready ? "ready: the " + std::string{to_string(options_.to)} + " would become the primary; " +
                  std::to_string(ends.size()) + " sessions would end, " +
                  std::to_string(document["blockers"].size()) + " transactions are open"
            : "not ready: " + in_the_way;
  co_return outcome;
}

}  // namespace pgjanus
