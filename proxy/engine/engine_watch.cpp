// Keeping house, once a second: is each side there, is capture whole, what is waited for, is the
// journal small, do the sequences follow.

#include "proxy/capture/capture.hpp"
#include "proxy/engine/engine.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"
#include "sql_texts.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto watch_interval = 1000ms;
constexpr auto catalog_interval = 30s;
constexpr int backlog_counted_max = 20'000'000;
constexpr int counts_apart = 20;  // So many times as long as counting takes passes until the next count.
constexpr pg::Duration watch_limit{10'000};
}  // namespace

asio::awaitable<void> Engine::watch() {
  while (!stopping_) {
    for (const Side side : {primary(), mirror()}) {
      if (stopping_ || flipping_) break;
      std::string trouble;
      watching_ = true;
      try {
        if (!watcher_[side] || !watcher_[side]->usable()) {
          watcher_[side] = co_await open(side, "watch");
        }
        if (!leader_[side] || !leader_[side]->usable()) {
          co_await lead_again(side);
        }
        if (side == primary()) {
          co_await watch_primary();
        } else {
          co_await watch_mirror();
        }
        if (!reachable_[side] && !flipping_) {
          co_await look_again();
          log_event(LogLevel::info, "database_reachable", {{"side", to_string(side)}});
        }
        reachable_[side] = true;
      } catch (const std::exception& error) {
        trouble = error.what();
      }
      watching_ = false;
      if (trouble.empty()) continue;
      if (watcher_[side] && watcher_[side]->usable() && watcher_[side]->in_transaction()) {
        watcher_[side]->close();
      }
      const bool lost = !watcher_[side] || !watcher_[side]->usable();
      if (reachable_[side] || !lost) {
        log_event(LogLevel::warn, lost ? "database_unreachable" : "watch_failed",
                  {{"side", to_string(side)}, {"why", trouble}});
      }
      if (lost) reachable_[side] = false;
    }
    if (stopping_) co_return;
    verify_when_due();
    co_await wake_.wait(watch_interval);
  }
}

asio::awaitable<void> Engine::watch_primary() {
  auto& connection = *watcher_[primary()];
  auto old = co_await connection.run(std::string{sql::oldest_transactions}, watch_limit);
  std::vector<Waiting> waiting;
  oldest_transaction_[primary()] =
      old.empty() ? std::optional<double>{0} : std::optional<double>{std::stod(old.str(0, 3))};
  for (int row = 0; row < old.size(); ++row) {
    const double seconds = std::stod(old.str(row, 3));
    if (seconds < 60) continue;
    waiting.push_back({"a flip would wait for this transaction", std::string{to_string(primary())},
                       old.str(row, 1), old.str(row, 2), old.str(row, 4),
                       static_cast<int>(old.integer(row, 0)), seconds});
  }
  primary_seen_at_ = Clock::now();
  note_waiting(std::move(waiting), primary());
  const bool reshaped = catalog_as_of_ < sessions_.schema.now() && Clock::now() >= catalog_next_;
  if (reshaped || Clock::now() - catalog_read_at_ > catalog_interval) {
    co_await read_catalog(connection);
    co_await publish();
  }
  const auto loop = loop_;
  if (!loop) co_return;
  auto exists = co_await connection.run("SELECT to_regclass('pgjanus.journal') IS NOT NULL");
  if (!exists.boolean(0, 0)) {
    // The operator's way out (design.md 2, point 7): nothing of ours is in the app's transactions.
    log_event(LogLevel::error, "schema_pgjanus_is_gone",
              {{"what", "mirroring ended: schema pgjanus was dropped on the primary"}});
    co_await stop_mirroring();
    phase_ = Phase::idle;
    journal_bytes_.reset();
    backlog_keys_.reset();
    co_await publish();
    co_return;
  }
  // A decision of a proxy that died may arrive late: then this side is the mirror already.
  auto role = co_await connection.run("SELECT role = 'primary' AND epoch = " +
                                      std::to_string(epoch_.value) + " FROM pgjanus.state");
  if (!flipping_ && !role.empty() && !role.boolean(0, 0)) {
    log_event(LogLevel::error, "primary_changed_behind_our_back");
    spawn_recovery();
    co_return;
  }
  auto member = pg::params(member_name_, PGJANUS_VERSION,
                           std::to_string(sessions_.totals().clients));
  co_await connection.run(
      "INSERT INTO pgjanus.members (name, version, leader, clients) VALUES ($1, $2, true, $3) "
      "ON CONFLICT (name) DO UPDATE SET seen_at = now(), clients = excluded.clients",
      std::move(member));
  co_await connection.run("DELETE FROM pgjanus.members WHERE seen_at < now() - interval '1 minute'");
  co_await watch_catalog();
  co_await watch_tables();
  auto bytes = co_await connection.run("SELECT pg_total_relation_size('pgjanus.journal')", watch_limit);
  journal_bytes_ = bytes.integer(0, 0);
  const auto now = Clock::now();
  const auto batches = loop->report().batches;
  if (now >= backlog_next_ || batches != backlog_after_) {
    const auto& boundary = loop->boundary().snapshot;
    const auto since = boundary.empty() ? std::string{"true"} : new_since(boundary);
    auto keys = co_await connection.run(
        "SELECT count(*) FROM (SELECT FROM pgjanus.journal WHERE " + since +
            " LIMIT " + std::to_string(backlog_counted_max) + ") j", watch_limit);
    backlog_keys_ = keys.integer(0, 0);
    backlog_after_ = batches;
    backlog_next_ = now + counts_apart * (Clock::now() - now);
  }
  const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(*journal_bytes_, 0));
  if (size > settings_.journal_max_bytes && primary_ == Side::source && epoch_.value <= 1 &&
      !flipping_) {
    co_await end_capture();
  } else {
    co_await clean_journal();
  }
}

// Capture that somebody took away or weakened means rows that were not noted: the table is read
// anew once its triggers stand again.
asio::awaitable<void> Engine::watch_tables() {
  if (phase_ != Phase::mirroring && phase_ != Phase::loading) co_return;
  if (flipping_ || loading_ || !loop_) co_return;
  auto& connection = *watcher_[primary()];
  auto footprint = co_await capture::footprint(connection);
  footprint += " " + std::to_string(epoch_.value);
  if (footprint == capture_stood_) co_return;
  auto names = co_await capture::names_of_listed(connection);
  auto lost = co_await capture::lost(connection, names);
  if (lost.empty()) capture_stood_ = std::move(footprint);
  if (!loop_) co_return;
  if (loop_->replays_ddl()) {
    // A new partition, names that were exchanged, or somebody's doing: the loop brings capture, in that order.
    if (!lost.empty()) loop_->look_at_ddl();
    co_return;
  }
  if (lost.empty() || flipping_ || loading_) co_return;
  const auto loop = loop_;
  auto known = co_await stored_tables(connection, lost);
  for (const auto& table : known) {
    if (std::find(lost.begin(), lost.end(), table.id) == lost.end() || table.oid == 0) continue;
    log_event(LogLevel::error, "capture_lost", {{"table", table.display()}});
    auto ids = std::vector<int>{table.id};
    co_await loop->detach(ids, TableState::capture_lost, 60'000ms);
    co_await distrust();
    co_await connection.run(capture::functions_sql(table));
    auto steps = co_await capture::capture_steps(connection, table);
    capture::OnWaiting nobody;
    co_await capture::run_steps(connection, std::move(steps), 10'000ms, std::move(nobody));
    co_await loop->reload(ids, 600'000ms);
    log_event(LogLevel::info, "capture_restored", {{"table", table.display()}});
  }
}

// While DDL is not replayed (a load is under way): a table that changed is looked at again (and left out
// with a reason when the mirror lacks a column), and a table that nothing mirrors is named.
asio::awaitable<void> Engine::watch_catalog() {
  if (loop_ && loop_->replays_ddl()) {
    uncaptured_.assign(loop_->not_captured().begin(), loop_->not_captured().end());
    co_return;
  }
  auto& connection = *watcher_[primary()];
  auto rows = co_await connection.run("SELECT coalesce(md5(string_agg(s::text, ',' ORDER BY s::text)),"
                                      " '') FROM (" + std::string{sql::catalog_shape} +
                                      ") s", watch_limit);
  const auto shape = rows.str(0, 0);
  if (shape == catalog_shape_) co_return;
  if (!catalog_shape_.empty() && loop_) loop_->forget_tables();
  sessions_.schema.changed();
  auto there = co_await discover_names(connection, settings_.exclude);
  auto known = co_await capture::names_of_listed(connection);
  std::set<std::string> captured;
  for (const auto& table : known) captured.insert(table.display());
  uncaptured_.clear();
  for (const auto& table : there) {
    if (!captured.contains(table.display())) uncaptured_.push_back(table.display());
  }
  for (const auto& name : uncaptured_) {
    log_event(LogLevel::warn, "table_not_mirrored",
              {{"table", name}, {"remedy", "run prepare and load again"}});
  }
  catalog_shape_ = shape;
}

asio::awaitable<void> Engine::refresh_tables(pg::Connection& connection) {
  auto rows = co_await connection.run(
      "SELECT schema_name || '.' || table_name, state, coalesce(rows, "
      "  (SELECT sum(c.rows)::bigint FROM pgjanus.chunks c WHERE c.table_id = t.id "
      "   HAVING bool_and(c.done))), coalesce(error, ''), id "
      "FROM pgjanus.tables t ORDER BY 1", watch_limit);
  std::vector<TableStatus> tables;
  const auto report = loop_ ? loop_->report() : LoopReport{};
  for (int row = 0; row < rows.size(); ++row) {
    TableStatus table;
    table.name = rows.str(row, 0);
    table.state = table_state_from(rows.text(row, 1)).value_or(TableState::error);
    if (report.held_up.contains(static_cast<int>(rows.integer(row, 4)))) {
      table.state = TableState::held_up;
    }
    if (!rows.null(row, 2)) table.rows = rows.integer(row, 2);
    table.detail = rows.str(row, 3);
    tables.push_back(std::move(table));
  }
  for (const auto& name : uncaptured_) {
    const auto reason = name.find(": ");
    tables.push_back({name.substr(0, reason), TableState::fresh, {}, {}, {}, {},
                      "nothing mirrors it" + (reason == std::string::npos ? ": run prepare and load again"
                                                                          : name.substr(reason))});
  }
  tables_ = std::move(tables);
}

asio::awaitable<void> Engine::watch_mirror() {
  auto& connection = *watcher_[mirror()];
  if (!loop_) {
    co_await connection.run("SELECT 1", watch_limit);
    co_return;
  }
  co_await refresh_tables(connection);
  if (phase_ == Phase::mirroring && !flipping_) co_await forget_other_direction(connection);
  // Without the primary there is nothing to compare with; it may never have been reached.
  if (!watcher_[primary()] || !watcher_[primary()]->usable()) co_return;
  if (phase_ == Phase::mirroring && !flipping_) {
    co_await push_sequences(*watcher_[primary()], connection);
  }
  auto trouble = co_await validate_restored(*watcher_[primary()]);
  if (!trouble.empty()) {
    log_event(LogLevel::warn, "constraint_not_valid_after_flip", {{"why", trouble}});
  }
}

asio::awaitable<void> Engine::read_catalog(pg::Connection& connection) {
  const auto asked_for = loop_;
  const auto began_at = Clock::now();
  auto as_of = sessions_.schema.now();
  co_await read_names(connection);
  std::string harmless;
  for (const auto name : harmless_function_names()) harmless += (harmless.empty() ? "{" : ",") + std::string{name};
  pg::Parameters mirrored{std::nullopt, harmless + "}"};
  if (phase_ != Phase::idle && phase_ != Phase::finished) {
    auto there = co_await connection.run("SELECT to_regclass('pgjanus.tables')", watch_limit);
    if (!there.null(0, 0)) {
      auto oids = co_await connection.run(std::string{sql::mirrored_relations}, watch_limit);
      mirrored[0] = oids.str(0, 0);
    }
  }
  auto rows =
      co_await connection.run(std::string{sql::catalog_names}, std::move(mirrored), watch_limit);
  if (loop_ != asked_for) co_return;  // Mirroring began or ended meanwhile: asked again.
  auto names = std::make_shared<Catalog>();
  for (int row = 0; row < rows.size(); ++row) {
    auto name = rows.str(row, 1);
    switch (rows.text(row, 0)[0]) {
      case 'f': names->safe_functions.insert(std::move(name)); break;
      case 'r': names->plain_relations.insert(std::move(name)); break;
      case 'v': names->opaque_relations.insert(std::move(name)); break;
      case 'l': names->loud_relations.insert(std::move(name)); break;
      default: names->volatile_operators.insert(std::move(name)); break;
    }
  }
  // The same names as before keep the same object, so that the sessions' caches stay.
  const bool same = catalog_ && catalog_->safe_functions == names->safe_functions &&
                    catalog_->plain_relations == names->plain_relations &&
                    catalog_->opaque_relations == names->opaque_relations &&
                    catalog_->loud_relations == names->loud_relations &&
                    catalog_->volatile_operators == names->volatile_operators;
  if (!same) {
    catalog_ = std::move(names);
    // Perhaps by DDL that no session of ours has run.
    if (sessions_.schema.changed() == as_of + 1) ++as_of;
  }
  catalog_as_of_ = as_of;
  catalog_read_at_ = Clock::now();
  // DDL without end may take up a fifth of this connection.
  catalog_next_ = catalog_read_at_ + 4 * (catalog_read_at_ - began_at);
}

void Engine::note_waiting(std::vector<Waiting> waiting, Side side) {
  waiting_[side] = std::move(waiting);
}

}  // namespace pgjanus
