// The verbs that end a migration: finish, its unfencing, abort.

#include <nlohmann/json.hpp>

#include "proxy/engine/engine.hpp"
#include "proxy/engine/remove.hpp"
#include "proxy/engine/verb_parts.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

Outcome in_doubt() {
  return {Ended::error, "the outcome of a flip is being found out",
          "wait until status shows the primary", {}};
}

}  // namespace

Engine::Awaited Engine::finish(Caller caller, std::string confirm, bool unfence) {
  if (confirm != settings_.database) {
    co_return Outcome{Ended::error, "the name given is not this database's",
                      "confirm with " + settings_.database, {}};
  }
  std::function<Awaited()> work = [this, caller, unfence] { return finish_now(caller, unfence); };
  const auto* name = unfence ? "unfence" : "finish";
  auto outcome = co_await exclusively(name, caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::finish_now(Caller caller, bool unfence_old) {
  if (unfence_old) {
    auto waiting = tell_waiting(caller.progress);
    auto outcome = co_await unfence(databases_, member_name_, caller.progress,
                                    std::move(waiting));
    co_return outcome;
  }
  if (phase_ == Phase::finished) co_return Outcome{Ended::done, "finished already", {}, {}};
  if (phase_ != Phase::mirroring || !loop_) co_return not_ready("nothing is mirrored", "");
  if (loop_->report().state != MirrorState::in_sync) {
    co_return not_ready("the mirror is not in sync", "wait, or see status");
  }
  auto connection = co_await open(primary(), "finish");
  auto waiting = co_await connection->run("SELECT count(*) FROM pgjanus.kept WHERE restored");
  if (waiting.integer(0, 0) > 0) co_await watch_validation();
  const auto loop = loop_;
  co_await loop->catch_up(60s);
  if (flipping_) co_return in_doubt();
  co_await hush_watch();
  co_await stop_mirroring();
  co_await publish();
  std::exception_ptr failure;
  Outcome outcome;
  try {
    auto waiting_for = tell_waiting(caller.progress);
    outcome = co_await finish_migration(databases_, primary(), caller.progress,
                                        std::move(waiting_for));
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure || outcome.ended != Ended::done) {
    co_await start_mirroring(MirrorState::catching_up);
  } else {
    phase_ = Phase::finished;
    journal_bytes_.reset();
    backlog_keys_.reset();
  }
  flipping_ = false;
  co_await publish();
  if (failure) std::rethrow_exception(failure);
  co_return outcome;
}

Engine::Awaited Engine::abort(Caller caller, std::string confirm) {
  if (confirm != settings_.database) {
    co_return Outcome{Ended::error, "the name given is not this database's",
                      "confirm with " + settings_.database, {}};
  }
  std::function<Awaited()> work = [this, caller] { return abort_now(caller); };
  auto outcome = co_await exclusively("abort", caller, std::move(work));
  co_return outcome;
}

Engine::Awaited Engine::abort_now(Caller caller) {
  if (primary_ == Side::target || phase_ == Phase::finished) {
    co_return Outcome{Ended::refused, "the target was primary: abort is only for before a cutover",
                      "use rollback, then finish", {}};
  }
  if (flipping_) co_return in_doubt();
  const bool mirrored = loop_ != nullptr;
  co_await hush_watch();
  co_await stop_mirroring();
  auto waiting = tell_waiting(caller.progress);
  Outcome outcome;
  std::exception_ptr failure;
  try {
    outcome = co_await abort_migration(databases_, caller.progress, std::move(waiting));
  } catch (...) {
    failure = std::current_exception();
  }
  flipping_ = false;
  if (!failure && outcome.ended == Ended::done) {
    phase_ = Phase::idle;
    epoch_ = Epoch{};
    tables_.clear();
    verified_since_change_ = false;
  } else if (mirrored) {
    co_await start_mirroring(MirrorState::catching_up);
  }
  co_await publish();
  if (failure) std::rethrow_exception(failure);
  co_return outcome;
}

}  // namespace pgjanus
