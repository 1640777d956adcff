// The statements that bring the mirror to another catalog, tried until no more of them can be run (proxy/ddl/README.md).

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/ddl/order.hpp"
#include "proxy/engine/side_by_side.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

template <std::size_t size>
bool one_of(const std::array<std::string_view, size>& states, const pg::Error& error) {
  return std::find(states.begin(), states.end(), error.sqlstate) != states.end();
}

/// Whether the mirror is there already: somebody made it by hand, or another statement brought it along.
bool done_already(const ddl::Step& step, const pg::Error& error) {
  constexpr std::array<std::string_view, 6> exists{"42P07", "42710", "42701", "42P06", "42723", "42712"};
  constexpr std::array<std::string_view, 5> absent{"42P01", "42704", "42703", "3F000", "42883"};
  constexpr std::array<std::string_view, 2> renamed{"42P01", "3F000"};
  switch (step.kind) {
    // Two states that also mean other things.
    case ddl::Step::Kind::create:
      return one_of(exists, error) || (error.is("42P16") && error.message.starts_with("multiple primary keys")) ||
             (error.is("42809") && error.message.ends_with("is already a partition"));
    case ddl::Step::Kind::drop:
      // What was refused once said the old names, before its table or schema got others.
      if (!step.why.empty() && one_of(renamed, error)) return false;
      return one_of(absent, error) || (error.is("42P16") && error.message.starts_with("cannot drop inherited constraint"));
    case ddl::Step::Kind::rename:
    case ddl::Step::Kind::alter:
    case ddl::Step::Kind::fill:
    case ddl::Step::Kind::empty: return false;
  }
  return false;
}

/// The first that was refused, with what the server said.
pg::Error refused(const ddl::Step& step, const pg::Error& error) {
  auto why = step.label + ": " + error.message;
  if (!error.detail.empty()) why += " (" + error.detail + ")";
  auto refusal = with_state("PGJ05", why + std::string{ddl_statement_mark} + step.sql);
  if (error.sqlstate.starts_with("23")) {  // Rows of this relation do not fit.
    refusal.schema = error.schema;
    refusal.table = error.table;
  }
  return refusal;
}

// Below the applier's lock_timeout.
constexpr auto way_patience = 300ms;
// Of two logins that take turns (pg/connection.cpp) the load may have begun as the other one; `usename` is who logged in.
constexpr const char* cancel_load =
    "SELECT count(*) FILTER (WHERE pg_cancel_backend(a.pid)) FROM pg_stat_activity a "
    "WHERE a.pid = ANY (pg_blocking_pids($1::int)) AND a.application_name = 'pgjanus load' AND pg_has_role(a.usesysid, 'USAGE')";

}  // namespace

bool MirrorLoop::somebody_is_in_the_way(const pg::Error& error) noexcept {
  constexpr std::array<std::string_view, 4> states{"55P03", "40P01", "57014", "40001"};
  return one_of(states, error);
}

// Enum values cannot be used in the transaction that adds them, and do no harm when it comes to nothing.
asio::awaitable<void> MirrorLoop::run_apart() {
  for (const auto& step : ddl_.changes.apart) {
    std::optional<pg::Error> failure;
    try {
      co_await applier_->run(step.sql);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) continue;
    if (failure->lost || somebody_is_in_the_way(*failure)) throw *failure;
    if (!ddl_.skip) throw refused(step, *failure);
  }
}

/// What cannot be dropped since something depends on it gives up its name, and is dropped by another. False: it stays as it is; so
/// does what the operator may leave out for good.
asio::awaitable<bool> MirrorLoop::goes_aside(ddl::Step& step, const pg::Error& refusal) {
  if (step.aside.set.empty() || !refusal.is("2BP01") || ddl_.skip) co_return false;
  std::optional<pg::Error> failure;
  try {
    co_await applier_->run(step.aside.set + "; RELEASE SAVEPOINT pgjanus_step; SAVEPOINT pgjanus_step");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure) {
    if (failure->lost || somebody_is_in_the_way(*failure)) throw *failure;
    co_await applier_->run("ROLLBACK TO SAVEPOINT pgjanus_step");
    co_return false;
  }
  // Should it be refused to the end, its own statement tells people more.
  const bool quotable = step.sql.find("/*") == std::string::npos && step.sql.find("*/") == std::string::npos;
  const auto in_place_of = quotable ? "/* " + step.sql + " */ " : std::string{};
  step.sql = in_place_of + step.aside.drop;
  step.vacates.clear();
  if (!step.aside.refuses_rows) step.trees.clear();
  step.aside = {};
  step.later.clear();
  step.went_aside = true;
  co_return true;
}

/// Runs what can be run, again and again while that leads further: whatever depends on something else
/// comes after it, without our knowing why. Returns what is left.
///
/// A savepoint stands before each. It is set behind the one before it, not in front of it: a syntax error would keep the
/// whole text from running, the savepoint with it.
///
/// `last`: what exists already counts as created once nothing else leads further. Not before: what is in
/// the way may be of the same name and about to be dropped or renamed.
asio::awaitable<std::vector<ddl::Step>> MirrorLoop::try_steps(std::vector<ddl::Step> steps, bool last) {
  const auto limit = ddl_.behind_bar ? ddl_.drain_limit : ddl_step_limit;
  bool further = true, take_what_is_there = false;
  co_await applier_->run("SAVEPOINT pgjanus_step");
  while (!steps.empty() && (further || (last && !take_what_is_there))) {
    take_what_is_there = !further;
    further = false;
    ddl_.refusal.reset();
    std::vector<ddl::Step> left;
    std::vector<const ddl::Step*> open;
    for (const auto& step : steps) open.push_back(&step);
    for (auto& step : steps) {
      if (ddl::waits_for_another(step, open)) continue;
      std::optional<pg::Error> failure;
      try {
        co_await applier_->run(step.sql + "; RELEASE SAVEPOINT pgjanus_step; SAVEPOINT pgjanus_step", limit);
      } catch (const pg::Error& error) {
        failure = error;
      }
      if (!failure) {
        log_event(LogLevel::info, "ddl_replayed", {{"what", step.label}});
        further = true;
        std::erase(open, &step);
        continue;
      }
      if (failure->lost || somebody_is_in_the_way(*failure)) throw *failure;
      co_await applier_->run("ROLLBACK TO SAVEPOINT pgjanus_step");
      const bool aside = co_await goes_aside(step, *failure);
      if (aside) {
        further = true;
        continue;
      }
      const bool waits = step.kind == ddl::Step::Kind::create && !take_what_is_there;
      if (!waits && done_already(step, *failure)) {
        log_event(LogLevel::warn, "ddl_was_done", {{"what", step.label}, {"why", failure->message}});
        further = true;
        std::erase(open, &step);
        continue;
      }
      const bool nobody_waits = step.kind == ddl::Step::Kind::fill || (step.went_aside && !last);
      if (!ddl_.refusal && !nobody_waits) ddl_.refusal = refused(step, *failure);
      step.why = failure->message;
      step.aside = {};  // By the names of before, which something else may have from now on.
      if (!step.later.empty()) {
        step.sql = std::exchange(step.later, {});
        step.needs = std::move(step.later_needs);
      }
    }
    for (const auto* step : open) left.push_back(*step);
    steps = std::move(left);
  }
  co_await applier_->run("RELEASE SAVEPOINT pgjanus_step");
  if (last && !steps.empty() && !ddl_.refusal) {  // Each waits for another.
    ddl_.refusal = with_state("PGJ05", steps.front().label + ": its name is another's" + std::string{ddl_statement_mark} + steps.front().sql);
  }
  co_return steps;
}

/// Between the steps and who clears their way, on one thread.
struct MirrorLoop::Way {
  explicit Way(const asio::any_io_executor& executor) : timer{executor} {}
  asio::steady_timer timer;
  bool through = false;
};

asio::awaitable<std::vector<ddl::Step>> MirrorLoop::run_steps(std::vector<ddl::Step> steps, bool last) {
  if (steps.empty()) co_return steps;
  // While a load runs, also when all tables are back: its last step validates keys and fills views.
  if ((left_out_.empty() && !ddl_.beside_load) || ddl_.behind_bar) {
    auto left = co_await try_steps(std::move(steps), last);
    co_return left;
  }
  Way way{executor_};
  auto act = run_cleared(steps, last, way);
  auto clear = clear_way(way);
  std::function<void()> nothing;
  co_await side_by_side(std::move(act), std::move(clear), std::move(nothing));
  co_return steps;
}

asio::awaitable<void> MirrorLoop::run_cleared(std::vector<ddl::Step>& steps, bool last, Way& way) {
  std::exception_ptr failure;
  try {
    steps = co_await try_steps(std::move(steps), last);
  } catch (...) {
    failure = std::current_exception();
  }
  way.through = true;
  way.timer.cancel();
  if (failure) std::rethrow_exception(failure);
}

// A load holds locks of its tables on the mirror for as long as a chunk, a whole table or an index takes, and several workers between them
// always one. It does that part again; everybody else's rows would wait for it.
asio::awaitable<void> MirrorLoop::clear_way(Way& way) {
  pg::ConnectionPtr connection;
  while (!way.through) {
    way.timer.expires_after(way_patience);
    co_await way.timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (way.through) co_return;
    std::string trouble;
    try {
      if (!connection || !connection->usable()) {
        connection = co_await databases_.open(mirror_side(), "ddl", 2'000ms);
        co_await connection->run("SET role = 'none'");  // What is cancelled is its login's, not its role's.
      }
      auto pid = pg::params(std::to_string(applier_->process_id()));
      const auto gone = co_await connection->run(cancel_load, std::move(pid), 2'000ms);
      if (gone.integer(0, 0) > 0) log_event(LogLevel::info, "load_gives_way", {{"side", to_string(mirror_side())}});
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (!trouble.empty()) log_event(LogLevel::warn, "load_does_not_give_way", {{"why", trouble}});
  }
}

}  // namespace pgjanus
