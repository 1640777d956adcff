// How the loop finds its place again: connections, the stored boundary, the tables, their locks.

#include "proxy/capture/capture.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/engine/random.hpp"
#include "proxy/engine/side_by_side.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Reads go by the key's index, whatever the statistics say; a lock of the app's DDL must not hold
// up the other tables. The snapshot's transaction may wait for a slow mirror.
constexpr const char* reader_session = R"(
SET lock_timeout = '150ms';
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_seqscan = off;
SET plan_cache_mode = force_generic_plan;
SET idle_in_transaction_session_timeout = '10min')";

constexpr const char* applier_session = R"(
SET synchronous_commit = on;
SET lock_timeout = '1s';
SET plan_cache_mode = force_generic_plan;
SET idle_in_transaction_session_timeout = '10min')";

bool joins_batches(std::string_view state) { return state == "mirrored" || state == "held_up"; }

pg::Error not_ours(const std::string& why) {
  pg::Error error{why};
  error.message = why;
  error.sqlstate = "PGJ02";
  return error;
}

}  // namespace

// What is right for reading a few keys takes minutes for the catalogs of thousands of tables.
asio::awaitable<void> MirrorLoop::describe_primary(Described& described) {
  co_await reader_->run(
      "SET enable_hashjoin = on; SET enable_mergejoin = on; SET enable_seqscan = on");
  std::exception_ptr failure;
  try {
    described.primary = co_await stored_tables(*reader_);
    described.mistaken = co_await capture::mistaken(*reader_, described.primary);
  } catch (...) {
    failure = std::current_exception();
  }
  if (reader_->usable()) co_await reader_->run(reader_session);
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> MirrorLoop::describe_mirror(Described& described) {
  described.mirror = co_await stored_tables(*applier_);
}

asio::awaitable<MirrorLoop::Described> MirrorLoop::describe_both() {
  Described described;
  auto primary = describe_primary(described);
  auto mirror = describe_mirror(described);
  std::function<void()> nothing;
  co_await side_by_side(std::move(primary), std::move(mirror), std::move(nothing));
  co_return described;
}

asio::awaitable<void> MirrorLoop::warm() {
  co_await open_connections();
  if (ddl_.on) {
    marker_ = co_await databases_.open(settings_.primary, "ddl", 5000ms);
    keeper_ = co_await databases_.open(mirror_side(), "ddl", 5000ms);
  }
  auto described = co_await describe_both();
  // Its answer counts later; what it needs of the catalogs is in the server process's caches then.
  co_await acting_triggers(*applier_, replica_role_);
  described_ = std::move(described);
}

asio::awaitable<void> MirrorLoop::open_connections() {
  if (reader_ && !reader_->usable()) reader_.reset();
  if (applier_ && !applier_->usable()) applier_.reset();
  if (!reader_ || !applier_) placed_ = false;
  if (!reader_) {
    auto opened = co_await databases_.open(settings_.primary, "mirror reader", 5000ms);
    co_await opened->run(reader_session);
    std::optional<pg::Rows> control;
    try {
      control = co_await opened->run("SELECT system_identifier FROM pg_control_system()");
    } catch (const pg::Error& error) {
      if (error.lost) throw;  // Otherwise the host hides it: the nonce still guards.
    }
    system_ = control ? control->str(0, 0) : std::string{};
    reader_ = std::move(opened);
    look_at_ddl();  // The whole catalog: ids that a crash took away may have come again.
  }
  if (!applier_) {
    auto opened = co_await databases_.open(mirror_side(), "mirror applier", 5000ms);
    co_await opened->run(applier_session);
    replica_role_ = co_await may_set_replica_role(*opened);
    // For the session, not in each transaction: every change of it throws away all cached plans
    // (README.md, "The one setting that is not local").
    if (replica_role_) co_await opened->run("SET session_replication_role = replica");
    applier_ = std::move(opened);
  }
}

asio::awaitable<void> MirrorLoop::connect() {
  co_await open_connections();
  const bool fresh = !placed_;
  if (fresh) {
    co_await read_boundary();
    // The epoch fits, so this side is the mirror: nothing of the app's may act on it.
    co_await become_mirror(*applier_, replica_role_, 10'000ms);
    tables_known_ = false;
  }
  if (!tables_known_) co_await read_tables();
  if (fresh) co_await reload_unlogged();
  placed_ = true;
}

// A crash empties unlogged tables, on either side, and no trigger notes it. After any restart of a
// server they are read anew; the start time is stored after the entries, so a crash of ours in
// between does it again.
asio::awaitable<void> MirrorLoop::reload_unlogged() {
  std::string ids = "{";
  for (const auto& [id, table] : tables_.by_id) {
    if (!table.primary.unlogged && !table.mirror.unlogged) continue;
    ids += (ids.size() > 1 ? "," : "") + std::to_string(id);
  }
  if (ids.size() == 1) co_return;
  bool restarted = false;
  for (auto* connection : {reader_.get(), applier_.get()}) {
    auto same = co_await connection->run("SELECT extra ->> 'started' = "
                                         "pg_postmaster_start_time()::text FROM pgjanus.state");
    restarted = restarted || same.empty() || !same.boolean(0, 0);
  }
  if (!restarted) co_return;
  auto entries = pg::params(ids + "}");
  co_await reader_->run("INSERT INTO pgjanus.journal (xid, table_id) "
                        "SELECT pg_current_xact_id(), unnest($1::int[])", std::move(entries));
  for (auto* connection : {reader_.get(), applier_.get()}) {
    co_await connection->run("UPDATE pgjanus.state SET extra = extra || "
                             "jsonb_build_object('started', pg_postmaster_start_time()::text)");
  }
  log_event(LogLevel::info, "unlogged_tables_read_anew");
}

asio::awaitable<void> MirrorLoop::read_boundary() {
  auto rows = co_await applier_->run(
      "SELECT epoch, batch, snapshot, nonce, coalesce(system, ''), coalesce(timeline, '') "
      "FROM pgjanus.boundary");
  if (rows.empty()) {
    co_await create_boundary();
    co_return;
  }
  Boundary stored{Epoch{static_cast<std::uint64_t>(rows.integer(0, 0))}, rows.integer(0, 1),
                  rows.str(0, 2), rows.str(0, 3), rows.str(0, 4), rows.str(0, 5)};
  if (stored.epoch != settings_.epoch) {
    throw not_ours("the mirror's boundary is of epoch " + std::to_string(stored.epoch.value) +
                   ", not " + std::to_string(settings_.epoch.value));
  }
  boundary_ = stored;
}

// The first boundary of a migration: nothing is loaded yet, every table has its own from here on.
// Snapshot, then heartbeat, then the mirror: the same order as in a batch.
asio::awaitable<void> MirrorLoop::create_boundary() {
  auto taken = co_await reader_->run("SELECT pg_current_snapshot()::text");
  Boundary first{settings_.epoch, 0, taken.str(0, 0), random_token(), system_, {}};
  auto beat = co_await reader_->run(
      "UPDATE pgjanus.state SET batch = 0, nonce = $1, previous_nonce = NULL, beat_at = now() "
      "WHERE role = 'primary' AND epoch = $2",
      pg::params(first.nonce, std::to_string(first.epoch.value)));
  if (beat.affected() != 1) {
    throw not_ours("the primary's state is not primary of epoch " +
                   std::to_string(first.epoch.value) + " any more");
  }
  co_await applier_->run(
      "INSERT INTO pgjanus.boundary (epoch, batch, snapshot, nonce, system, taken_at) "
      "VALUES ($1, 0, $2, $3, nullif($4, ''), clock_timestamp())", pg::params(std::to_string(first.epoch.value), first.snapshot, first.nonce, first.system));
  boundary_ = first;
}

asio::awaitable<void> MirrorLoop::read_tables() {
  auto states = co_await applier_->run(
      "SELECT id, state, coalesce(boundary, ''), schema_name || '.' || table_name, coalesce(error, '') FROM pgjanus.tables ORDER BY id");
  bool any = false;  // Before anything is loaded no table is in the batches.
  for (int row = 0; row < states.size(); ++row) any = any || joins_batches(states.text(row, 1));
  // What warm() read a moment ago is as good as what a running loop read; what changes later is found
  // by the watch, as always.
  if (!described_ && any) {
    described_ = co_await describe_both();
    ddl_.due = ddl_.due || ddl_.on;  // What it shows of a partition's coming may be over when the next look would be made.
    forget_newcomers(described_->primary);
  } else if (!described_) {
    described_.emplace();
  }
  auto [primary, mirror, mistaken] = std::move(*described_);
  described_.reset();
  std::map<int, TableInfo> of_mirror;
  for (auto& table : mirror) of_mirror.emplace(table.id, std::move(table));
  // Held up a moment ago, which is stored with the next batch only.
  const auto unsaved = std::exchange(unsaved_holds_, {});
  std::map<int, std::string> unsaved_own;
  for (const int id : unsaved) unsaved_own[id] = own_.at(id);
  own_.clear();
  waiting_.clear();
  left_out_.clear();
  held_up_.clear();
  broken_.clear();
  to_be_loaded_ = false;
  for (int row = 0; row < states.size(); ++row) {
    const auto id = static_cast<int>(states.integer(row, 0));
    const auto state = states.text(row, 1);
    const bool joins = joins_batches(state);
    if (!joins) left_out_.insert(id);
    if (!states.text(row, 2).empty()) (joins ? own_ : waiting_)[id] = states.str(row, 2);
    if (state == "error" || state == "capture_lost") {
      broken_[id] = states.str(row, 3) + " is not mirrored until LOAD brings it: " + (state == "error" ? states.str(row, 4) : "its capture was lost");
    } else if (!joins && state != "excluded") {
      to_be_loaded_ = true;
    }
    const bool unsaved_hold = joins && unsaved.contains(id);
    if (state == "held_up" || unsaved_hold) held_up_.insert(id);
    if (unsaved_hold) {
      own_.try_emplace(id, unsaved_own.at(id));
      unsaved_holds_.insert(id);
    }
  }
  std::map<int, std::string> unfit;
  tables_.by_id.clear();
  tables_.nobodys.clear();
  for (auto& table : primary) {
    const int id = table.id;
    if (left_out_.contains(id)) continue;
    const auto name = table.display();
    const auto found = of_mirror.find(id);
    std::string why;
    if (table.oid == 0) {
      why = name + " does not exist on the primary any more";
    } else if (found == of_mirror.end() || found->second.oid == 0) {
      why = name + " does not exist on the mirror";
    } else if (mistaken.contains(id)) {
      why = name + " is another table than the one that was captured under this name";
    } else {
      try {
        tables_.by_id.emplace(id, pair_table(std::move(table), found->second));
      } catch (const pg::Error& error) {
        why = error.message;
      }
    }
    if (!why.empty()) unfit[id] = why;
  }
  // While a load runs, too: by its own name such a table is on neither side.
  if (!mistaken.empty() && !ddl_.on && !ddl_.unknowable) replay_ddl(true);
  if (ddl_.on) {
    // DDL that committed before this was read is in the next snapshot; whatever is later, is not settled yet.
    ddl_.misfits.clear();
    for (const auto& one : unfit)
      if (!ddl_.broken.contains(one.first) || mistaken.contains(one.first)) ddl_.misfits.insert(one);
    for (const auto& one : ddl_.misfits) unfit.erase(one.first);
    if (!ddl_.misfits.empty()) ddl_.due = true;
    ddl_.broken.clear();
  }
  if (ddl_.on && std::exchange(ddl_.strays, false)) {
    auto journaled = co_await ddl::journaled_ids(*reader_, boundary_.snapshot);
    const auto own = plan().own;
    for (const auto& one : own) journaled.insert(one.first);  // Their keys may all be from before that.
    for (const int id : journaled) {
      const bool listed = std::any_of(primary.begin(), primary.end(), [&](const TableInfo& table) { return table.id == id; });
      if (!listed) tables_.nobodys.insert(id);
    }
  }
  for (const auto& [id, why] : unfit) {
    log_event(LogLevel::error, "table_cannot_be_mirrored", {{"why", why}});
    co_await applier_->run(
        "UPDATE pgjanus.tables SET state = 'error', error = $2, boundary = coalesce(boundary, $3) "
        "WHERE id = $1", pg::params(std::to_string(id), why, boundary_.snapshot));
    left_out_.insert(id);
    const auto own = own_.extract(id);
    waiting_[id] = own.empty() ? boundary_.snapshot : own.mapped();
    broken_[id] = why;
  }
  std::erase_if(pending_detach_, [&](const auto& one) { return !held_up_.contains(one.first); });  // Dropped meanwhile, or to be loaded.
  if (ddl_.shape_known) number_columns();
  tables_known_ = true;
}

// A lock of the app on one table must not hold up the others: from now on the table keeps the
// boundary it has, until the lock is gone.
void MirrorLoop::hold_up(int table) {
  held_up_.insert(table);
  const auto again = ddl_.once_more.find(table);
  own_.try_emplace(table, again == ddl_.once_more.end() ? boundary_.snapshot : again->second);
  unsaved_holds_.insert(table);
  log_event(LogLevel::warn, "table_held_up",
            {{"table", tables_.by_id.at(table).primary.display()}});
  locks_seen_at_ = Clock::now();
}

// Before the common boundary moves on without them: a restart must find where they stayed.
asio::awaitable<void> MirrorLoop::save_holds() {
  for (const int id : unsaved_holds_) {
    co_await applier_->run(
        "UPDATE pgjanus.tables SET state = 'held_up', boundary = $2 WHERE id = $1",
        pg::params(std::to_string(id), own_.at(id)));
  }
  unsaved_holds_.clear();
}

// Tables that are truncated or rewritten again and again would throw away each batch, the others'
// part with theirs: they wait, and come back one first, twice as many with each batch that goes well, later each time that one does not.
void MirrorLoop::hold_up_rewritten() {
  // A batch with DDL in it is long: when it is met again and again, the rows come after the DDL.
  if (ddl_.on && ddl_.due && surprises_ >= surprises_with_ddl && !rewritten_.empty()) {
    for (const auto& [id, pair] : tables_.by_id) rewritten_.insert(id);
  }
  for (const int id : rewritten_) {
    if (!tables_.by_id.contains(id) || held_up_.contains(id)) continue;
    hold_up(id);
    auto& rest = restless_[id];
    rest.pause = std::min<std::chrono::milliseconds>(2 * rest.pause + 200ms, 4s);
    rest.until = Clock::now() + rest.pause;
    rested_ = 1;
  }
  rewritten_.clear();
}

asio::awaitable<void> MirrorLoop::look_at_locks() {
  locks_seen_at_ = Clock::now();
  std::set<int> locked;
  pending_detach_.clear();
  for (const bool primary : {true, false}) {
    std::map<std::int64_t, int> table_of;
    std::string oids = "{";
    for (const int id : held_up_) {
      const auto found = tables_.by_id.find(id);
      if (found == tables_.by_id.end()) continue;  // Dropped meanwhile.
      for (const auto& relation : (primary ? found->second.primary : found->second.mirror).relations) {
        oids += (oids.size() > 1 ? "," : "") + std::to_string(relation.oid);
        table_of[relation.oid] = id;
      }
    }
    auto& connection = primary ? *reader_ : *applier_;
    auto held = co_await connection.run(
        "SELECT DISTINCT relation::bigint FROM pg_locks WHERE granted AND "
        "mode IN ('AccessExclusiveLock', 'ExclusiveLock') AND relation = ANY ($1::oid[]) "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        pg::params(oids + "}"));
    for (int row = 0; row < held.size(); ++row) locked.insert(table_of[held.integer(row, 0)]);
    if (!primary) continue;
    // Neither in its tree nor out of it: no snapshot tells its rows. Since version 14.
    auto pending = co_await connection.run(
        "SELECT i.inhrelid::bigint, 'DETACH PARTITION ' || i.inhrelid::regclass || ' CONCURRENTLY is not finished; if nobody runs it "
        "any more: ALTER TABLE ' || i.inhparent::regclass || ' DETACH PARTITION ' || i.inhrelid::regclass || ' FINALIZE' FROM pg_inherits i "
        "WHERE i.inhrelid = ANY ($1::oid[]) AND (to_jsonb(i) ->> 'inhdetachpending')::boolean", pg::params(oids + "}"));
    for (int row = 0; row < pending.size(); ++row) {
      const int id = table_of[pending.integer(row, 0)];
      locked.insert(id);
      pending_detach_[id] = pending.str(row, 1);
    }
  }
  // Their boundaries stay in own_: the next batch catches them up.
  auto left = rested_;
  std::erase_if(held_up_, [&](int id) {
    if (locked.contains(id)) return false;
    const auto rest = restless_.find(id);
    if (rest == restless_.end()) return true;
    if (left == 0 || Clock::now() < rest->second.until) return false;
    --left;
    return true;
  });
}

FullXid MirrorLoop::journal_horizon() const {
  // Right after a start the common boundary is known before those of single tables are: what they
  // still need must not be taken for nobody's.
  if (!tables_known_ || (ddl_.on && ddl_.looked.empty())) return FullXid{0};
  const auto common = parse_snapshot(boundary_.snapshot);
  auto horizon = common ? common->xmin : FullXid{0};
  const auto lower = [&](const std::map<int, std::string>& boundaries) {
    for (const auto& [id, text] : boundaries) {
      const auto own = parse_snapshot(text);
      horizon = std::min(horizon, own ? own->xmin : FullXid{0});
    }
  };
  lower(own_);
  lower(waiting_);
  lower(ddl_.once_more);
  if (const auto looked = parse_snapshot(ddl_.looked); looked && ddl_.on) horizon = std::min(horizon, looked->xmin);
  return horizon;
}

}  // namespace pgjanus
