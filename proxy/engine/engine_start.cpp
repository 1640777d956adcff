// Finding the place: one proxy leads, the stored states are read and acted on (design.md 9).

#include <unistd.h>

#include <boost/asio/post.hpp>

#include "proxy/engine/engine.hpp"
#include "proxy/engine/random.hpp"
#include "proxy/engine/renew.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"
#include "proxy/schema/state.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// The advisory lock of the one proxy that runs a migration: 'pgja', 1.
const std::string leader_lock = "1885825633, 1";

// Whoever takes the lock or drops it, one at a time.
class OnlyLeader {
 public:
  explicit OnlyLeader(bool& leading) : leading_{leading} { leading_ = true; }
  OnlyLeader(const OnlyLeader&) = delete;
  OnlyLeader& operator=(const OnlyLeader&) = delete;
  ~OnlyLeader() { leading_ = false; }

 private:
  bool& leading_;
};

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string{name} : std::string{"unknown"};
}

}  // namespace

Engine::Engine(asio::any_io_executor executor, const Settings& settings, SessionControl& sessions,
               Tickets& tickets)
    : executor_{executor}, settings_{settings}, sessions_{sessions}, tickets_{tickets},
      databases_{settings.url}, bell_{executor}, reads_{settings.reads},
      catalog_{std::make_shared<const Catalog>()}, wake_{executor},
      member_name_{host_name() + ":" + std::to_string(::getpid()) + ":" +
                   random_token().substr(0, 8)} {
  tickets_.on_draw([this] { bell_.ring(); });
  sessions_.on_unacknowledged = [this] {  // From any worker's thread.
    asio::post(executor_, [this] {
      if (loop_) loop_->degrade("a commit waited for the mirror longer than acknowledge_wait");
    });
  };
  sessions_.on_schema_change = [this] {  // From any worker's thread.
    asio::post(executor_, [this] {
      if (Clock::now() >= catalog_next_) wake_.notify();
    });
  };
}

Engine::~Engine() = default;

asio::awaitable<void> Engine::run() {
  for (const Side side : {Side::source, Side::target}) co_await lead(side, true);
  bool found = false;
  while (!found && !stopping_) {
    co_await publish();
    std::string trouble;
    try {
      found = co_await look_and_act();
    } catch (const pg::Error& error) {
      trouble = error.message.empty() ? error.what() : error.message;
    } catch (const SettingsError& error) {
      trouble = error.what();
    }
    if (!trouble.empty()) why_not_ready_ = trouble;
    if (found || stopping_) break;
    log_event(LogLevel::warn, "primary_not_known", {{"why", why_not_ready_}});
    co_await wake_.wait(500ms);
  }
  if (stopping_) co_return;
  why_not_ready_.clear();
  primary_seen_at_ = Clock::now();
  log_event(LogLevel::info, "primary_found",
            {{"primary", to_string(primary())}, {"epoch", epoch_.value},
             {"phase", to_string(phase_)}});
  {
    const OnlyLeader only{leading_};  // A `prepare` that comes just now waits.
    co_await leave_primary_alone();
  }
  if (phase_ == Phase::mirroring || phase_ == Phase::loading) {
    co_await start_mirroring(MirrorState::catching_up);
  }
  co_await publish();
  if (phase_ == Phase::loading) resume_load();
  co_await watch();
  if (loader_) loader_->stop();
  // A flip, finish or abort that is under way gets the chance to end one way or the other.
  const auto deadline = Clock::now() + 5s;
  while (flipping_ && Clock::now() < deadline) co_await pause_for(5ms);
  co_await stop_mirroring();
}

void Engine::stop() noexcept {
  stopping_ = true;
  wake_.notify();
}

// Until several proxies can share a migration, the second one is refused. The lock goes with the
// connection; a proxy that was killed has left it within moments, one whose host vanished after
// the TCP timeouts that every control connection sets.
asio::awaitable<void> Engine::lead(Side side, bool patient) {
  const auto deadline = Clock::now() + (patient ? 15s : 0s);
  for (;;) {
    pg::ConnectionPtr connection;
    try {
      connection = co_await databases_.open(side, "leader " + member_name_, 5000ms);
    } catch (const pg::Error& error) {
      reachable_[side] = false;
      log_event(LogLevel::warn, "database_unreachable",
                {{"side", to_string(side)}, {"why", error.message}});
      co_return;  // Tried again by the watch.
    }
    reachable_[side] = true;
    auto locked = co_await connection->run("SELECT pg_try_advisory_lock(" + leader_lock + ")");
    if (locked.boolean(0, 0)) {
      leader_[side] = std::move(connection);
      co_await renew_functions(*leader_[side], side);
      co_return;
    }
    auto holder = co_await connection->run(
        "SELECT coalesce(a.application_name, ''), a.pid, coalesce(a.client_addr::text, 'local') "
        "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
        "AND l.granted AND l.classid = 1885825633 AND l.objid = 1 AND l.objsubid = 2 "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())");
    const auto name = holder.empty() ? std::string{} : holder.str(0, 0);
    if (name.find(member_name_) != std::string::npos) {
      throw EngineRefused{"source and target are the same database: the URLs of both lead to " +
                          databases_.parameters(side).describe()};
    }
    if (Clock::now() >= deadline || stopping_) {
      throw EngineRefused{
          "another pgjanus runs this migration: on the " + std::string{to_string(side)} +
          " its lock is held by " + (name.empty() ? "a session that hides its name" : name) +
          (holder.empty() ? "" : " (pid " + holder.str(0, 1) + ", from " + holder.str(0, 2) + ")") +
          "; stop that proxy first, several proxies cannot share a migration yet"};
    }
    co_await wake_.wait(250ms);
  }
}

// Ends by itself: every step of those who lead has a limit of seconds.
asio::awaitable<void> Engine::nobody_else_leads() {
  while (leading_) co_await pause_for(5ms);
}

// The lock of a side whose connection broke, for the watch.
asio::awaitable<void> Engine::lead_again(Side side) {
  co_await nobody_else_leads();
  const OnlyLeader only{leading_};
  if (leader_[side] && leader_[side]->usable()) co_return;
  leader_[side].reset();
  co_await lead(side, false);
  if (side == primary()) co_await leave_primary_alone();
}

// Before `prepare` nothing of ours stands in the app's database, not even a lock that its own
// look at pg_locks would find. The other side's lock keeps a second proxy away.
asio::awaitable<void> Engine::leave_primary_alone() {
  if (phase_ != Phase::idle || !primary_ || !leader_[primary()] || !leader_[mirror()]) co_return;
  co_await leader_[primary()]->run("SELECT pg_advisory_unlock(" + leader_lock + ")");
  primary_left_alone_ = true;
}

// Why it cannot be led, or nothing.
asio::awaitable<std::string> Engine::lead_primary_again() {
  co_await nobody_else_leads();
  const OnlyLeader only{leading_};
  if (!primary_left_alone_) co_return "";
  leader_[primary()].reset();
  std::string why;
  try {
    co_await lead(primary(), false);
    if (!leader_[primary()]) why = "the " + std::string{to_string(primary())} + " cannot be reached";
  } catch (const EngineRefused& refused) {
    why = refused.what();
  }
  if (why.empty()) primary_left_alone_ = false;
  co_return why;
}

// The state once no flip's COMMIT is on its way any more: a ROW EXCLUSIVE lock on the journal waits
// for whoever holds the bar, and for nobody else (writers hold the same mode).
asio::awaitable<std::optional<StoredState>> Engine::settled_state(pg::Connection& connection) {
  auto exists = co_await connection.run("SELECT to_regclass('pgjanus.journal') IS NOT NULL");
  if (!exists.boolean(0, 0)) {
    auto bare = co_await read_state(connection);  // Finished, or never prepared.
    co_return bare;
  }
  std::optional<pg::Error> failure;
  std::optional<StoredState> state;
  try {
    co_await connection.run("BEGIN; SET LOCAL lock_timeout = '5s'; "
                            "LOCK TABLE pgjanus.journal IN ROW EXCLUSIVE MODE");
    state = co_await read_state(connection);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure && failure->lost) throw *failure;
  co_await connection.run("ROLLBACK");
  if (failure) {
    failure->message = "waiting for a flip's transaction to end: " + failure->message;
    throw *failure;
  }
  co_return state;
}

// The outcome of a flip is not known: look until it is, then go on as after a restart.
asio::awaitable<void> Engine::recover_in_background() {
  held_ = Held::in_doubt;
  co_await hush_watch();
  co_await publish();
  co_await stop_mirroring();
  for (bool found = false; !found && !stopping_;) {
    std::string trouble;
    try {
      found = co_await look_and_act();
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (found) break;
    held_ = Held::in_doubt;
    if (!trouble.empty()) why_not_ready_ = trouble;
    log_event(LogLevel::error, "flip_in_doubt", {{"why", why_not_ready_}});
    co_await pause_for(500ms);
  }
  flipping_ = false;
  if (stopping_) co_return;
  why_not_ready_.clear();
  if (phase_ == Phase::mirroring) co_await start_mirroring(MirrorState::catching_up);
  co_await publish();
  log_event(LogLevel::warn, "doubt_resolved", {{"primary", to_string(primary())}});
}

// A side came back: it may be an older copy of itself that lost our fence (design.md 9, last row).
asio::awaitable<void> Engine::look_again() {
  if (phase_ != Phase::mirroring) co_return;
  PerSide<SideReport> sides;
  for (const Side side : {Side::source, Side::target}) {
    if (!watcher_[side] || !watcher_[side]->usable()) co_return;
    auto state = co_await settled_state(*watcher_[side]);
    sides[side] = SideReport{true, std::move(state)};
  }
  const auto recovery = recover(sides);
  if (recovery.action == Recovery::Action::fence && recovery.primary == primary_) {
    co_await fence_stale(mirror());
  } else if (recovery.action != Recovery::Action::serve || recovery.primary != primary_) {
    log_event(LogLevel::error, "sides_disagree", {{"why", recovery.why}});
  }
}

// One look at both sides and what follows from it; false: look again.
asio::awaitable<bool> Engine::look_and_act() {
  PerSide<SideReport> sides;
  for (const Side side : {Side::source, Side::target}) {
    if (!leader_[side] || !leader_[side]->usable()) {
      leader_[side].reset();
      co_await lead(side, true);
    }
    if (!leader_[side]) continue;
    auto state = co_await settled_state(*leader_[side]);
    sides[side] = SideReport{true, std::move(state)};
  }
  const auto recovery = recover(sides);
  switch (recovery.action) {
    case Recovery::Action::refuse: throw EngineRefused{recovery.why};
    case Recovery::Action::wait:
      why_not_ready_ = recovery.why;
      held_ = Held::in_doubt;
      co_return false;
    case Recovery::Action::finish_promotion:
      co_await finish_promotion(*recovery.primary);
      co_return false;  // Look again: the answer is now one primary.
    case Recovery::Action::fence:
      co_await fence_stale(other(*recovery.primary));
      co_return false;
    case Recovery::Action::idle:
      co_await refuse_two_full_databases();
      break;
    case Recovery::Action::serve: break;
  }
  if (!recovery.why.empty()) log_event(LogLevel::warn, "recovered", {{"why", recovery.why}});
  co_await adopt(recovery, sides);
  co_return true;
}

// The decision was made and nobody promoted the other side: only forward. Sequences were stopped
// with the decision, so the old primary still says where they stand.
asio::awaitable<void> Engine::finish_promotion(Side to) {
  const Side from = other(to);
  log_event(LogLevel::warn, "flip_found_decided", {{"to", to_string(to)}});
  auto decided = co_await leader_[from]->run(
      "SELECT epoch, nonce, coalesce(last_flip::text, '') FROM pgjanus.state");
  co_await push_sequences(*leader_[from], *leader_[to]);
  auto promoting = co_await open(to, "promotion");
  const Epoch epoch{static_cast<std::uint64_t>(decided.integer(0, 0))};
  co_await ready_promotion(*promoting, epoch, decided.str(0, 1), decided.str(0, 2));
  co_await keep_catalog(*promoting, epoch);
  co_await promoting->run("COMMIT");
  log_event(LogLevel::warn, "flip_finished_after_restart", {{"to", to_string(to)}});
}

// A side came back as primary of an older epoch: its own failover lost our fence.
asio::awaitable<void> Engine::fence_stale(Side stale) {
  log_event(LogLevel::error, "stale_primary_fenced", {{"side", to_string(stale)}});
  auto current = co_await leader_[other(stale)]->run(
      "SELECT epoch, coalesce(nonce, ''), coalesce(last_flip::text, '') FROM pgjanus.state");
  auto fencing = co_await open(stale, "fence");
  auto helper = co_await open(stale, "fence helper");
  const bool barred = co_await bar_writers(*fencing, *helper, 30'000ms, true);
  if (!barred) throw pg::Error{"writers hold the journal of the stale primary"};
  co_await fencing->run("SELECT pgjanus.stop_sequences()");
  co_await ready_decision(*fencing, Epoch{static_cast<std::uint64_t>(current.integer(0, 0))},
                          current.str(0, 1), current.str(0, 2));
  // What it holds beyond our history is unknown: every table is compared or loaded anew.
  co_await fencing->run("UPDATE pgjanus.boundary SET nonce = 'unknown: the primary went back'");
  co_await fencing->run("COMMIT");
}

asio::awaitable<void> Engine::adopt(const Recovery& recovery, const PerSide<SideReport>& sides) {
  primary_ = recovery.primary.value_or(settings_.assumed_primary.value_or(Side::source));
  held_ = Held::none;
  const auto& state = sides[*primary_].state;
  if (!state) {
    phase_ = Phase::idle;
    epoch_ = Epoch{};
    co_await read_catalog(*leader_[*primary_]);
    co_return;
  }
  epoch_ = state->epoch;
  migration_ = state->migration;
  phase_ = phase_from(state->phase).value_or(Phase::prepared);
  auto& connection = *leader_[*primary_];
  auto rows = co_await connection.run(
      "SELECT coalesce(reads, ''), coalesce(last_flip ->> 'to', ''), "
      "coalesce(last_flip ->> 'at', ''), last_flip ->> 'blackout_ms', "
      "coalesce(last_flip ->> 'forced', 'false'), verified ->> 'at', verified ->> 'tables', "
      "verified ->> 'differences', coalesce(verified ->> 'clean_since_load', 'false') "
      "FROM pgjanus.state");
  if (const auto stored = parse_reads(rows.text(0, 0))) reads_ = *stored;
  if (const auto to = side_from(rows.text(0, 1))) {
    last_flip_ = LastFlip{*to, rows.str(0, 2), std::nullopt, rows.text(0, 4) == "true"};
    if (!rows.null(0, 3)) last_flip_->blackout_ms = std::stod(rows.str(0, 3));
  }
  if (!rows.null(0, 5)) {
    verify_at_ = rows.str(0, 5);
    verify_tables_ = rows.null(0, 6) ? std::optional<std::int64_t>{} : rows.integer(0, 6);
    verify_differences_ = rows.null(0, 7) ? std::optional<std::int64_t>{} : rows.integer(0, 7);
    verified_since_change_ = rows.text(0, 8) == "true";
  }
  co_await read_catalog(connection);
}

// Nobody told us which side serves: two databases that both hold the app's rows must not be
// guessed between.
asio::awaitable<void> Engine::refuse_two_full_databases() {
  if (settings_.assumed_primary || !leader_[Side::source] || !leader_[Side::target]) co_return;
  const std::string list =
      "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c "
      "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
      "AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' "
      "AND n.nspname NOT IN ('information_schema', 'pgjanus')";
  auto ours = co_await leader_[Side::source]->run(list);
  auto theirs = co_await leader_[Side::target]->run(list);
  std::set<std::string> on_target;
  for (int row = 0; row < theirs.size(); ++row) on_target.insert(theirs.str(row, 0));
  for (int row = 0; row < ours.size(); ++row) {
    const auto name = ours.str(row, 0);
    if (!on_target.contains(name)) continue;
    bool both = true;
    for (const Side side : {Side::source, Side::target}) {
      auto some = co_await leader_[side]->run("SELECT EXISTS (SELECT FROM " + name + ")");
      both = both && some.boolean(0, 0);
    }
    if (both) {
      throw EngineRefused{"neither side has pgjanus's state, and both hold rows in " + name +
                          ": say which one serves with --primary source or --primary target"};
    }
  }
}

}  // namespace pgjanus
