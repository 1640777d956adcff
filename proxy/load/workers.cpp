// The workers and the jobs that they take; limits and progress while they work.

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

// Workers end when no job is left; none of them throws. More are added when the limit is raised.
asio::awaitable<void> Loader::Impl::work_off() {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer finished{executor};
  unsigned begun = 0, alive = 0, looks = 0;
  pg::ConnectionPtr guard;
  std::exception_ptr broken;
  // The handlers below refer to this frame: not even a cancellation may end it before them.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  worker_list.clear();
  do {
    look_around();
    while (!stopping && begun < pace.limits().workers) {
      ++alive;
      asio::co_spawn(executor, work(begun++), [&](std::exception_ptr failure) {
        if (failure) broken = failure;
        if (failure) stopping = true;
        if (--alive == 0) finished.cancel();
        wake();
      });
    }
    report();
    finished.expires_after(guide_interval);
    co_await finished.async_wait(asio::as_tuple(asio::use_awaitable));
    if (alive > 0 && ++looks % looks_a_guard == 0) co_await look_for_waiters(guard);
  } while (alive > 0);
  worker_list.clear();
  if (broken) std::rethrow_exception(broken);
}

// The limits as they are now, the app's latency, and a sample for the rates.
void Loader::Impl::look_around() {
  auto limits = guide.limits ? guide.limits() : Limits{};
  limits.workers = std::max(1U, limits.workers);
  const bool slower = pace.share() < 1;
  pace.set(limits);
  if (guide.app) pace.observe(guide.app());
  const auto now = Clock::now();
  state.limit = pace.acting(now);
  if (!slower && pace.share() < 1) log_event(LogLevel::info, "load_yields", {{"limit", state.limit}});
  std::int64_t done = 0;
  for (const auto& table : tables) done += table.progress.bytes_done;
  samples.push_back({now, done, state.rows_read});
  while (samples.size() > 2 && now - samples.front().at > rate_window) samples.pop_front();
  const auto& first = samples.front();
  const std::chrono::duration<double> span = now - first.at;
  if (span.count() > 0.2) {
    state.rows_per_second = static_cast<double>(state.rows_read - first.rows_read) / span.count();
    state.bytes_per_second = std::max(0.0, static_cast<double>(done - first.bytes_done)) / span.count();
  }
}

// After each parcel: waits as the limits want it.
asio::awaitable<void> Loader::Impl::rest(Pair& pair, std::uint64_t rows, std::uint64_t bytes,
                                         Clock::duration took) {
  if (pair.worker != nullptr) {
    pair.worker->rows += rows;
    pair.worker->bytes += bytes;
  }
  if (pair.stands() && pair.waited_for == pair.primary->process_id()) co_return;  // The limits are the app's, and it waits for our lock.
  auto now = Clock::now();
  const auto until = now + pace.passed(rows, bytes, took, now);
  const auto limits = pace.limits();
  while (now < until && !stopping && !pair.asked && pace.limits() == limits) {
    co_await pause(std::chrono::ceil<std::chrono::milliseconds>(std::min(until - now, rest_max)));
    now = Clock::now();
  }
}

std::string Loader::Impl::describe_job(const Job& job) const {
  const auto name = job.table != nullptr ? job.table->progress.name
                                         : std::to_string(job.pack.size()) + " small tables";
  switch (job.kind) {
    case JobKind::entries: return "reading the schema";
    case JobKind::pack: return name;
    case JobKind::plan: return "planning " + name;
    case JobKind::chunk:
      return name + ", part " + std::to_string(job.index + 1) + " of " +
             std::to_string(job.table->chunks.size());
    case JobKind::settle: return "removing changed rows of " + name;
    case JobKind::build:
      return job.index < entries.size() ? entries[job.index].display() : "indexes of " + name;
    case JobKind::finish: return "statistics and capture of " + name;
    case JobKind::attach: return "handing over tables to the mirror loop";
  }
  return name;
}

asio::awaitable<void> Loader::Impl::pause(std::chrono::milliseconds time) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer{executor, time};
  sleepers.push_back(&timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  std::erase(sleepers, &timer);
}

// Called after every step; told a few times a second.
void Loader::Impl::report() {
  const auto now = Clock::now();
  if (!on_progress || now - reported < report_interval) return;
  reported = now;
  sum_up();
  on_progress(state);
}

void Loader::Impl::sum_up() {
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
  state.workers.assign(worker_list.begin(), worker_list.end());
}

// ---- Jobs ---------------------------------------------------------------------------------------

void Loader::Impl::add(JobKind kind, TableLoad& table, std::size_t index) {
  // What brings a table nearer to its end goes first; among chunks and plans, bigger tables do:
  // `tables` and thus the queue are in that order.
  const Job job{kind, &table, index, {}};
  if (kind == JobKind::chunk || kind == JobKind::plan) {
    jobs.push_back(job);
  } else {
    jobs.push_front(job);
  }
}

void Loader::Impl::drop_jobs(const TableLoad& table) {
  std::erase_if(jobs, [&](const Job& job) { return job.table == &table; });
}

// Small tables that are to be copied or have their indexes still to come, some for each worker.
void Loader::Impl::make_packs() {
  std::vector<TableLoad*> small;
  for (auto& table : tables) {
    const auto& info = table.info;
    if ((table.stage == Stage::plan || table.stage == Stage::build) && info.kind == 'r' &&
        !info.unlogged && !table.reload && table.pages() <= pack_table_pages_max) {
      small.push_back(&table);
    }
  }
  const auto workers = pace.limits().workers;
  const auto share = (small.size() + workers - 1) / workers;
  const auto most = std::min(pack_tables_max, share);
  Job job{JobKind::pack};
  std::int64_t pages = 0;
  const auto put = [&] {
    if (job.pack.size() > 1) {
      for (auto* table : job.pack) ++table->running;  // Till the pack is through, nobody else's.
      jobs.push_back(job);
    }
    job.pack.clear();
    pages = 0;
  };
  for (auto* table : small) {
    if (job.pack.size() >= most || pages + table->pages() > pack_pages_max) put();
    job.pack.push_back(table);
    pages += table->pages();
  }
  put();
}

// One job at a time takes all tables that are ready by then; small ones wait for each other.
void Loader::Impl::queue_attach() {
  if (attaching || ready.empty() || packs_running > 0) return;
  if (std::any_of(jobs.begin(), jobs.end(),
                  [](const Job& job) { return job.kind == JobKind::pack; })) {
    return;
  }
  attaching = true;
  jobs.push_front({JobKind::attach});
}

std::optional<Job> Loader::Impl::take() {
  if (jobs.empty() || stopping) return std::nullopt;
  auto job = std::move(jobs.front());
  jobs.pop_front();
  ++active;
  if (job.table != nullptr) ++job.table->running;
  if (job.kind == JobKind::pack) ++packs_running;
  return job;
}

asio::awaitable<void> Loader::Impl::work(unsigned number) {
  Pair pair;
  const Listed listed{pairs, pair};
  auto& progress = worker_list.emplace_back();
  progress.number = number + 1;
  pair.worker = &progress;
  log_event(LogLevel::debug, "load_worker_started", {{"worker", number}});
  while (!stopping) {
    // While fewer may work than were begun, the last ones sleep.
    auto job = number < pace.workers() ? take() : std::nullopt;
    if (!job) {
      if (active == 0 && jobs.empty()) break;
      pair.close();  // The servers' connections are few; the next job opens new ones.
      co_await pause(std::chrono::milliseconds{1000});
      continue;
    }
    progress.what = describe_job(*job);
    progress.rows = progress.bytes = 0;
    progress.since = Clock::now();
    co_await attempt(*job, pair);
    progress.what.clear();
    --active;
    if (job->table != nullptr) {
      --job->table->running;
      if (!stopping) advance(*job->table);
    }
    if (job->kind == JobKind::pack) --packs_running;
    for (auto* table : job->pack) {
      --table->running;
      if (!stopping) advance(*table);
    }
    if (job->kind == JobKind::attach) attaching = false;
    queue_attach();
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
    case Stage::attach: queue_attach(); break;
    case Stage::done:
    case Stage::failed: break;
  }
}

}  // namespace pgjanus
