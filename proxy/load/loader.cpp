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

Loader::Loader(const Databases& databases, MirrorControl& mirror, Side primary, Guide guide,
               OnProgress on_progress)
    : impl_{std::make_shared<Impl>(databases, mirror, primary, std::move(guide),
                                   std::move(on_progress))} {}
Loader::~Loader() { stop(); }

asio::awaitable<void> Loader::run(std::vector<int> table_ids) {
  const auto impl = impl_;  // Outlives this object while workers unwind.
  co_await impl->run(std::move(table_ids));
}

void Loader::stop() {
  impl_->stopping = true;
  for (const auto* pair : *impl_->pairs) {
    if (pair->primary) pair->primary->cancel();
    if (pair->mirror) pair->mirror->cancel();
  }
  impl_->wake();
}

LoadProgress Loader::progress() const {
  impl_->sum_up();
  return impl_->state;
}

void Loader::Impl::require_running() const {
  if (!stopping) return;
  pg::Error error{"the load was stopped; what is done stays done"};
  error.message = error.what();
  throw error;
}

asio::awaitable<void> Loader::Impl::run(std::vector<int> ids) {
  started = Clock::now();
  look_around();
  // What is copied and built by the texts and names of now has to meet a schema of now.
  if (guide.strict) co_await follow_schema();
  co_await retrying("reading what is to be loaded", [&](Pair& pair) { return choose(pair, ids); });
  co_await retrying("taking tables out of the mirror's batches",
                    [&](Pair& pair) { return begin_anew(pair); });
  jobs.push_back({JobKind::entries});  // pg_dump works while rows are copied.
  make_packs();
  for (auto& table : tables) advance(table);
  report();

  co_await work_off();
  require_running();
  for (const auto& table : tables) {
    if (table.stage != Stage::failed) continue;
    pg::Error error{"loading " + table.progress.name + " failed: " + table.progress.error};
    error.message = error.what();
    error.sqlstate = table.sqlstate;
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
  const Listed listed{pairs, pair};
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
    if (failure->is("57014")) ++ways_of_step[state.step];
    if (!passes(*failure) || !retry.again()) throw *failure;
    state.waiting = what + ": " + describe(*failure) + retry.text();
    log_event(LogLevel::warn, "load_retried", {{"step", what}, {"error", describe(*failure)}});
    reported = {};
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

void Loader::Impl::wake() {
  for (auto* timer : sleepers) timer->cancel();
}

// Runs one job until it succeeds or fails for good; failures end in the table, never in the worker.
asio::awaitable<void> Loader::Impl::attempt(Job& job, Pair& pair) {
  Retry retry;
  pair.ways = 0;
  for (;;) {
    if (stopping || (job.table != nullptr && job.table->stage == Stage::failed)) co_return;
    retry.begin();
    std::optional<pg::Error> failure;
    std::string surprise;
    bool changed = false, connected = false;
    // Each pack in sessions of its own: the guard's plans, one set a table, and its functions' names stay in lists that
    // the server process walks at every later invalidation: with 2,000 tables a seventh of the load's processor time.
    if (job.kind == JobKind::pack) pair.close();
    pair.asked = false;
    try {
      co_await connect(pair);
      connected = true;
      co_await stand(*pair.mirror, pair.ways);
      co_await perform(job, pair);
      state.waiting.clear();
      if (pair.stands()) pair.close();  // The next job gives way again.
      co_return;
    } catch (const FileChanged&) {
      changed = true;
    } catch (const pg::Error& error) {
      failure = error;
    } catch (const std::exception& error) {
      surprise = error.what();
    }
    if (failure && job.table != nullptr && failure->is("23514") && pair.mirror &&
        pair.mirror->usable()) {
      const bool dropped = co_await keep_check(pair, *failure);
      if (dropped) continue;
    }
    pair.close();
    if (stopping) co_return;
    const bool way = gave_way(pair, failure);
    if (way && job.kind == JobKind::chunk && Clock::now() - retry.begun > split_after) co_await split_chunk(pair, *job.table, job.index);
    // Chunks are stored by name: of a table that was renamed since they begin anew, also where another one has its name.
    if (failure && (failure->is("42P01") || failure->is("42703") || failure->is("42804")) && job.kind == JobKind::chunk) {
      changed = job.table->restarts < restarts_max;
    }
    if (changed && job.table != nullptr) {
      job.table->restart = true;
      drop_jobs(*job.table);
      co_return;
    }
    const auto why = failure ? describe(*failure) : surprise;
    const auto sqlstate = failure ? failure->sqlstate : std::string{};
    const bool again = failure && passes(*failure) && retry.again();
    // Of a pack whichever table it was goes on by itself; a connection that failed was none of them.
    if (!again || (job.kind == JobKind::pack && connected)) {
      co_await give_up(job, pair, why, sqlstate);
      co_return;
    }
    const auto what = job.table != nullptr ? job.table->progress.name : state.step;
    state.waiting = what + ": " + why + retry.text();
    log_event(LogLevel::warn, "load_retried", {{"table", what}, {"error", why}});
    reported = {};
    report();
    co_await pause(retry.wait);
  }
}

// A job that failed for good. A table's own job fails the table; of several tables each goes on by
// itself, from where the databases say that it stands.
asio::awaitable<void> Loader::Impl::give_up(Job& job, Pair& pair, std::string why, std::string sqlstate) {
  if (job.table != nullptr) {
    job.table->sqlstate = sqlstate;
    fail_table(*job.table, why);
    co_await store_error(pair, *job.table, why, false);
    co_return;
  }
  if (job.kind == JobKind::entries) co_return;  // Whoever needs them asks again.
  if (job.kind == JobKind::attach && job.pack.empty()) take_ready(job);
  std::vector<TableLoad*> open;
  std::vector<int> ids;
  for (auto* table : job.pack) {
    if (table->stage == Stage::done || table->stage == Stage::failed) continue;
    open.push_back(table);
    ids.push_back(table->info.id);
  }
  log_event(LogLevel::info, "load_tables_one_by_one", {{"tables", open.size()}, {"error", why}});
  if (job.kind == JobKind::attach && open.size() == 1) {
    open.front()->sqlstate = sqlstate;
    fail_table(*open.front(), why);
    co_await store_error(pair, *open.front(), why, true);
    co_return;
  }
  Retry retry;
  for (;;) {
    if (stopping) co_return;
    retry.begin();
    std::optional<pg::Error> failure;
    try {
      co_await connect(pair);
      if (job.kind == JobKind::attach) {
        co_await control.detach(ids, TableState::indexing, pg::Duration{60'000});
      }
      for (auto* table : open) co_await read_again(pair, *table);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) break;
    pair.close();
    if (!passes(*failure) || !retry.again()) {
      for (auto* table : open) {
        table->sqlstate = failure->sqlstate;
        fail_table(*table, describe(*failure));
      }
      co_return;
    }
    state.waiting = describe(*failure) + retry.text();
    co_await pause(retry.wait);
  }
  if (job.kind != JobKind::attach) co_return;
  for (auto* table : open) {
    Job alone{JobKind::attach};
    alone.pack.push_back(table);
    ++table->running;
    table->stage = Stage::attach;
    jobs.push_back(std::move(alone));
  }
}

asio::awaitable<void> Loader::Impl::perform(Job& job, Pair& pair) {
  switch (job.kind) {
    case JobKind::entries: co_await need_entries(pair); break;
    case JobKind::pack: co_await load_pack(pair, job.pack); break;
    case JobKind::plan: co_await plan(pair, *job.table); break;
    case JobKind::chunk: co_await copy_chunk(pair, *job.table, job.index); break;
    case JobKind::settle: co_await settle(pair, *job.table); break;
    case JobKind::build: co_await build(pair, *job.table, job.index); break;
    case JobKind::finish: co_await finish(pair, *job.table); break;
    case JobKind::attach: co_await attach(job); break;
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
