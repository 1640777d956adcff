// The operator's verbs.

#include <boost/asio/co_spawn.hpp>
#include <nlohmann/json.hpp>

#include "proxy/check/check.hpp"
#include "proxy/engine/engine.hpp"
#include "proxy/engine/prepare.hpp"
#include "proxy/engine/status_json.hpp"
#include "proxy/engine/verb_parts.hpp"
#include "proxy/flip/flip_run.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// Verbs that change things exclude each other; each is written to the audit log with its end, and
// none lets an exception out.
Engine::Awaited Engine::exclusively(const char* verb, Caller caller,
                                    std::function<Awaited()> work) {
  if (stopping_) co_return Outcome{Ended::error, "pgjanus is stopping", "try again later", {}};
  if (scheduled_verify_ && caller.peer != schedule_peer) co_await end_scheduled_verification();
  if (!busy_with_.empty()) {
    const bool stops = busy_with_ == "load" || busy_with_ == "verify" || busy_with_ == "repair";
    const auto how = busy_with_ == "load" ? "STOP LOAD" : "STOP VERIFY";
    co_return Outcome{Ended::error, busy_with_ + " is under way",
                      std::string{"wait until it has ended"} + (stops ? std::string{", or "} + how : ""), {}};
  }
  busy_with_ = verb;
  stop_asked_ = false;
  Outcome outcome;
  try {
    outcome = co_await work();
  } catch (const pg::Error& error) {
    outcome = {Ended::error, std::string{verb} + ": " + error.what() +
                                 (error.detail.empty() ? "" : " (" + error.detail + ")"),
               error.hint, {}};
  } catch (const std::exception& error) {
    outcome = {Ended::error, std::string{verb} + ": " + error.what(), {}, {}};
  }
  busy_with_.clear();
  stop_asked_ = false;
  co_await audit(caller, verb, outcome);
  co_return outcome;
}

asio::awaitable<void> Engine::audit(const Caller& caller, std::string command,
                                    const Outcome& outcome) {
  log_event(outcome.ended == Ended::done ? LogLevel::info : LogLevel::warn, "command",
            {{"command", command}, {"peer", caller.peer},
             {"exit_code", static_cast<int>(outcome.ended)}, {"outcome", outcome.message}});
  if (phase_ == Phase::idle || !primary_ || !watcher_[primary()] ||
      !watcher_[primary()]->usable()) {
    co_return;
  }
  std::string trouble;
  try {
    auto connection = co_await open(primary(), "audit");
    auto entry = pg::params(caller.peer, command, outcome.message);
    co_await connection->run("INSERT INTO pgjanus.audit (peer, command, outcome) "
                             "VALUES ($1, $2, $3)", std::move(entry));
  } catch (const pg::Error& error) {
    trouble = error.what();  // `finish` has taken the table away; the log line above stays.
  }
  if (!trouble.empty()) log_event(LogLevel::debug, "audit_not_stored", {{"why", trouble}});
}

Engine::Awaited Engine::check(Caller caller) {
  auto outcome = co_await run_check(databases_, settings_, caller.progress);
  co_return outcome;
}

Engine::Awaited Engine::prepare(Caller caller, bool with_schema) {
  std::function<Awaited()> work = [this, caller, with_schema] { return prepare_now(caller, with_schema); };
  auto outcome = co_await exclusively("prepare", caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::prepare_now(Caller caller, bool with_schema) {
  if (!primary_) co_return not_ready("the primary is not known yet: " + why_not_ready_, "see status");
  if (phase_ == Phase::finished) {
    co_return not_ready("this migration is finished", "start with other databases, or drop schema "
                                                      "pgjanus on both sides");
  }
  const auto refusal = co_await lead_primary_again();
  if (!refusal.empty()) co_return not_ready(refusal, "look at its status");
  auto waiting = tell_waiting(caller.progress);
  auto outcome = co_await pgjanus::prepare(databases_, settings_, with_schema, caller.progress,
                                           std::move(waiting));
  if (outcome.ended != Ended::done) co_return outcome;
  if (phase_ == Phase::idle) {
    auto connection = co_await open(primary(), "prepare");
    auto state = co_await read_state(*connection);
    if (state) {
      epoch_ = state->epoch;
      migration_ = state->migration;
      phase_ = phase_from(state->phase).value_or(Phase::prepared);
    }
  }
  if (loop_) loop_->forget_tables();
  co_await publish();
  co_return outcome;
}

Engine::Awaited Engine::load(Caller caller, std::vector<std::string> tables) {
  // What is under way is joined.
  if (loading_ || joinable_load_) {
    while (loading_ || joinable_load_) co_await pause_for(50ms);
    co_return load_outcome_.value_or(Outcome{});
  }
  if (phase_ == Phase::idle || !primary_) {
    co_return not_ready("nothing is prepared", "run prepare first");
  }
  if (phase_ == Phase::finished) co_return not_ready("this migration is finished", "");
  std::function<Awaited()> work = [this, caller, tables] { return load_tables(caller, tables); };
  joinable_load_ = true;
  auto outcome = co_await exclusively("load", caller, std::move(work));
  joinable_load_ = false;
  load_outcome_ = outcome;
  co_return outcome;
}

Engine::Awaited Engine::load_tables(Caller caller, std::vector<std::string> names) {
  std::vector<int> ids;
  const bool anew = co_await start_again_after_capture_ended();
  {
    auto connection = co_await open(mirror(), "load");
    auto rows = co_await connection->run(
        "SELECT id, schema_name || '.' || table_name, table_name, state FROM pgjanus.tables");
    bool missing = false;
    for (int row = 0; row < rows.size(); ++row) {
      missing = missing || rows.text(row, 3) != "mirrored";
      if (anew) ids.push_back(static_cast<int>(rows.integer(row, 0)));
      for (const auto& name : names) {
        if (name == rows.text(row, 1) || name == rows.text(row, 2)) {
          ids.push_back(static_cast<int>(rows.integer(row, 0)));
        }
      }
    }
    if (ids.size() < names.size()) {
      co_return Outcome{Ended::error, "a table named is not mirrored", "SHOW TABLES lists them", {}};
    }
    if (names.empty() && !missing && phase_ == Phase::mirroring) {
      co_return Outcome{Ended::done, "all tables are loaded and mirrored already", {}, {}};
    }
  }
  loading_ = true;
  std::exception_ptr failure;
  Outcome outcome;
  try {
    if (phase_ == Phase::prepared) co_await set_phase(Phase::loading);
    if (!loop_) co_await start_mirroring(MirrorState::catching_up);
    co_await publish();
    outcome = co_await load_now(std::move(ids), caller);
  } catch (...) {
    failure = std::current_exception();
  }
  loading_ = false;
  if (failure) std::rethrow_exception(failure);
  co_return outcome;
}

Engine::Awaited Engine::migrate(Caller caller) {
  auto say = [&caller](const std::string& line) {
    if (caller.progress) caller.progress(line);
  };
  say("check");
  auto outcome = co_await check(caller);
  if (outcome.ended != Ended::done) co_return outcome;
  say("prepare");
  outcome = co_await prepare(caller, true);
  if (outcome.ended != Ended::done) co_return outcome;
  say("load");
  outcome = co_await load(caller, std::vector<std::string>{});
  if (outcome.ended != Ended::done) co_return outcome;
  say("verify");
  outcome = co_await verify(caller, std::vector<std::string>{}, false);
  if (outcome.ended == Ended::done) {
    outcome.message = "loaded, in sync and verified; cutover is next when you want it";
  }
  co_return outcome;
}

Engine::Awaited Engine::reads(Caller caller, ReadsPolicy policy) {
  std::function<Awaited()> work = [this, policy] { return reads_now(policy); };
  auto outcome = co_await exclusively("reads", caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::reads_now(ReadsPolicy policy) {
  reads_ = policy;
  co_await publish();
  const auto text = to_string(policy);
  if (phase_ != Phase::idle) {
    for (const Side side : {primary(), mirror()}) {
      auto connection = co_await open(side, "reads");
      auto value = pg::params(text);
      co_await connection->run("UPDATE pgjanus.state SET reads = $1", std::move(value));
    }
  }
  co_return Outcome{Ended::done, "reads go to " + text, {}, {{"reads", text}}};
}

Engine::Awaited Engine::flip(Caller caller, FlipOptions options) {
  if (!primary_) co_return not_ready("the primary is not known yet: " + why_not_ready_, "see status");
  FlipRun run{*this, options, caller};
  if (options.dry_run) {
    auto outcome = co_await run.dry_run();
    co_return outcome;
  }
  const char* verb = options.to == Side::target ? "cutover" : "rollback";
  std::function<Awaited()> work = [&run] { return run.run(); };
  auto outcome = co_await exclusively(verb, caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::pause(Caller caller, std::chrono::milliseconds timeout) {
  if (flipping_ || held_ == Held::in_doubt) {
    co_return Outcome{Ended::error, "a flip is under way", {}, {}};
  }
  held_ = Held::pause;
  const auto number = ++pause_number_;
  co_await publish();
  auto open = co_await sessions_.quiesce(std::min<std::chrono::milliseconds>(timeout, 5s), false);
  asio::co_spawn(executor_, end_pause(number, timeout), [](std::exception_ptr failure) {
    if (failure) log_event(LogLevel::error, "pause_not_ended");
  });
  Outcome outcome{Ended::done, "new transactions wait for resume, at most " +
                                   std::to_string(timeout.count()) + " ms; " +
                                   std::to_string(open.size()) + " transactions are still open",
                  {}, {{"held", "pause"}, {"open_transactions", open.size()}}};
  co_await audit(caller, "pause", outcome);
  co_return outcome;
}

asio::awaitable<void> Engine::end_pause(std::uint64_t number, std::chrono::milliseconds timeout) {
  co_await pause_for(timeout);
  if (held_ != Held::pause || number != pause_number_) co_return;
  held_ = Held::none;
  log_event(LogLevel::warn, "pause_timed_out");
  co_await publish();
}

Engine::Awaited Engine::resume(Caller caller) {
  Outcome outcome{Ended::done, "nothing was paused", {}, {{"held", "none"}}};
  if (held_ == Held::pause) {
    held_ = Held::none;
    co_await publish();
    outcome.message = "resumed";
  }
  co_await audit(caller, "resume", outcome);
  co_return outcome;
}

Engine::Awaited Engine::retry(Caller caller) {
  if (!loop_) co_return not_ready("nothing is mirrored", "");
  loop_->retry();
  Outcome outcome{Ended::done, "the mirror tries again", {}, {}};
  co_await audit(caller, "retry", outcome);
  co_return outcome;
}

// Leaves out the table that the mirror is stalled at; nothing of it is lost: it is loaded anew
// later, and until then no flip is possible.
Engine::Awaited Engine::skip(Caller caller) {
  if (loop_ && loop_->report().state == MirrorState::stalled && !loop_->stalled_at_ddl().empty()) {
    const auto loop = loop_;
    const auto what = loop->stalled_at_ddl();
    co_await distrust();
    if (loop->stalled_at_ddl() != what) co_return not_ready("the mirror is not stalled at that any more", "status says what it waits for");
    loop->skip_ddl();
    loop->retry();
    Outcome outcome{Ended::done, "left out on the mirror: " + what, {}, {}};
    co_await audit(caller, "skip", outcome);
    co_return outcome;
  }
  const int table = loop_ ? loop_->stalled_at() : 0;
  if (table == 0 || loop_->report().state != MirrorState::stalled) {
    co_return not_ready("the mirror is not stalled at a table", "status says what it waits for");
  }
  std::function<Awaited()> work = [this, table] { return skip_now(table); };
  auto outcome = co_await exclusively("skip", caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::skip_now(int table) {
  auto ids = std::vector<int>{table};
  const auto loop = loop_;
  co_await distrust();
  co_await loop->detach(std::move(ids), TableState::error, 60s);
  loop->retry();
  co_return Outcome{Ended::done, "table " + std::to_string(table) +
                                     " is left out until it is loaded again", {}, {}};
}

}  // namespace pgjanus
