#include "proxy/mirror/loop.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>

#include "proxy/engine/random.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto idle_interval = 100ms;    // Writers that bypass us are mirrored this late at most.
constexpr auto lazy_interval = 5ms;      // acknowledge = primary: let batches grow a little.
constexpr auto store_interval = 1000ms;  // How often an unchanged mirror's boundary is moved.
constexpr auto locks_interval = 200ms;
}  // namespace

MirrorLoop::MirrorLoop(asio::any_io_executor executor, const Databases& databases,
                       LoopSettings settings, Tickets& tickets, Bell& bell,
                       std::function<void()> covered, std::function<void()> changed)
    : executor_{executor}, databases_{databases}, settings_{settings}, tickets_{tickets}, bell_{bell},
      covered_{std::move(covered)}, changed_{std::move(changed)}, state_{settings.initially},
      work_{executor}, rest_{executor}, resumed_{executor} {
  // After a flip both sides are equal as of now.
  if (settings.initially == MirrorState::in_sync) shared_at_ = Clock::now();
}

asio::awaitable<void> MirrorLoop::run() {
  bell_.listener = this;
  while (!stop_) {
    co_await turn();
  }
  // Whoever has parked the loop works with its connections until it lets go.
  while (owned_) co_await pause_for(2ms);
  drop_connections();
  if (bell_.listener == this) bell_.listener = nullptr;
  stopped_ = true;
  rest_.notify();
}

asio::awaitable<void> MirrorLoop::turn() {
  if (park_wanted_ > 0) {
    at_rest_ = true;
    rest_.notify();
    co_await resumed_.wait(1000ms);
    co_return;
  }
  at_rest_ = false;
  std::optional<pg::Error> failure;
  int table = 0;
  try {
    co_await connect();
    co_await cycle(false, nullptr);
  } catch (const pg::Error& error) {
    failure = error;
    table = stalled_table_;
  } catch (const std::exception& error) {
    failure = pg::Error{error.what()};
    failure->message = error.what();
    failure->lost = true;
  }
  if (failure && failure->is("23514")) co_await lift_check(*failure);
  if (failure) handle(*failure, table);
  if (!stop_ && park_wanted_ == 0) co_await wait_for_work();
}

asio::awaitable<void> MirrorLoop::wait_for_work() {
  if (pause_ > 0ms) {
    const auto time = pause_;
    co_await work_.wait(time);
    co_return;
  }
  const bool owed = !tickets_.covered(tickets_.drawn());
  if (owed && settings_.wait_for_both && state_ == MirrorState::in_sync) co_return;
  if (owed) {
    co_await pause_for(lazy_interval);
    co_return;
  }
  bell_.sleeping.store(true);
  if (tickets_.covered(tickets_.drawn())) co_await work_.wait(idle_interval);
  bell_.sleeping.store(false);
}

void Bell::ring() noexcept {
  if (!sleeping.load() || !sleeping.exchange(false)) return;
  asio::post(executor, [this] {
    if (listener != nullptr) listener->wake();
  });
}

void MirrorLoop::stop() noexcept {
  stop_ = true;
  work_.notify();
  resumed_.notify();
}

void MirrorLoop::retry() noexcept {
  pause_ = 0ms;
  forget_tables();
  work_.notify();
}

BatchPlan MirrorLoop::plan() const {
  BatchPlan plan{boundary_, own_, left_out_};
  for (const int id : held_up_) {
    plan.own.erase(id);
    plan.left_out.insert(id);
  }
  return plan;
}

// A batch reads under one snapshot, writes the mirror under one transaction, and becomes durable
// in this order: heartbeat on the primary, then the mirror's commit (README.md, "Going back").
asio::awaitable<void> MirrorLoop::cycle(bool store, TwinSnapshots* twins) {
  using namespace asio::experimental::awaitable_operators;
  const auto began = Clock::now();
  if (!held_up_.empty() && began - locks_seen_at_ > locks_interval) co_await look_at_locks();
  if (!unsaved_holds_.empty()) co_await save_holds();
  const auto covered = tickets_.drawn();
  Batch batch{*reader_, *applier_, tables_, plan()};
  stalled_table_ = 0;
  rewritten_.clear();
  std::exception_ptr failure;
  try {
    auto header = co_await batch.open();
    check_header(header);
    const bool nothing = batch.empty() && plan().own.empty();
    if (nothing && !store && twins == nullptr && began - stored_at_ < store_interval) {
      co_await batch.close_empty();
      finished_batch(began, covered);
      co_return;
    }
    if (twins != nullptr) {
      auto exported = co_await reader_->run("SELECT pg_export_snapshot()");
      auto importing = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " +
                       pg::quote_literal(exported.text(0, 0)) + "; SELECT 1";
      co_await twins->primary->run(importing);
      twins->boundary = header.snapshot;
    }
    Boundary to{boundary_.epoch, boundary_.batch + 1, header.snapshot, random_token(), system_,
                header.timeline};
    co_await (beat(to) && batch.apply(to, false));
    co_await batch.commit();
    boundary_ = to;
    boundary_at_ = header.taken_at;
    for (const auto& [id, own] : plan().own) own_.erase(id);
    stored_at_ = began;
    keys_ += batch.keys_applied();
    ++batches_;
    if (twins != nullptr) {
      co_await twins->mirror->run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
    }
    finished_batch(began, covered);
    co_return;
  } catch (...) {
    failure = std::current_exception();
  }
  stalled_table_ = batch.table_at_work();
  rewritten_ = batch.rewritten();
  batch_was_long_ = Clock::now() - began > 1000ms;
  // Both transactions are open or gone; leave none behind on connections that go on.
  try {
    if (reader_ && reader_->usable() && reader_->in_transaction()) co_await reader_->run("ROLLBACK");
    if (applier_ && applier_->usable() && applier_->in_transaction()) {
      co_await applier_->run("ROLLBACK");
    }
  } catch (const pg::Error&) {
    drop_connections();
  }
  std::rethrow_exception(failure);
}

void MirrorLoop::finished_batch(Clock::time_point began, std::uint64_t covered) {
  surprises_ = 0;
  pause_ = 0ms;
  shared_at_ = began;
  stalled_table_ = 0;
  tickets_.cover(covered);
  covered_();
  const auto took = Clock::now() - began;
  if (state_ == MirrorState::stalled) set_state(MirrorState::catching_up, std::nullopt);
  // While a table is held up the state is degraded: the app must not be told that both have it.
  if (!broken_.empty()) {
    set_state(MirrorState::degraded, broken_.begin()->second);
  } else if (!held_up_.empty()) {
    set_state(MirrorState::degraded,
              std::to_string(held_up_.size()) + " tables wait for a lock of the app");
  } else if (state_ != MirrorState::in_sync && took < settings_.acknowledge_wait) {
    set_state(MirrorState::in_sync, std::nullopt);
  }
}

// A transaction with an id of its own, begun after the snapshot, durable before the mirror's
// commit: ids above it can come back after a crash, ids below it cannot.
asio::awaitable<void> MirrorLoop::beat(Boundary to) {
  std::vector<pg::Statement> statements;
  statements.push_back(
      {"UPDATE pgjanus.state SET batch = $1, nonce = $2, previous_nonce = $3, beat_at = now() "
       "WHERE role = 'primary' AND epoch = $4",
       {std::to_string(to.batch), to.nonce, boundary_.nonce, std::to_string(to.epoch.value)},
       true});
  auto results = co_await beater_->batch(std::move(statements));
  if (results[0].affected() != 1) {
    pg::Error error{"the primary's state is not primary of epoch " +
                    std::to_string(to.epoch.value) + " any more"};
    error.message = error.what();
    error.sqlstate = "PGJ02";
    throw error;
  }
}

void MirrorLoop::check_header(const BatchHeader& header) const {
  const auto refuse = [](const char* state, const std::string& why) {
    pg::Error error{why};
    error.message = why;
    error.sqlstate = state;
    return error;
  };
  if (header.role != "primary" || header.epoch != settings_.epoch) {
    throw refuse("PGJ02", "the primary's state says " + header.role + " of epoch " +
                              std::to_string(header.epoch.value));
  }
  const auto now = parse_snapshot(header.snapshot), before = parse_snapshot(boundary_.snapshot);
  const std::string advice = "; verify and repair before going on";
  if (!now || !before || now->xmax < before->xmax) {
    throw refuse("PGJ03", "transaction ids went back on the primary: it was restored, or failed "
                          "over to a copy that lacked transactions" + advice);
  }
  if (boundary_.nonce != header.nonce && boundary_.nonce != header.previous_nonce) {
    throw refuse("PGJ03", "the primary does not know the mirror's last boundary: it went back in "
                          "time (failover to an asynchronous follower, or a restore)" + advice);
  }
  if (!boundary_.system.empty() && !system_.empty() && boundary_.system != system_) {
    throw refuse("PGJ03", "the primary is another cluster than at the last boundary" + advice);
  }
}

void MirrorLoop::set_state(MirrorState state, std::optional<std::string> why) {
  const bool same = state == state_ && why == error_;
  if (!same) {
    log_event(state == MirrorState::in_sync || state == MirrorState::catching_up ? LogLevel::info
                                                                                : LogLevel::warn,
              "mirror_state_changed",
              {{"state", to_string(state)}, {"why", why.value_or(std::string{})}});
  }
  state_ = state;
  error_ = std::move(why);
  if (!same) changed_();
}

void MirrorLoop::degrade(std::string why) {
  if (state_ == MirrorState::in_sync) set_state(MirrorState::degraded, std::move(why));
}

// A CHECK that the primary's own rows break (NOT VALID, or true only at another time) must not act
// on the mirror: it leaves until promotion and comes back NOT VALID. The batch is run again.
asio::awaitable<void> MirrorLoop::lift_check(pg::Error& failure) {
  std::string trouble;
  try {
    const bool lifted = co_await keep_check(*applier_, failure.schema, failure.table,
                                            failure.constraint);
    if (!lifted) co_return;
    log_event(LogLevel::warn, "check_constraint_lifted_on_the_mirror",
              {{"table", failure.schema + "." + failure.table},
               {"constraint", failure.constraint}});
    failure.sqlstate = "PGJ01";  // Nothing is wrong any more: look again at once.
  } catch (const pg::Error& error) {
    trouble = error.message;
  }
  if (!trouble.empty()) log_event(LogLevel::warn, "check_constraint_stays", {{"why", trouble}});
}

// The snapshot met DDL, two transactions met on the mirror, or a table changed its shape: what helps
// is to look again under a new snapshot.
bool MirrorLoop::passing(const pg::Error& error) noexcept {
  return error.is("PGJ01") || error.is("40001") || error.is("40P01") || error.is("42P01") ||
         error.is("42703") || error.is("XX000") || error.is("0A000") || error.is("55P03");
}

void MirrorLoop::handle(const pg::Error& error, int table) {
  ++errors_;
  const auto found = tables_.by_id.find(table);
  const auto name = found == tables_.by_id.end() ? std::string{} : found->second.primary.display();
  if (error.lost || error.sqlstate.starts_with("57P") || error.sqlstate.starts_with("08")) {
    log_event(LogLevel::warn, "mirror_connection_lost", {{"why", error.message}});
    drop_connections();
    pause_ = std::min<std::chrono::milliseconds>(pause_ * 2 + 50ms, 1000ms);
    set_state(MirrorState::degraded, error.message);
    return;
  }
  if (error.is("55P03") && found != tables_.by_id.end()) {
    hold_up(table);
    return;
  }
  if (passing(error) && ++surprises_ < surprises_max) {
    if (surprises_ >= 3 || batch_was_long_) hold_up_rewritten();
    if (!error.is("PGJ01")) forget_tables();
    pause_ = std::chrono::milliseconds{10 * surprises_};
    return;
  }
  stalled_table_ = table;
  pause_ = 5000ms;
  forget_tables();
  auto why = (name.empty() ? std::string{} : name + ": ") + error.message;
  if (!error.detail.empty() && error.constraint.empty()) why += " (" + error.detail + ")";
  if (!error.constraint.empty()) why += " (constraint " + error.constraint + ")";
  set_state(MirrorState::stalled, std::move(why));
}

void MirrorLoop::drop_connections() noexcept {
  reader_.reset();
  beater_.reset();
  applier_.reset();
}

LoopReport MirrorLoop::report() const {
  LoopReport report{state_, error_, boundary_at_, std::nullopt, keys_,
                    batches_, errors_, held_up_, broken_, boundary_.nonce};
  if (shared_at_) {
    // At rest the two are equal as of the last look, which is at most idle_interval ago.
    report.lag_ms = std::chrono::duration<double, std::milli>(Clock::now() - *shared_at_).count();
  }
  return report;
}

}  // namespace pgjanus
