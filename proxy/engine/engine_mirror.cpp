// Mirroring as the engine runs it: the loop's life, the load, and the view that sessions go by.

#include <boost/asio/co_spawn.hpp>

#include "proxy/engine/engine.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/load/progress_line.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr int load_runs_max = 4;   // Into the same failure: what is not the app's DDL meets it again and again.
constexpr int load_runs_all = 60;  // An app may make and drop tables all the time, and each run go on a little.

/// Holds it: at the end of the process the frames of what it was doing go after the engine has gone, and undo what they
/// have set in it.
asio::awaitable<void> run_loop(std::shared_ptr<MirrorLoop> loop) { co_await loop->run(); }

/// A side lacks what the other has, or has it otherwise: class 42 without missing rights (42501), a schema (3F000),
/// values that are none of their column's (class 22; 08P01: of a binary row), or that a constraint refuses which is gone or another one (classes 23
/// and 21: two rows of a key).
/// What is not for that reason meets it again once replaying has come to where the primary is, and is told then.
bool other_shape(const pg::Error& error) {
  const auto of_class = [&](const char* name) { return error.sqlstate.starts_with(name); };
  return (of_class("42") && !error.is("42501")) || of_class("21") || of_class("22") || of_class("23") ||
         error.is("3F000") || error.is("08P01") || error.is(table_left_behind);
}

/// Every co_spawn has a handler that says how it ended.
auto logged(const char* what) {
  return [what](std::exception_ptr failure) {
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      log_event(LogLevel::error, "task_failed", {{"task", what}, {"why", error.what()}});
    }
  };
}

}  // namespace

std::shared_ptr<const View> Engine::make_view() const {
  auto view = std::make_shared<View>();
  view->primary = primary_;
  view->epoch = epoch_;
  view->held = held_;
  const auto state = loop_ ? loop_->report().state : MirrorState::off;
  view->mirroring = loop_ != nullptr;
  // While loading, the mirror cannot have everything: only mirroring promises both.
  const bool whole = phase_ == Phase::mirroring || phase_ == Phase::flipping;
  const bool promises = whole && loop_ && state == MirrorState::in_sync;
  view->wait_for_mirror = promises && settings_.acknowledge == Acknowledge::both;
  view->acknowledge_wait = settings_.acknowledge_wait;
  view->mirror_in_sync = promises;
  view->reads = reads_;
  view->catalog = catalog_;
  view->catalog_is_read = loop_ && loop_->reads_catalog();
  view->catalog_as_of = catalog_as_of_;
  view->names = names_;
  return view;
}

asio::awaitable<void> Engine::publish() { co_await sessions_.publish(make_view()); }

void Engine::mirror_changed() {
  asio::co_spawn(executor_, publish(), logged("publish"));
}

void Engine::settings_changed() {
  if (loop_) loop_->change(settings_.acknowledge == Acknowledge::both, settings_.acknowledge_wait);
  if (primary_) mirror_changed();
}

std::shared_ptr<MirrorLoop> Engine::make_loop(Side primary, Epoch epoch, MirrorState initially) {
  // From a load's first batch on, and from that of whoever goes on with it: a batch that only knows rows would take what was
  // noted for tables and partitions that are new, and leave nothing for the one that brings them.
  const bool loads = phase_ == Phase::loading;
  LoopSettings loop{primary, epoch, settings_.acknowledge == Acknowledge::both,
                    settings_.acknowledge_wait, initially,
                    loads || phase_ == Phase::mirroring || phase_ == Phase::flipping, loads, settings_.exclude};
  return std::make_shared<MirrorLoop>(
      executor_, databases_, loop, tickets_, bell_, [this] { sessions_.release_tickets(); },
      [this] { mirror_changed(); });
}

asio::awaitable<void> Engine::start_mirroring(MirrorState initially) {
  co_await start_mirroring(make_loop(primary(), epoch_, initially));
}

asio::awaitable<void> Engine::start_mirroring(std::shared_ptr<MirrorLoop> loop) {
  if (stopping_) co_return;  // A verb that ends after us: nobody would stop this loop.
  loop_ = std::move(loop);
  // It was made before a flip; a reload may have come between.
  loop_->change(settings_.acknowledge == Acknowledge::both, settings_.acknowledge_wait);
  asio::co_spawn(executor_, run_loop(loop_), logged("mirror loop"));
  // Which tables may be read on the mirror is another question now; until it is answered, none.
  catalog_ = std::make_shared<const Catalog>();
  catalog_read_at_ = {};
  co_return;
}

void Engine::spawn_recovery() {
  asio::co_spawn(executor_, recover_in_background(), logged("recovery"));
}

// After a flip: the loop of the old direction ends by itself, nobody waits for it.
void Engine::retire_loop() {
  if (!loop_) return;
  const auto report = loop_->report();
  mirror_keys_before_ += report.keys;
  mirror_batches_before_ += report.batches;
  mirror_errors_before_ += report.errors;
  loop_->stop();
  std::shared_ptr<MirrorLoop> ending{std::move(loop_)};
  const auto wait = [](std::shared_ptr<MirrorLoop> loop) -> asio::awaitable<void> {
    while (!loop->stopped()) co_await pause_for(20ms);
  };
  asio::co_spawn(executor_, wait(std::move(ending)), logged("mirror loop's end"));
}

// The watch uses the loop and the tables that a verb is about to take away: from here on, until
// flipping_ is false again, it looks at nothing.
asio::awaitable<void> Engine::hush_watch() {
  flipping_ = true;
  const auto deadline = Clock::now() + 60s;
  while (watching_ && Clock::now() < deadline) co_await pause_for(2ms);
}

asio::awaitable<void> Engine::stop_mirroring() {
  // A verb and the engine's own end may both wait here: whoever is first takes the loop away.
  const auto loop = loop_;
  if (!loop) co_return;
  loop->stop();
  const auto deadline = Clock::now() + 30s;
  while (!loop->stopped() && Clock::now() < deadline) co_await pause_for(2ms);
  if (loop_ != loop) co_return;
  if (!loop->stopped()) {
    log_event(LogLevel::error, "mirror_loop_did_not_stop");
    const auto kept = new std::shared_ptr<MirrorLoop>{std::move(loop_)};
    static_cast<void>(kept);  // Its coroutine still refers to it: it is never destroyed.
    co_return;
  }
  const auto report = loop->report();
  mirror_keys_before_ += report.keys;
  mirror_batches_before_ += report.batches;
  mirror_errors_before_ += report.errors;
  loop_.reset();
}

asio::awaitable<void> Engine::set_phase(Phase phase) {
  // The mirror first: a source that says loading has a target that knows it too.
  for (const Side side : {mirror(), primary()}) {
    auto connection = co_await open(side, "phase");
    auto parameters = pg::params(to_string(phase));
    co_await connection->run("UPDATE pgjanus.state SET phase = $1", std::move(parameters));
  }
  phase_ = phase;
}

// A load that a restart interrupted goes on by itself with what is missing.
void Engine::resume_load() {
  const auto ended = [](std::exception_ptr failure, const Outcome& outcome) {
    logged("load")(failure);
    if (!failure) log_event(LogLevel::info, "load_ended", {{"outcome", outcome.message}});
  };
  asio::co_spawn(executor_, load(Caller{"restart", {}, {}}, {}), ended);
}

// Runs to its end in the engine, also when nobody waits for it any more.
asio::awaitable<Outcome> Engine::load_now(std::vector<int> ids, Caller caller) {
  const auto report = [this, progress = caller.progress, last = Clock::time_point{}](
                          const LoadProgress& load) mutable {
    if (!progress || Clock::now() - last < 500ms) return;
    last = Clock::now();
    progress(load_progress_line(load));
  };
  const auto loop = loop_;
  if (!loop) throw pg::Error{"mirroring has ended meanwhile"};
  Loader::Guide guide;
  guide.limits = [this] {
    return load::Limits{settings_.load_workers, settings_.load_rows_per_second,
                        settings_.load_bytes_per_second, settings_.load_yield};
  };
  guide.app = [this] { return sessions_.totals().query_seconds[primary()]; };
  load_error_.reset();
  co_await distrust();
  Outcome outcome;
  std::string met;
  for (int run = 1, same = 0;; ++run) {
    // Once replaying follows, what it has not captured yet is a moment old; and one table is loaded beside it.
    guide.strict = run == 1 && ids.empty();
    loader_ = std::make_unique<Loader>(databases_, *loop, primary(), guide, report);
    if (stop_asked_) loader_->stop();
    std::optional<pg::Error> failure;
    try {
      co_await loader_->run(ids);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (failure) same = std::exchange(met, failure->message) == failure->message ? same + 1 : 1;
    if (failure && same < load_runs_max && run < load_runs_all && other_shape(*failure)) {
      // The app's DDL came between what was read on one side and what the other side has: where that
      // has been replayed, the load goes on. From here on it is replayed at its place.
      log_event(LogLevel::warn, "load_begun_again", {{"error", failure->message}});
      try {
        if (!loop->replays_ddl()) loop->replay_ddl(true);
        co_await loop->catch_up(60'000ms);
        continue;
      } catch (const pg::Error& error) {
        failure = error;
      }
    }
    if (failure) {
      outcome = {Ended::error, failure->what(),
                 std::string{stop_asked_ ? "" : "put the cause right and "} +
                     "run load again: it goes on with what is missing", {}};
      load_error_ = failure->what();
    } else {
      outcome.message = "loaded and in sync: " + std::to_string(loader_->progress().rows_done) +
                        " rows";
    }
    break;
  }
  if (outcome.ended == Ended::done) {
    for (const auto& warning : loader_->progress().warnings) {
      log_event(LogLevel::warn, "load_left_something", {{"what", warning}});
    }
    // Triggers that the schema brought with it must not act on the mirror.
    auto connection = co_await open(mirror(), "roles");
    co_await become_mirror(*connection, loop->replica_role(), 60'000ms);
    co_await loop->catch_up(600'000ms);
    co_await set_phase(Phase::mirroring);
    // What the schema became since `prepare` is on the mirror before anybody is told that the load is over.
    loop->replay_ddl();
    std::string behind;
    try {
      co_await loop->catch_up(600'000ms);
    } catch (const pg::Error& error) {
      behind = error.message;
    }
    if (!behind.empty()) {
      outcome = {Ended::error, "loaded, but what the schema became since prepare does not arrive: " + behind,
                 "status says what stands in the way: RETRY, or SKIP", {}};
    }
    co_await refresh_tables(*connection);
  }
  co_await publish();
  co_return outcome;
}

}  // namespace pgjanus
