// Verifications: an operator's, those that come by themselves ([verify] every) so that a flip's guard
// finds a fresh answer, and those that go on after an interruption.

#include <boost/asio/co_spawn.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "proxy/engine/engine.hpp"
#include "proxy/engine/status_json.hpp"
#include "proxy/engine/verb_parts.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto again_after_failure = 60s;
constexpr auto stop_limit = 30s;
constexpr auto stop_interval = 250ms;  // Statements are cancelled as often: one may begin just after.
constexpr auto way_limit = 10s;  // For a run to end that an operator's command ends.
}  // namespace

// The same comparison under way is joined.
Engine::Awaited Engine::verify(Caller caller, std::vector<std::string> tables, bool repair) {
  if (phase_ != Phase::mirroring || !loop_) {
    co_return not_ready("phase " + std::string{to_string(phase_)} + ": nothing to compare yet",
                        "load first");
  }
  auto asked = nlohmann::json{{"tables", tables}, {"repair", repair}}.dump();
  if (joinable_verify_ == asked && !scheduled_verify_) {
    while (joinable_verify_ == asked) co_await pause_for(50ms);
    co_return verify_outcome_.value_or(Outcome{});
  }
  std::function<Awaited()> work = [this, caller, tables, repair, asked] {
    joinable_verify_ = asked;
    return verify_now(caller, tables, repair);
  };
  const auto* name = repair ? "repair" : "verify";
  auto outcome = co_await exclusively(name, caller, std::move(work));
  if (joinable_verify_ == asked) {
    verify_outcome_ = outcome;
    joinable_verify_.clear();
  }
  co_return outcome;
}

void Engine::note_progress(const VerifyProgress& now) {
  VerifyStatus status;
  status.tables_done = now.tables_done;
  status.tables_total = now.tables_total;
  status.parts_done = now.parts_done;
  status.parts_total = now.parts_total;
  status.rows_done = now.rows_done;
  status.bytes_done = now.bytes_done;
  status.bytes_total = now.bytes_total;
  status.differences = now.differences;
  status.rows_per_second = now.rows_per_second;
  status.bytes_per_second = now.bytes_per_second;
  const auto left = static_cast<double>(now.bytes_total - now.bytes_done);
  if (now.bytes_per_second > 0) status.seconds_left = left / now.bytes_per_second;
  if (!now.limit.empty()) status.limit = now.limit;
  status.workers = now.workers;
  verifying_ = std::move(status);
}

// Stored ahead of what is done to the mirror: a process that is killed in between must not leave a clean verification behind.
asio::awaitable<void> Engine::distrust() {
  ++distrusted_;
  verified_since_change_ = false;
  if (!primary_) co_return;
  for (const Side side : {primary(), mirror()}) {
    std::string trouble;
    try {
      auto connection = co_await open(side, "verified");
      co_await connection->run("UPDATE pgjanus.state SET verified = verified || '{\"clean_since_load\": false}' "
                               "WHERE verified ->> 'clean_since_load' = 'true'");
    } catch (const pg::Error& error) {
      trouble = error.message;
    }
    if (!trouble.empty()) log_event(LogLevel::warn, "verification_not_withdrawn", {{"side", to_string(side)}, {"why", trouble}});
  }
}

Engine::Awaited Engine::verify_now(Caller caller, std::vector<std::string> tables, bool repair) {
  VerifyRequest request{primary(), std::move(tables), repair, caller.progress,
                        settings_.exclude, {}, {}, {}, {}};
  request.stop = [this] { return stop_asked_ || (make_way_ && scheduled_verify_); };
  request.limits = [this] {
    return load::Limits{settings_.load_workers, settings_.load_rows_per_second,
                        settings_.load_bytes_per_second, settings_.load_yield};
  };
  request.app = [this] { return sessions_.totals().query_seconds[primary()]; };
  request.report = [this](const VerifyProgress& now) { note_progress(now); };
  const auto loop = loop_;
  const auto distrusted = distrusted_;
  VerifyResult result;
  std::exception_ptr failure;
  try {
    result = co_await run_verification(databases_, *loop, std::move(request));
  } catch (...) {
    failure = std::current_exception();
  }
  const auto found = verifying_ ? verifying_->differences : 0;
  verifying_.reset();
  if (failure) {
    // What it compared is stored, and whoever verifies next goes on there: nobody does by himself
    // unless it only made way.
    if (make_way_) look_for_unfinished_ = true;
    // What was found stays found, and a repair has changed what was compared before.
    if (found > 0 || repair) co_await distrust();
    std::rethrow_exception(failure);
  }
  verify_rows_ += result.rows;
  verify_at_ = now_utc();
  verify_ended_at_ = Clock::now();
  verify_tables_ = result.tables;
  verify_differences_ = result.differences;
  for (const auto& [name, count] : result.by_table) differences_[name] = count;
  if (result.whole_database) verified_since_change_ = result.differences == 0 && distrusted_ == distrusted;
  // What some tables' run found stays found until all are compared again.
  if (!result.whole_database && (repair || result.differences > 0)) verified_since_change_ = false;
  for (const Side side : {primary(), mirror()}) {
    auto connection = co_await open(side, "verified");
    auto value = pg::params(nlohmann::json{{"at", *verify_at_}, {"tables", result.tables},
                                           {"differences", result.differences},
                                           {"clean_since_load", verified_since_change_}}.dump());
    co_await connection->run("UPDATE pgjanus.state SET verified = $1::jsonb", std::move(value));
  }
  co_return result.outcome;
}

// What an earlier process did not end, or what made way, goes on when there is time for it.
Engine::Awaited Engine::go_on_verifying() {
  std::optional<std::vector<std::string>> tables;
  {
    auto connection = co_await open(primary(), "verify");
    tables = co_await unfinished_verification(*connection);
  }
  if (!tables || make_way_) co_return Outcome{};
  Caller caller;
  caller.peer = schedule_peer;
  auto outcome = co_await verify(std::move(caller), std::move(*tables), false);
  co_return outcome;
}

bool Engine::verification_due(Clock::time_point now) {
  if (now < verify_rests_until_) return false;
  const bool never = verify_ended_at_ == Clock::time_point{};
  if (never && verified_since_change_) {  // By an earlier process: its time runs from our start.
    verify_ended_at_ = now;
    return false;
  }
  const std::chrono::milliseconds soon = again_after_failure;
  const auto wait = verified_since_change_ ? settings_.verify_every
                                           : std::min(settings_.verify_every, soon);
  return never || now - verify_ended_at_ >= wait;
}

// Called by the watch, once a second. Due is what was not compared since the last load, reload or
// repair, and what was compared too long ago.
void Engine::verify_when_due() {
  if (phase_ != Phase::mirroring || !loop_ || stopping_) return;
  if (settings_.verify_every <= 0ms && !look_for_unfinished_) return;
  if (flipping_ || loading_ || !busy_with_.empty() || held_ != Held::none) return;
  if (loop_->report().state != MirrorState::in_sync) return;
  const auto now = Clock::now();
  const bool goes_on = std::exchange(look_for_unfinished_, false);
  if (!goes_on && !verification_due(now)) return;
  scheduled_verify_ = true;
  const auto ended = [this](std::exception_ptr failure, const Outcome&) {
    scheduled_verify_ = false;
    if (failure) log_event(LogLevel::warn, "scheduled_verification_failed");
  };
  if (goes_on) {
    asio::co_spawn(executor_, go_on_verifying(), ended);
    return;
  }
  verify_ended_at_ = now;
  asio::co_spawn(executor_, verify_on_schedule(), ended);
}

Engine::Awaited Engine::verify_on_schedule() {
  Caller caller;
  caller.peer = schedule_peer;
  std::vector<std::string> all;
  auto outcome = co_await verify(std::move(caller), std::move(all), false);
  co_return outcome;
}

// Whoever waits for that verb is told by its own end.
Engine::Awaited Engine::stop_work(Caller caller, bool load) {
  const auto runs = [this, load] {
    return load ? busy_with_ == "load" : busy_with_ == "verify" || busy_with_ == "repair";
  };
  const std::string what = load ? "load" : "verification";
  Outcome outcome{Ended::done, "no " + what + " is under way", {}, {}};
  if (runs()) {
    stop_asked_ = true;
    // Whoever stops one does not want the next at once: by itself it comes when `every` has gone.
    if (!load) {
      verify_rests_until_ = Clock::now() + settings_.verify_every;
      look_for_unfinished_ = false;
    }
    outcome.message = "the " + what + " has ended; what is done stays done, " + (load ? "LOAD" : "VERIFY") +
                      " goes on with what is missing";
  }
  const auto deadline = Clock::now() + stop_limit;
  while (stop_asked_ && runs() && Clock::now() < deadline) {
    if (load && loader_) loader_->stop();
    co_await pause_for(stop_interval);
  }
  if (stop_asked_ && runs()) {
    outcome = {Ended::error, "the " + what + " has not ended within 30 s; it will after what it does now",
               "status shows what that is", {}};
  }
  const std::string command = load ? "stop load" : "stop verify";
  co_await audit(caller, command, outcome);
  co_return outcome;
}

asio::awaitable<void> Engine::end_scheduled_verification() {
  make_way_ = true;
  const auto deadline = Clock::now() + way_limit;
  while (scheduled_verify_ && Clock::now() < deadline) co_await pause_for(20ms);
  make_way_ = false;
}

}  // namespace pgjanus
