#include "proxy/mirror/loop.hpp"

#include <boost/asio/post.hpp>

#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto idle_interval = 100ms;    // Writers that bypass us are mirrored this late at most,
constexpr auto active_interval = 10ms;   // and this late when they wrote a moment ago.
constexpr auto lazy_interval = 5ms;      // acknowledge = primary: let batches grow a little.
}  // namespace

MirrorLoop::MirrorLoop(asio::any_io_executor executor, const Databases& databases,
                       LoopSettings settings, Tickets& tickets, Bell& bell,
                       std::function<void()> covered, std::function<void()> changed)
    : executor_{executor}, databases_{databases}, settings_{settings}, tickets_{tickets}, bell_{bell},
      covered_{std::move(covered)}, changed_{std::move(changed)}, state_{settings.initially},
      work_{executor}, rest_{executor}, resumed_{executor} {
  settled_ = state_ == MirrorState::in_sync;
  ddl_.on = settings_.replay_ddl;
  ddl_.beside_load = settings_.beside_load;
  ddl_.defined = tickets_.defined();
}

asio::awaitable<void> MirrorLoop::run() {
  bell_.listener = this;
  begin_catalog();
  // After a flip both sides are equal as of now.
  if (state_ == MirrorState::in_sync) shared_at_ = Clock::now();
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
  bool connected = false;
  ddl_.in_motion = false;
  try {
    co_await connect();
    connected = true;
    co_await cycle(false, nullptr);
    co_await follow_privileges();
  } catch (const pg::Error& error) {
    failure = error;
    table = stalled_table_;
  } catch (const std::exception& error) {
    failure = pg::Error{error.what()};
    failure->message = error.what();
    failure->lost = true;
  }
  if (failure && failure->is("23514")) co_await lift_check(*failure);
  if (failure && !connected) co_await judge_connect_failure(*failure);
  if (failure) handle(*failure, table);
  if (!stop_ && park_wanted_ == 0) co_await wait_for_work();
}

asio::awaitable<void> MirrorLoop::wait_for_work() {
  if (pause_ > 0ms) {
    const auto time = pause_;
    co_await work_.wait(time);
    co_return;
  }
  const bool owed = gathered_from_ < tickets_.drawn();
  if (owed && settings_.wait_for_both && state_ == MirrorState::in_sync) co_return;
  if (owed) {
    co_await pause_for(lazy_interval);
    co_return;
  }
  idle_wait_ = batches_ != batches_at_rest_ ? active_interval : std::min(2 * idle_wait_, idle_interval);
  batches_at_rest_ = batches_;
  bell_.sleeping.store(true);
  if (gathered_from_ >= tickets_.drawn()) co_await work_.wait(idle_wait_);
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

void MirrorLoop::change(bool wait_for_both, std::chrono::milliseconds acknowledge_wait) noexcept {
  settings_.wait_for_both = wait_for_both;
  settings_.acknowledge_wait = acknowledge_wait;
  work_.notify();
}

void MirrorLoop::retry() noexcept {
  pause_ = 0ms;
  forget_tables();
  work_.notify();
}

BatchPlan MirrorLoop::plan() const {
  BatchPlan plan{boundary_, own_, left_out_};
  plan.own.insert(ddl_.once_more.begin(), ddl_.once_more.end());
  for (const int id : left_out_) plan.own.erase(id);
  for (const int id : held_up_) {
    plan.own.erase(id);
    plan.left_out.insert(id);
  }
  return plan;
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
  if (ddl_.in_motion && passing(error)) {
    catalog_in_motion();
    return;
  }
  if (passing(error) && ++surprises_ < surprises_max) {
    if (surprises_ >= 3 || batch_was_long_) hold_up_rewritten();
    if (!error.is("PGJ01")) forget_tables();
    pause_ = std::chrono::milliseconds{10 * surprises_};
    return;
  }
  stalled_table_ = table;
  if (error.is("PGJ05")) ddl_.stalled = error.message;
  pause_ = 5000ms;
  forget_tables();
  auto why = (name.empty() ? std::string{} : name + ": ") + error.message;
  if (!error.detail.empty() && error.constraint.empty()) why += " (" + error.detail + ")";
  if (!error.constraint.empty()) why += " (constraint " + error.constraint + ")";
  // Forced on the owner after `check` had looked: it reads and writes all rows or none (row_security = off).
  if (error.is("42501") && error.message.find("row-level security") != std::string::npos) {
    why += "; ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or give BYPASSRLS to the role of pgjanus: mirroring then goes on by itself";
  }
  set_state(MirrorState::stalled, std::move(why));
}

void MirrorLoop::drop_connections() noexcept {
  described_.reset();
  placed_ = false;
  reader_.reset();
  applier_.reset();
  lister_.reset();
}

std::vector<std::string> MirrorLoop::not_mirrored() const {
  std::vector<std::string> names;
  for (const auto& [id, why] : broken_) names.push_back(why);
  for (const auto& [id, own] : own_) {
    const auto found = tables_.by_id.find(id);
    const auto name = found == tables_.by_id.end() ? "table " + std::to_string(id) : found->second.primary.display();
    const auto detach = pending_detach_.find(id);
    names.push_back(name + (detach != pending_detach_.end() ? ": " + detach->second
                            : held_up_.contains(id)         ? " waits for a lock of the app"
                                                            : " is catching up"));
  }
  return names;
}

LoopReport MirrorLoop::report() const {
  LoopReport report{state_, error_, boundary_at_, std::nullopt, keys_,
                    batches_, errors_, held_up_, boundary_.nonce,
                    under_way_ ? under_way_->keys_applied() : 0, settled_};
  if (shared_at_) {
    // At rest the two are equal as of the last look, which is at most idle_interval ago.
    report.lag_ms = std::chrono::duration<double, std::milli>(Clock::now() - *shared_at_).count();
  }
  return report;
}

}  // namespace pgjanus
