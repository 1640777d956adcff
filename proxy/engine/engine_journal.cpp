// The journal stays small, and it never fills the app's disk.

#include "proxy/capture/capture.hpp"
#include "proxy/engine/engine.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto vacuum_interval = 30s;
constexpr std::uint64_t vacuum_after_rows = 50'000;
constexpr std::uint64_t deleted_at_once = 100'000;
constexpr auto deleting_at_once = 5s;
constexpr std::int64_t journal_shrink_bytes = 64 << 20;
// Of rows, while its index is built anew: nobody may write for so long.
constexpr const char* index_is_large = "SELECT pg_relation_size('pgjanus.journal') < 2097152 AND pg_indexes_size('pgjanus.journal') > 16777216";
constexpr const char* renew_index = "SET LOCAL lock_timeout = '10ms'; REINDEX INDEX pgjanus.journal_xid";
}  // namespace

// Rows that nobody needs leave the journal; the space is used again. Autovacuum is off there: its
// lock would delay the fence by deadlock_timeout. Never during a flip.
asio::awaitable<void> Engine::clean_journal() {
  if (!loop_ || flipping_) co_return;
  auto& connection = *watcher_[primary()];
  const auto horizon = std::to_string(loop_->journal_horizon().value);
  // Parts, each a moment of work, however large the transaction was that is to go; the watch looks at other things in between.
  const auto until = Clock::now() + deleting_at_once;
  for (bool more = true; more && !flipping_ && Clock::now() < until;) {
    auto below = pg::params(horizon, std::to_string(deleted_at_once));
    auto deleted = co_await connection.run(
        "DELETE FROM pgjanus.journal WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgjanus.journal "
        "WHERE xid < $1::xid8 ORDER BY xid LIMIT $2::bigint))", std::move(below), 60'000ms);
    deleted_since_vacuum_ += deleted.affected();
    more = deleted.affected() == deleted_at_once;
  }
  const auto now = Clock::now();
  // Giving pages back takes an exclusive lock (only if nobody holds one): worth it when it is big. Tried again and again, as somebody
  // may have held one, or the last rows have gone while there was a backlog.
  const bool shrink = journal_bytes_.value_or(0) > journal_shrink_bytes && backlog_keys_ == 0;
  const bool due = deleted_since_vacuum_ >= vacuum_after_rows ||
                   ((deleted_since_vacuum_ > 0 || shrink) && now - vacuumed_at_ > vacuum_interval);
  if (!due || flipping_) co_return;
  vacuumed_at_ = now;
  deleted_since_vacuum_ = 0;
  co_await connection.run(std::string{"VACUUM (INDEX_CLEANUP on, TRUNCATE "} +
                              (shrink ? "on" : "off") + ") pgjanus.journal", 600'000ms);
  co_await connection.run("VACUUM (TRUNCATE off) pgjanus.state", 60'000ms);
  if (!shrink || flipping_) co_return;
  // No vacuum makes an index smaller: that of one transaction's ten million rows stayed at 66 MB.
  auto large = co_await connection.run(index_is_large);
  if (!large.boolean(0, 0) || flipping_) co_return;
  try {
    co_await connection.run(renew_index);
  } catch (const pg::Error& error) {
    if (!error.is("55P03")) throw;  // Somebody writes or reads just now: in half a minute.
  }
}

// A mirror that stays away must not cost the app its disk: before a cutover capture ends, nothing
// of ours is in the app's transactions any more, and the migration starts again from its rows. The
// flag is stored first: whatever happens in between, the mirror is not believed afterwards.
asio::awaitable<void> Engine::end_capture() {
  log_event(LogLevel::error, "capture_ended",
            {{"journal_bytes", journal_bytes_.value_or(0)},
             {"journal_max", settings_.journal_max_bytes}});
  if (loader_) loader_->stop();
  co_await stop_mirroring();
  phase_ = Phase::prepared;
  load_error_ = "the journal grew beyond journal_max while the mirror lagged: capture ended, the app "
                "goes on; put the mirror right, then run prepare and load again";
  verified_since_change_ = false;
  co_await publish();
  auto connection = co_await open(primary(), "capture");
  co_await connection->run("UPDATE pgjanus.state SET phase = 'prepared', nonce = NULL, "
                           "previous_nonce = NULL, extra = extra || '{\"capture_ended\": true}'");
  auto steps = co_await capture::removal_steps(*connection);
  steps.push_back({"pgjanus.journal", "TRUNCATE pgjanus.journal"});
  capture::OnWaiting nobody;
  co_await capture::run_steps(*connection, std::move(steps), 600'000ms, std::move(nobody));
}

// After that: what the mirror holds is of unknown age, every table is copied anew.
asio::awaitable<bool> Engine::start_again_after_capture_ended() {
  auto connection = co_await open(primary(), "load");
  auto ended = co_await connection->run("SELECT extra ? 'capture_ended' FROM pgjanus.state");
  if (!ended.boolean(0, 0)) co_return false;
  auto target = co_await open(mirror(), "load");
  co_await target->run("BEGIN; DELETE FROM pgjanus.boundary; UPDATE pgjanus.tables "
                       "SET state = 'capture_lost', boundary = NULL; COMMIT");
  co_await connection->run("UPDATE pgjanus.state SET extra = extra - 'capture_ended'");
  co_return true;
}

}  // namespace pgjanus
