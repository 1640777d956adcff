// The order of the load, its workers, and what becomes of failures.

#include "proxy/load/loader.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

// Failures that pass by themselves: locks, deadlocks, a server that starts, stops or is full.
bool passes(const pg::Error& error) {
  static constexpr std::string_view states[] = {"55P03", "40P01", "40001", "57P01", "57P02",
                                                "57P03", "57014", "53300", "PGJ01", "PGJ10"};
  return error.lost || std::any_of(std::begin(states), std::end(states),
                                   [&](std::string_view known) { return error.is(known); });
}

std::string describe(const pg::Error& error) {
  std::string text = error.what();
  if (!error.detail.empty()) text += "; " + error.detail;
  return text;
}

/// How long failures that follow each other have gone on. A try that ran for a minute before it
/// failed counts as the first again.
struct Retry {
  std::chrono::milliseconds wait{100};
  Clock::time_point begun{}, first{};
  bool failing = false;

  void begin() { begun = Clock::now(); }
  bool again() {
    const auto now = Clock::now();
    if (!failing || now - begun > std::chrono::minutes{1}) {
      failing = true;
      first = now;
      wait = std::chrono::milliseconds{100};
    }
    wait = std::min(wait * 2, std::chrono::milliseconds{5000});
    return now - first < patience;
  }
  [[nodiscard]] std::string text() const {
    const auto gone = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - first);
    return "; tried again for " + std::to_string(gone.count()) + " s";
  }
};

}  // namespace

Loader::Loader(const Databases& databases, MirrorControl& mirror, Side primary, unsigned workers,
               OnProgress on_progress)
    : impl_{std::make_shared<Impl>(databases, mirror, primary, workers, std::move(on_progress))} {}
Loader::~Loader() { stop(); }

asio::awaitable<void> Loader::run(std::vector<int> table_ids) {
  const auto impl = impl_;  // Outlives this object while workers unwind.
  co_await impl->run(std::move(table_ids));
}

void Loader::stop() {
  impl_->stopping = true;
  impl_->wake();
}

LoadProgress Loader::progress() const { return impl_->state; }

void Loader::Impl::require_running() const {
  if (!stopping) return;
  pg::Error error{"the load was stopped; what is done stays done"};
  error.message = error.what();
  throw error;
}

asio::awaitable<void> Loader::Impl::run(std::vector<int> ids) {
  started = Clock::now();
  co_await retrying("reading what is to be loaded", [&](Pair& pair) { return choose(pair, ids); });
  co_await retrying("taking tables out of the mirror's batches",
                    [&](Pair& pair) { return begin_anew(pair); });
  for (auto& table : tables) advance(table);
  report();

  // Workers end when no job is left; none of them throws.
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer finished{executor, asio::steady_timer::time_point::max()};
  unsigned alive = workers;
  std::exception_ptr broken;
  for (unsigned number = 0; number < workers; ++number) {
    asio::co_spawn(executor, work(number), [&](std::exception_ptr failure) {
      if (failure) broken = failure;
      if (failure) stopping = true;
      if (--alive == 0) finished.cancel();
      wake();
    });
  }
  // The handlers above refer to this frame: not even a cancellation may end it before them.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  while (alive > 0) co_await finished.async_wait(asio::as_tuple(asio::use_awaitable));
  if (broken) std::rethrow_exception(broken);
  require_running();
  for (const auto& table : tables) {
    if (table.stage != Stage::failed) continue;
    pg::Error error{"loading " + table.progress.name + " failed: " + table.progress.error};
    error.message = error.what();
    error.schema = table.info.schema;
    error.table = table.info.name;
    throw error;
  }
  co_await retrying("the mirror to catch up", [&](Pair& pair) { return wait_mirrored(pair); });
  co_await retrying("the rest of the schema", [&](Pair& pair) { return last(pair); });
  state.step = "done";
  report();
}

// Runs one act over connections of its own until it succeeds, as long as its failures may pass.
asio::awaitable<void> Loader::Impl::retrying(std::string what,
                                             std::function<asio::awaitable<void>(Pair&)> act) {
  Pair pair;
  state.step = what;
  Retry retry;
  for (;;) {
    require_running();
    retry.begin();
    std::optional<pg::Error> failure;
    try {
      co_await connect(pair);
      co_await act(pair);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) break;
    pair.close();
    if (!passes(*failure) || !retry.again()) throw *failure;
    state.waiting = what + ": " + describe(*failure) + retry.text();
    log_event(LogLevel::warn, "load_retried", {{"step", what}, {"error", describe(*failure)}});
    report();
    co_await pause(retry.wait);
  }
  state.waiting.clear();
}

asio::awaitable<void> Loader::Impl::connect(Pair& pair) {
  if (!pair.primary || !pair.primary->usable()) {
    pair.primary = co_await open(primary_side);
  }
  if (!pair.mirror || !pair.mirror->usable()) {
    pair.mirror = co_await open(other(primary_side));
  }
}

// Control connections give up on a peer that takes nothing for 10 s. Here a slow mirror rightly
// stops the primary's COPY for longer, and nobody waits for the locks that a loader holds.
asio::awaitable<pg::ConnectionPtr> Loader::Impl::open(Side side) {
  auto parameters = databases.parameters(side);
  parameters.values["tcp_user_timeout"] = "300000";
  auto connection =
      co_await pg::Connection::open(std::move(parameters), "load", pg::Duration{10'000});
  co_await connection->run("SET tcp_user_timeout = 300000");
  co_return connection;
}

asio::awaitable<void> Loader::Impl::pause(std::chrono::milliseconds time) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer{executor, time};
  sleepers.push_back(&timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  std::erase(sleepers, &timer);
}

void Loader::Impl::wake() {
  for (auto* timer : sleepers) timer->cancel();
}

void Loader::Impl::report() {
  state.tables.clear();
  state.rows_done = state.bytes_done = 0;
  state.bytes_total = 0;
  for (const auto& table : tables) {
    state.tables.push_back(table.progress);
    state.rows_done += table.progress.rows_done;
    state.bytes_done += table.progress.bytes_done;
    if (!table.progress.bytes_total || !state.bytes_total) {
      state.bytes_total.reset();
    } else {
      *state.bytes_total += *table.progress.bytes_total;
    }
  }
  const std::chrono::duration<double> gone = Clock::now() - started;
  if (gone.count() > 0) {
    state.rows_per_second = static_cast<double>(state.rows_read) / gone.count();
    state.bytes_per_second = static_cast<double>(state.bytes_read) / gone.count();
  }
  if (on_progress) on_progress(state);
}

// ---- Jobs ---------------------------------------------------------------------------------------

void Loader::Impl::add(JobKind kind, TableLoad& table, std::size_t index) {
  // What brings a table nearer to its end goes first; among chunks and plans, bigger tables do:
  // `tables` and thus the queue are in that order.
  const Job job{kind, &table, index};
  if (kind == JobKind::chunk || kind == JobKind::plan) {
    jobs.push_back(job);
  } else {
    jobs.push_front(job);
  }
}

void Loader::Impl::drop_jobs(const TableLoad& table) {
  std::erase_if(jobs, [&](const Job& job) { return job.table == &table; });
}

std::optional<Job> Loader::Impl::take() {
  if (jobs.empty() || stopping) return std::nullopt;
  const auto job = jobs.front();
  jobs.pop_front();
  ++active;
  ++job.table->running;
  return job;
}

asio::awaitable<void> Loader::Impl::work(unsigned number) {
  Pair pair;
  // A worker that comes later does not collide with the first one's connecting.
  log_event(LogLevel::debug, "load_worker_started", {{"worker", number}});
  while (!stopping) {
    const auto job = take();
    if (!job) {
      if (active == 0) break;
      pair.close();  // The servers' connections are few; the next job opens new ones.
      co_await pause(std::chrono::milliseconds{1000});
      continue;
    }
    co_await attempt(*job, pair);
    --active;
    --job->table->running;
    if (!stopping) advance(*job->table);
    wake();
    report();
  }
}

// What comes next for a table, when nothing of it is queued or running.
void Loader::Impl::advance(TableLoad& table) {
  if (table.running > 0 || table.stage == Stage::failed || table.stage == Stage::done) return;
  if (table.restart) {
    add(JobKind::plan, table);
    return;
  }
  switch (table.stage) {
    case Stage::plan: add(JobKind::plan, table); break;
    case Stage::copy: {
      const bool queued = std::any_of(jobs.begin(), jobs.end(),
                                      [&](const Job& job) { return job.table == &table; });
      if (queued) break;
      bool all = true;
      for (std::size_t i = 0; i < table.chunks.size(); ++i) {
        if (table.chunks[i].done) continue;
        all = false;
        add(JobKind::chunk, table, i);
      }
      if (all) add(JobKind::settle, table);
      break;
    }
    case Stage::settle: add(JobKind::settle, table); break;
    case Stage::build: {
      const bool queued = std::any_of(jobs.begin(), jobs.end(),
                                      [&](const Job& job) { return job.table == &table; });
      if (!queued) add(JobKind::build, table, no_entry);
      break;
    }
    case Stage::finish: add(JobKind::finish, table); break;
    case Stage::done:
    case Stage::failed: break;
  }
}

// Runs one job until it succeeds or fails for good; failures end in the table, never in the worker.
asio::awaitable<void> Loader::Impl::attempt(Job job, Pair& pair) {
  auto& table = *job.table;
  Retry retry;
  for (;;) {
    if (stopping || table.stage == Stage::failed) co_return;
    retry.begin();
    std::optional<pg::Error> failure;
    std::string surprise;
    bool changed = false;
    try {
      co_await connect(pair);
      co_await perform(job, pair);
      state.waiting.clear();
      co_return;
    } catch (const FileChanged&) {
      changed = true;
    } catch (const pg::Error& error) {
      failure = error;
    } catch (const std::exception& error) {
      surprise = error.what();
    }
    if (failure && failure->is("23514") && pair.mirror && pair.mirror->usable()) {
      const bool dropped = co_await keep_check(pair, *failure);
      if (dropped) continue;
    }
    pair.close();
    if (stopping) co_return;
    if (changed) {
      table.restart = true;
      drop_jobs(table);
      co_return;
    }
    if (!failure || !passes(*failure) || !retry.again()) {
      const auto why = failure ? describe(*failure) : surprise;
      fail_table(table, why);
      co_await store_error(pair, table, why, job.kind == JobKind::finish);
      co_return;
    }
    state.waiting = table.progress.name + ": " + describe(*failure) + retry.text();
    log_event(LogLevel::warn, "load_retried",
              {{"table", table.progress.name}, {"error", describe(*failure)}});
    report();
    co_await pause(retry.wait);
  }
}

asio::awaitable<void> Loader::Impl::perform(Job job, Pair& pair) {
  auto& table = *job.table;
  switch (job.kind) {
    case JobKind::plan: co_await plan(pair, table); break;
    case JobKind::chunk: co_await copy_chunk(pair, table, job.index); break;
    case JobKind::settle: co_await settle(pair, table); break;
    case JobKind::build: co_await build(pair, table, job.index); break;
    case JobKind::finish: co_await finish(pair, table); break;
  }
}

void Loader::Impl::fail_table(TableLoad& table, const std::string& why) {
  table.stage = Stage::failed;
  table.progress.state = TableState::error;
  table.progress.error = why;
  drop_jobs(table);
  if (state.error.empty()) state.error = table.progress.name + ": " + why;
  log_event(LogLevel::error, "load_failed", {{"table", table.progress.name}, {"error", why}});
}

}  // namespace pgjanus
