// The status document's values, and the lists that SHOW prints from the databases.

#include <nlohmann/json.hpp>

#include "proxy/engine/engine.hpp"
#include "proxy/engine/status_json.hpp"
#include "proxy/verify/verifier.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

Status Engine::status() const {
  Status status;
  status.database = settings_.database;
  status.phase = phase_;
  status.primary = primary_;
  if (primary_ && phase_ != Phase::idle) status.epoch = epoch_.value;
  status.held = held_;
  status.reads = reads_;
  status.reachable = reachable_;
  status.oldest_transaction_seconds = oldest_transaction_;
  status.journal_bytes = journal_bytes_;
  status.mirror_keys = mirror_keys_before_;
  status.mirror_batches = mirror_batches_before_;
  status.mirror_errors = mirror_errors_before_;
  if (loop_) {
    const auto report = loop_->report();
    const bool behind = report.state == MirrorState::in_sync && !report.settled;
    status.mirror_state = behind ? MirrorState::catching_up : report.state;
    status.lag_ms = report.lag_ms;
    status.boundary_at = report.boundary_at;
    status.mirror_error = report.error;
    // Of a long batch what has been done is no backlog any more, although only its end counts.
    const auto done = static_cast<std::int64_t>(report.batches == backlog_after_ ? report.keys_now : 0);
    if (backlog_keys_) status.backlog_keys = std::max<std::int64_t>(0, *backlog_keys_ - done);
    status.mirror_keys += report.keys;
    status.mirror_batches += report.batches;
    status.mirror_errors += report.errors;
  }
  status.tables = tables_;
  for (auto& table : status.tables) {
    const auto found = differences_.find(table.name);
    if (verify_at_ && phase_ == Phase::mirroring) {
      table.differences = found == differences_.end() ? 0 : found->second;
    }
  }
  if (loader_) {
    const auto load = loader_->progress();
    status.load_rows_done = load.rows_done;
    status.load_bytes_done = load.bytes_done;
    status.load_bytes_total = load.bytes_total;
    status.load_rows_read = load.rows_read;
    status.load_bytes_read = load.bytes_read;
    std::map<std::string_view, const TableProgress*> progress_of;
    for (const auto& table : load.tables) progress_of.emplace(table.name, &table);
    for (auto& table : status.tables) {
      const auto found = progress_of.find(table.name);
      if (found == progress_of.end()) continue;
      table.bytes_done = found->second->bytes_done;
      table.bytes_total = found->second->bytes_total;
      if (table.state != TableState::mirrored) table.rows = found->second->rows_done;
    }
    if (loading_) {
      status.load_rows_per_second = load.rows_per_second;
      status.load_bytes_per_second = load.bytes_per_second;
      if (load.bytes_total && *load.bytes_total > load.bytes_done && load.bytes_per_second > 0) {
        status.load_seconds_left =
            static_cast<double>(*load.bytes_total - load.bytes_done) / load.bytes_per_second;
      }
      if (!load.step.empty()) status.load_step = load.step;
      if (!load.limit.empty()) status.load_limit = load.limit;
      for (const auto& worker : load.workers) {
        if (worker.what.empty()) continue;
        const std::chrono::duration<double> gone = Clock::now() - worker.since;
        status.load_workers.push_back(
            {worker.number, worker.what, worker.rows, worker.bytes, gone.count()});
      }
    }
    if (loading_ && !load.waiting.empty()) {
      status.waiting_for.push_back({"load", "", "", "", load.waiting, 0, 0});
    }
  }
  status.load_error = load_error_;
  status.verify_at = verify_at_;
  status.verify_tables = verify_tables_;
  status.verify_differences = verify_differences_;
  status.verify_rows = verify_rows_;
  status.verifying = verifying_;
  status.last_flip = last_flip_;
  status.flips_done = flips_done_;
  status.flips_undone = flips_undone_;
  status.flips_in_doubt = flips_in_doubt_;
  status.flip_blackouts_seconds = blackouts_;

  const bool flipped = primary_ == Side::target && phase_ == Phase::mirroring;
  if (!flipped) status.rollback_reasons.push_back("the source is the primary");
  if (flipped && status.mirror_state != MirrorState::in_sync) {
    status.rollback_reasons.push_back("the mirror is " +
                                      std::string{to_string(status.mirror_state)});
  }
  if (flipped && !(verified_since_change_ && verify_differences_ == 0)) {
    status.rollback_reasons.push_back("no clean verification since the last load, reload, repair or SKIP");
  }
  status.rollback_ready = flipped && status.rollback_reasons.empty();

  for (const auto& waiting : {waiting_[Side::source], waiting_[Side::target], flip_waiting_}) {
    status.waiting_for.insert(status.waiting_for.end(), waiting.begin(), waiting.end());
  }
  if (status.mirror_state == MirrorState::stalled || status.mirror_state == MirrorState::degraded) {
    status.waiting_for.push_back(
        {"mirror", std::string{to_string(mirror())}, "", "", status.mirror_error.value_or(""), 0, 0});
  }
  const auto totals = sessions_.totals();
  status.clients = totals.clients;
  status.members.push_back({member_name_, PGJANUS_VERSION, now_utc(), true, totals.clients});

  const bool primary_there = primary_ && Clock::now() - primary_seen_at_ < 5s;
  status.ready = primary_there && held_ != Held::in_doubt && why_not_ready_.empty();
  if (!status.ready) {
    status.not_ready_because = !why_not_ready_.empty() ? why_not_ready_
                               : held_ == Held::in_doubt
                                   ? "a flip is in doubt"
                                   : "the primary did not answer for 5 s";
  }
  return status;
}

asio::awaitable<void> Engine::watch_validation() {
  auto connection = co_await open(primary(), "validation");
  auto trouble = co_await validate_restored(*connection);
  if (!trouble.empty()) {
    throw pg::Error{"constraints that came back at the flip are not valid: " + trouble};
  }
}

// {"columns": [...], "rows": [[...]]} of a query on the primary.
Engine::Awaited Engine::show(std::string what) {
  nlohmann::json document{{"columns", nlohmann::json::array()}, {"rows", nlohmann::json::array()}};
  std::string query;
  if (what == "DIFFERENCES") {
    document["columns"] = {"table", "kind", "key", "columns"};
    query = "SELECT coalesce(t.schema_name || '.' || t.table_name, d.key ->> 'object'), d.kind, "
            "CASE WHEN t.id IS NULL THEN '{}' ELSE d.key::text END, "
            "array_to_string(d.columns, ',') FROM pgjanus.differences d "
            "LEFT JOIN pgjanus.tables t ON t.id = d.table_id ORDER BY 1, 2, 3";
  } else if (what == "EVENTS") {
    document["columns"] = {"at", "peer", "command", "outcome"};
    query = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), peer, "
            "command, outcome FROM pgjanus.audit ORDER BY id DESC LIMIT 1000";
  } else {
    document["columns"] = {"at", "tables", "differences", "state", "rows_done", "bytes_done",
                           "bytes_total", "seconds_left", "limit"};
    const auto text = [](const auto& value) {
      return value ? nlohmann::json(*value) : nlohmann::json();
    };
    const auto none = nlohmann::json();
    if (verifying_) {
      const auto& now = *verifying_;
      document["rows"].push_back({none, now.tables_done, now.differences, "running", now.rows_done,
                                  now.bytes_done, now.bytes_total, text(now.seconds_left),
                                  text(now.limit)});
    }
    if (verify_at_) {
      document["rows"].push_back({*verify_at_, text(verify_tables_), text(verify_differences_),
                                  "ended", none, none, none, none, none});
    }
  }
  if (!query.empty() && primary_ && phase_ != Phase::idle && phase_ != Phase::finished) {
    auto connection = co_await open(primary(), "show");
    auto rows = co_await connection->run(query);
    for (int row = 0; row < rows.size(); ++row) {
      auto line = nlohmann::json::array();
      for (int column = 0; column < rows.columns(); ++column) {
        line.push_back(rows.null(row, column) ? nlohmann::json{} : nlohmann::json(rows.str(row, column)));  // Braces would make a list.
      }
      document["rows"].push_back(std::move(line));
    }
  }
  co_return Outcome{Ended::done, {}, {}, std::move(document)};
}

}  // namespace pgjanus
