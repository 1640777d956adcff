#include "proxy/flip/flip_run.hpp"

#include <nlohmann/json.hpp>

#include "proxy/engine/status_json.hpp"
#include "proxy/engine/random.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"
#include "sql_texts.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

namespace {

constexpr auto doubt_limit = 10s;  // Then the verb answers "in doubt" and the engine goes on asking.

}  // namespace

bool FlipRun::already_there() const {
  return engine_.primary_ == options_.to &&
         (engine_.phase_ == Phase::mirroring || engine_.phase_ == Phase::finished);
}

pg::Duration FlipRun::rest() const {
  return std::max(duration_cast<milliseconds>(deadline_ - Engine::Clock::now()), milliseconds{1});
}

asio::awaitable<Outcome> FlipRun::run() {
  const std::string to{to_string(options_.to)};
  if (!already_there()) co_await wait_for_locked_tables();
  from_ = engine_.primary();
  if (already_there()) {
    co_return Outcome{Ended::done, "the " + to + " is the primary already", {}, {}};
  }
  auto asked = co_await guards();
  for (const auto& guard : asked) {
    if (guard.ok) continue;
    if (guard.skippable && options_.force) {
      forced_ = true;
      log_event(LogLevel::warn, "guard_skipped", {{"guard", guard.name}, {"detail", guard.detail}});
      continue;
    }
    co_return Outcome{guard.ended, "refused by the guard " + guard.name + ": " + guard.detail,
                      guard.remedy, {{"guard", guard.name}, {"detail", guard.detail}}};
  }
  if (engine_.flipping_) {
    co_return Outcome{Ended::error, "the outcome of another flip is being found out",
                      "wait until status shows the primary", {}};
  }
  // The watch's VACUUM, among others, holds a lock that the bar waits for.
  co_await engine_.hush_watch();
  loop_ = engine_.loop_;
  if (!loop_ || engine_.primary() != from_) {
    engine_.flipping_ = false;
    co_return Outcome{Ended::not_ready, "mirroring ended while the guards were asked", "see status",
                      {}};
  }
  Flip flip;
  std::exception_ptr failure;
  try {
    epoch_ = Epoch{engine_.epoch_.value + 1};
    nonce_ = random_token();
    last_flip_ = nlohmann::json{{"to", to}, {"at", now_utc()}, {"blackout_ms", nullptr},
                                {"forced", forced_}}.dump();
    co_await prepare_quietly();
    const bool quiet = co_await wait_for_long_transactions();
    if (!quiet) {
      flip.resume(Flip::Event::failed);
    }
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    engine_.flipping_ = false;
    std::rethrow_exception(failure);
  }
  engine_.phase_ = Phase::flipping;
  while (!flip.over() && !doubt_) {
    auto event = co_await carry_out(flip.action());
    flip.resume(event);
  }
  if (doubt_) {
    ++engine_.flips_in_doubt_;
    engine_.flipping_ = false;
    engine_.phase_ = Phase::mirroring;
    if (parked_) loop_->unpark();
    engine_.spawn_recovery();
    co_return Outcome{Ended::in_doubt, "the outcome is not known: " + why_,
                      "clients are held until the old primary answers; status shows the result",
                      {}};
  }
  if (flip.action() == Flip::Action::release_done) {
    co_await open_gate_on_new_primary();
  } else {
    engine_.phase_ = Phase::mirroring;
    engine_.held_ = Held::none;
    co_await engine_.publish();
    ++engine_.flips_undone_;
  }
  engine_.flipping_ = false;
  engine_.flip_waiting_.clear();
  co_return outcome_of(flip);
}

// All that takes time and needs no gate: connections, materialized views, sequences, and the
// sessions' servers on the other side.
asio::awaitable<void> FlipRun::prepare_quietly() {
  say("preparing: connections, sequences and sessions on the " +
      std::string{to_string(options_.to)});
  bar_ = co_await engine_.open(from_, "flip bar");
  // A proxy that dies silently lets its bar go by this; while it lives, its limit is longer.
  const auto idle = std::to_string((options_.timeout + 10'000ms).count());
  co_await bar_->run("SET idle_in_transaction_session_timeout = " + idle);
  helper_ = co_await engine_.open(from_, "flip helper");
  promoting_ = co_await engine_.open(options_.to, "flip promotion");
  co_await promoting_->run("SET idle_in_transaction_session_timeout = " + idle);
  other_helper_ = co_await engine_.open(options_.to, "flip sequences");
  // What can be read now can be read afterwards, too, even if replaying could not fill it.
  const std::string views_of = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n "
                               "ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND ";
  auto filled = co_await helper_->run("SELECT array(" + views_of + "c.relispopulated)::text");
  auto views = co_await other_helper_->run(
      views_of + "(c.relispopulated OR format('%I.%I', n.nspname, c.relname) = ANY ($1::text[])) ORDER BY c.oid",
      pg::params(filled.str(0, 0)));
  for (int row = 0; row < views.size(); ++row) {
    say("refreshing materialized view " + views.str(row, 0));
    std::string trouble;
    try {
      co_await other_helper_->run("REFRESH MATERIALIZED VIEW " + views.str(row, 0), 600'000ms);
    } catch (const pg::Error& error) {
      if (error.lost) throw;
      trouble = error.message;
    }
    if (!trouble.empty()) {
      log_event(LogLevel::warn, "materialized_view_not_refreshed",
                {{"view", views.str(row, 0)}, {"why", trouble}});
    }
  }
  // Right after another flip the loop reads and stores the whole catalog, a second with thousands of tables: not while clients are held.
  const auto until = Engine::Clock::now() + std::max(options_.wait, options_.timeout);
  while (loop_->reads_catalog() && !given_up() && Engine::Clock::now() < until) co_await pause_for(5ms);
  co_await push_sequences(*helper_, *other_helper_);
  co_await bring_capture();
  co_await engine_.sessions_.warm(options_.to, 5000ms);
  co_await warm_next_loop();
}

// Both sides are equal when the gate opens again, but the first commits wait until the loop of the other
// direction has put them on the mirror: nothing that it needs may be left to do then.
asio::awaitable<void> FlipRun::warm_next_loop() {
  next_ = engine_.make_loop(options_.to, epoch_, MirrorState::in_sync);
  schema_changes_ = loop_->schema_changes();
  std::string trouble;
  try {
    co_await next_->warm();
  } catch (const pg::Error& error) {
    trouble = error.what();  // The loop connects by itself later, only slower.
  }
  if (!trouble.empty()) log_event(LogLevel::warn, "next_mirror_loop_not_ready", {{"why", trouble}});
}

// Tables that the batches leave out, as somebody has them locked: who does is a long transaction, too.
asio::awaitable<void> FlipRun::wait_for_locked_tables() {
  const auto began = Engine::Clock::now();
  auto until = began + options_.wait;
  for (auto said = Engine::Clock::time_point{}; !given_up() && Engine::Clock::now() < until;) {
    const auto loop = engine_.loop_;
    if (!loop) break;
    const auto report = loop->report();
    const bool met = said != Engine::Clock::time_point{};
    if (report.held_up.empty() && (!met || report.state == MirrorState::in_sync)) break;
    if (report.held_up.empty()) {  // Read by the next batch, if nothing else is wrong.
      until = std::min(until, said + 5s);
    } else if (until = began + options_.wait; Engine::Clock::now() - said > 1s) {
      said = Engine::Clock::now();
      say("waiting for the mirror: " + report.error.value_or("tables are locked"));
    }
    co_await pause_for(50ms);
  }
  waited_ = Engine::Clock::now() - began;
}

// Gate open: transactions that would outlast the time that clients may be held get the chance to
// end by themselves.
asio::awaitable<bool> FlipRun::wait_for_long_transactions() {
  const auto until = Engine::Clock::now() + options_.wait - waited_;
  for (auto said = Engine::Clock::time_point{};;) {
    auto open = co_await blockers();
    const double longest = std::chrono::duration<double>(options_.timeout).count();
    std::erase_if(open, [&](const Waiting& one) { return one.seconds < longest; });
    if (open.empty() || options_.terminate) break;
    engine_.flip_waiting_ = open;
    if (const char* why = given_up()) {
      why_ = why;
      co_return false;
    }
    if (Engine::Clock::now() >= until) {
      blockers_ = std::move(open);
      timed_out_ = true;
      why_ = "transactions did not end within " + std::to_string(options_.wait.count()) + " ms";
      co_return false;
    }
    if (Engine::Clock::now() - said > 1s) {
      said = Engine::Clock::now();
      say("waiting for " + open.front().what + " (pid " + std::to_string(open.front().pid) +
          ", user " + open.front().user + ", " +
          std::to_string(static_cast<int>(open.front().seconds)) + " s)");
    }
    co_await pause_for(100ms);
  }
  engine_.flip_waiting_.clear();
  co_return true;
}

asio::awaitable<Flip::Event> FlipRun::carry_out(Flip::Action action) {
  std::optional<pg::Error> error;
  try {
    switch (action) {
      case Flip::Action::hold: co_await hold_or_throw(); break;
      case Flip::Action::bar: co_await bar_or_throw(); break;
      case Flip::Action::drain: co_await drain(); break;
      case Flip::Action::ready:
        if (loop_->schema_changes() != schema_changes_) co_await require_capture();
        co_await ready_promotion(*promoting_, epoch_, nonce_, last_flip_);
        break;
      case Flip::Action::decide:
        if (const char* why = given_up()) throw Undone{why};
        if (Engine::Clock::now() > deadline_) {
          timed_out_ = true;
          throw Undone{"the time for holding clients ran out"};
        }
        co_await ready_decision(*bar_, epoch_, nonce_, last_flip_);
        co_await bar_->run("COMMIT", 30'000ms);
        break;
      case Flip::Action::ask: {
        auto answer = co_await ask();
        co_return answer;
      }
      case Flip::Action::promote:
        if (promoting_ && promoting_->in_transaction()) {
          co_await promoting_->run("COMMIT", 30'000ms);
        } else {
          co_await promote_again();
        }
        break;
      case Flip::Action::undo: co_await undo(); break;
      case Flip::Action::release_undone:
      case Flip::Action::release_done: break;
    }
    co_return Flip::Event::done;
  } catch (const Undone& undone) {
    why_ = undone.what();
    co_return Flip::Event::failed;
  } catch (const pg::Error& failed) {
    error = failed;
  } catch (const std::exception& failed) {
    error = pg::Error{failed.what()};
    error->message = failed.what();
  }
  why_ = std::string{to_string(action)} + ": " + error->message;
  log_event(LogLevel::warn, "flip_step_failed", {{"step", to_string(action)}, {"why", error->message}});
  if (action == Flip::Action::decide && error->lost) co_return Flip::Event::lost;
  if (action == Flip::Action::promote) {
    if (promoting_) promoting_->close();
    co_await pause_for(100ms);
    // Decided: only forward. Past the limit the engine goes on without the operator waiting.
    if (Engine::Clock::now() > deadline_ + doubt_limit) doubt_ = true;
    co_return Flip::Event::lost;
  }
  co_return Flip::Event::failed;
}

// A COMMIT may still be on its way: settled_state() waits for it before it reads.
asio::awaitable<Flip::Event> FlipRun::ask() {
  engine_.held_ = Held::in_doubt;
  co_await engine_.publish();
  const auto until = Engine::Clock::now() + doubt_limit;
  while (Engine::Clock::now() < until) {
    try {
      auto asking = co_await engine_.databases_.open(from_, "flip question", 2000ms);
      auto state = co_await engine_.settled_state(*asking);
      if (state) {
        co_return state->role == Role::mirror ? Flip::Event::old_is_mirror : Flip::Event::old_is_primary;
      }
    } catch (const std::exception& error) {
      why_ = std::string{"the old primary does not answer: "} + error.what();
    }
    co_await pause_for(100ms);
  }
  doubt_ = true;
  co_return Flip::Event::lost;
}

asio::awaitable<void> FlipRun::promote_again() {
  promoting_ = co_await engine_.databases_.open(options_.to, "flip promotion", 2000ms);
  auto state = co_await read_state(*promoting_);
  if (state && state->role == Role::primary && state->epoch == epoch_) co_return;
  co_await ready_promotion(*promoting_, epoch_, nonce_, last_flip_);
  co_await promoting_->run("COMMIT", 30'000ms);
}

asio::awaitable<void> FlipRun::undo() {
  // Closing is enough: the servers roll back what is open.
  if (bar_) bar_->close();
  if (promoting_) promoting_->close();
  if (parked_) loop_->unpark();
  parked_ = false;
  co_return;
}

asio::awaitable<void> FlipRun::open_gate_on_new_primary() {
  co_await next_->mark_catalog();
  engine_.primary_ = options_.to;
  engine_.epoch_ = epoch_;
  engine_.phase_ = Phase::mirroring;
  engine_.held_ = Held::none;
  if (parked_) {
    loop_->stop();
    loop_->unpark();
    parked_ = false;
  }
  engine_.retire_loop();
  // Both are equal at this moment: commits go on waiting for both sides.
  co_await engine_.start_mirroring(std::move(next_));
  co_await engine_.publish();
  blackout_ms_ = std::chrono::duration<double, std::milli>(Engine::Clock::now() - closed_at_).count();
  ++engine_.flips_done_;
  engine_.blackouts_.push_back(blackout_ms_ / 1000);
  auto flipped = nlohmann::json::parse(last_flip_);
  engine_.last_flip_ = LastFlip{options_.to, flipped["at"], blackout_ms_, forced_};
  log_event(LogLevel::info, "flipped",
            {{"to", to_string(options_.to)}, {"epoch", epoch_.value}, {"blackout_ms", blackout_ms_}});
  flipped["blackout_ms"] = blackout_ms_;
  for (const Side side : {Side::source, Side::target}) {
    auto& connection = side == from_ ? helper_ : other_helper_;
    std::string trouble;
    try {
      auto value = pg::params(flipped.dump());
      co_await connection->run("UPDATE pgjanus.state SET last_flip = $1::jsonb", std::move(value));
    } catch (const pg::Error& error) {
      trouble = error.what();  // For people only; the flip stands without it.
    }
    if (!trouble.empty()) log_event(LogLevel::warn, "flip_time_not_stored", {{"why", trouble}});
  }
}

Outcome FlipRun::outcome_of(const Flip& flip) const {
  Outcome outcome;
  auto& document = outcome.document = nlohmann::json::object();
  if (flip.action() == Flip::Action::release_done) {
    document = {{"to", to_string(options_.to)}, {"epoch", epoch_.value}, {"blackout_ms", blackout_ms_}, {"forced", forced_}};
    outcome.message = "the " + std::string{to_string(options_.to)} +
                      " is the primary; clients were held for " +
                      std::to_string(static_cast<int>(blackout_ms_ + 0.5)) + " ms";
    return outcome;
  }
  outcome.ended = timed_out_ ? Ended::timed_out : Ended::error;
  outcome.message = "the flip was undone, the " + std::string{to_string(from_)} +
                    " is still the primary: " + why_;
  document["blockers"] = nlohmann::json::array();
  for (const auto& blocker : blockers_) {
    document["blockers"].push_back(
        {{"side", blocker.side}, {"pid", blocker.pid}, {"user", blocker.user},
         {"application_name", blocker.application_name}, {"seconds", blocker.seconds}});
    outcome.message += "; " + blocker.what + " (pid " + std::to_string(blocker.pid) + ", user " +
                       blocker.user + ", application " + blocker.application_name + ", " +
                       std::to_string(static_cast<int>(blocker.seconds)) + " s, " +
                       blocker.detail + ")";
  }
  outcome.hint = timed_out_ ? "end these transactions, give --wait more time, or use --terminate"
                            : "put the cause right and try again; nothing has changed";
  document["message"] = outcome.message;
  return outcome;
}

}  // namespace pgjanus
