// What ends on the old primary before the decision: clients' transactions, other writers, and what the mirror lacks.

#include "proxy/capture/capture.hpp"
#include "proxy/flip/flip_run.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto again = 20ms;
}  // namespace

asio::awaitable<void> FlipRun::hold_or_throw() {
  say("holding new transactions");
  closed_at_ = Engine::Clock::now();
  deadline_ = closed_at_ + options_.timeout;
  held_ = true;
  engine_.held_ = Held::flip;
  co_await engine_.publish();
  auto open = co_await engine_.sessions_.quiesce(rest(), options_.terminate);
  if (open.empty()) co_return;
  for (const auto& session : open) {
    blockers_.push_back({"open transaction of client " + std::to_string(session.client),
                         std::string{to_string(from_)}, session.user, session.application_name,
                         session.reason, session.server_pid, session.seconds});
  }
  timed_out_ = true;
  throw Undone{"open transactions did not end in time"};
}

asio::awaitable<void> FlipRun::bar_or_throw() {
  const bool barred = co_await bar_writers(*bar_, *helper_, rest(), options_.terminate);
  if (barred) co_return;
  blockers_ = co_await blockers();
  timed_out_ = true;
  throw Undone{"transactions that wrote did not end in time"};
}

// On a mirror nobody misses capture that somebody took away: its first writes as the primary would not be noted.
asio::awaitable<void> FlipRun::bring_capture() {
  auto& there = *other_helper_;
  auto names = co_await capture::names_of_listed(there);
  const auto lost = co_await capture::lost(there, names);
  if (!lost.empty()) {
    auto tables = co_await stored_tables(there, lost);
    std::erase_if(tables, [](const TableInfo& table) { return table.oid == 0; });
    for (const auto& table : tables) log_event(LogLevel::warn, "capture_brought", {{"side", to_string(options_.to)}, {"table", table.display()}});
    for (const auto& table : tables) co_await there.run(capture::functions_sql(table));
    auto steps = co_await capture::capture_steps(there, tables);
    capture::OnWaiting nobody;
    co_await capture::run_steps(there, std::move(steps), 10'000ms, std::move(nobody));
  }
  co_await require_capture();
}

// Asked once more after DDL that came meanwhile, when clients wait: the footprint is the short way to the same answer.
asio::awaitable<void> FlipRun::require_capture() {
  auto& there = *other_helper_;
  auto footprint = co_await capture::footprint(there);
  if (footprint == capture_stands_) co_return;
  auto names = co_await capture::names_of_listed(there);
  const auto lost = co_await capture::lost(there, names);
  if (lost.empty()) {
    capture_stands_ = std::move(footprint);
    co_return;
  }
  const auto first = std::find_if(names.begin(), names.end(), [&](const TableInfo& table) { return table.id == lost.front(); });
  pg::Error error{"capture is missing on the " + std::string{to_string(options_.to)} + " (" + (first == names.end() ? "?" : first->display()) + ")"};
  error.message = error.what();
  throw error;
}

// What bypassed us is in it, too: later nothing would bring it over. Only capture cannot be put any more.
asio::awaitable<void> FlipRun::drain_once() {
  bool new_table = false;
  try {
    co_await loop_->drain(MirrorLoop::Bar::closed, rest());
  } catch (const pg::Error& error) {
    if (!error.is("PGJ04")) throw;
    new_table = true;
  }
  if (new_table) throw Undone{"the schema was changed past pgjanus a moment ago (a new table), which cannot be followed while nobody may write: run it again"};
}

asio::awaitable<void> FlipRun::drain() {
  co_await loop_->park(rest());
  parked_ = true;
  co_await drain_once();
  auto missing = loop_->not_mirrored();
  // A table that somebody has locked past us (VACUUM FULL, LOCK TABLE) comes when the lock is gone.
  while (!missing.empty() && !loop_->report().held_up.empty() && rest() > again) {
    co_await pause_for(again);
    co_await drain_once();
    missing = loop_->not_mirrored();
  }
  if (!missing.empty()) throw Undone{"not on the mirror: " + missing.front()};
  if (next_ && loop_->schema_changes() != schema_changes_) next_->forget_warmth();
  // Waits for transactions that drew a number, through us or not, and drops what sessions cached.
  co_await bar_->run("SET LOCAL lock_timeout = '" + std::to_string(rest().count()) + "ms'");
  co_await bar_->run("SELECT pgjanus.stop_sequences()");
  co_await push_sequences(*bar_, *other_helper_);
  // DDL just before may have made another relation of a renamed one's name: no first statement may miss that.
  if (engine_.names_) co_await engine_.read_names(*other_helper_);
}

}  // namespace pgjanus
