#include "proxy/session/workers.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <numeric>

#include "proxy/log.hpp"

namespace pgjanus {

namespace {

// Longer than the cancel of a running statement and a session's farewell together mostly take.
constexpr auto last_words_limit = std::chrono::seconds{10};

}  // namespace

Workers::Workers(const Settings& settings, Tickets& tickets)
    : listen_{settings.listen}, shared_{settings, tickets} {
  // OpenSSL writes with write(): a peer that left must be an error, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  const auto threads = settings.threads > 0 ? settings.threads
                                            : std::max(1U, std::thread::hardware_concurrency());
  for (unsigned index = 0; index < threads; ++index) {
    workers_.push_back(std::make_unique<Worker>(shared_, index));
    shared_.workers.push_back(workers_.back().get());
  }
  // Set late by the engine; sessions read it through us.
  shared_.on_unacknowledged = [this] {
    if (on_unacknowledged) on_unacknowledged();
  };
  shared_.schema = &schema;
  shared_.on_schema_change = [this] {
    if (on_schema_change) on_schema_change();
  };
}

Workers::~Workers() { stop(); }

void Workers::stop(Haste haste) {
  if (!std::exchange(started_, false)) return;
  asio::post(workers_.front()->io, [this] { listener_.close(); });
  // All at once, then each in turn: one that is slow to end must not use up another's time.
  for (const auto& worker : workers_) worker->begin_stop(haste);
  for (const auto& worker : workers_) worker->join();
}

void Workers::start(std::vector<int> inherited, std::size_t clients_max) {
  shared_.clients_max = clients_max;
  for (const int socket : inherited) listener_.adopt(socket);
  if (inherited.empty()) listener_.open(listen_);
  shared_.inherited = listener_.inherited();
  listener_.start();
  for (const auto& worker : workers_) worker->start();
  started_ = true;
  log_event(LogLevel::info, "listening",
            {{"address", address()},
             {"inherited", listener_.inherited() ? "yes" : "no"},
             {"threads", workers_.size()}});
}

/// Asks every worker on its own thread, at once, and waits for all answers here.
template <class T>
asio::awaitable<std::vector<T>> Workers::gather(const Ask<T>& ask) {
  struct Answers {
    explicit Answers(const asio::any_io_executor& executor) : all{executor} {}
    std::vector<T> values;
    std::size_t left = 0;
    Signal all;
  };
  const auto executor = co_await asio::this_coro::executor;
  const auto answers = std::make_shared<Answers>(executor);
  answers->left = workers_.size();
  for (const auto& worker : workers_) {
    asio::co_spawn(worker->io, ask(*worker),
                   [answers, executor](const std::exception_ptr& failure, T value) {
                     asio::post(executor, [answers, failure, value = std::move(value)]() mutable {
                       if (failure) log_event(LogLevel::error, "worker_request_failed");
                       answers->values.push_back(std::move(value));
                       if (--answers->left == 0) answers->all.notify();
                     });
                   });
  }
  while (answers->left > 0) co_await answers->all.wait();
  co_return std::move(answers->values);
}

namespace {

std::vector<SessionReport> joined(std::vector<std::vector<SessionReport>> parts) {
  std::vector<SessionReport> all;
  for (auto& part : parts)
    all.insert(all.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  std::sort(all.begin(), all.end(),
            [](const auto& left, const auto& right) { return left.seconds > right.seconds; });
  return all;
}

asio::awaitable<bool> apply_view(Worker& worker, std::shared_ptr<const View> view) {
  worker.apply(std::move(view));
  co_return true;
}

}  // namespace

asio::awaitable<void> Workers::publish(std::shared_ptr<const View> view) {
  const Ask<bool> ask = [view](Worker& worker) { return apply_view(worker, view); };
  const auto applied = co_await gather(ask);
  static_cast<void>(applied);
}

asio::awaitable<std::vector<SessionReport>> Workers::quiesce(std::chrono::milliseconds limit,
                                                             bool terminate) {
  const auto deadline = Clock::now() + limit;
  const Ask<std::vector<SessionReport>> ask = [=](Worker& worker) {
    return worker.quiesce(deadline, terminate);
  };
  auto parts = co_await gather(ask);
  co_return joined(std::move(parts));
}

asio::awaitable<void> Workers::warm(Side side, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  const Ask<bool> ask = [=](Worker& worker) { return worker.warm(side, deadline); };
  const auto done = co_await gather(ask);
  static_cast<void>(done);
}

asio::awaitable<std::vector<SessionReport>> Workers::pinned(std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  const Ask<std::vector<SessionReport>> ask = [=](Worker& worker) {
    return worker.pinned(deadline);
  };
  auto parts = co_await gather(ask);
  co_return joined(std::move(parts));
}

asio::awaitable<std::vector<SessionReport>> Workers::open_transactions() {
  const Ask<std::vector<SessionReport>> ask = [](Worker& worker) {
    return worker.open_transactions();
  };
  auto parts = co_await gather(ask);
  co_return joined(std::move(parts));
}

asio::awaitable<std::vector<ClientReport>> Workers::clients() {
  const Ask<std::vector<ClientReport>> ask = [](Worker& worker) { return worker.clients(); };
  auto parts = co_await gather(ask);
  std::vector<ClientReport> all;
  for (auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end(),
            [](const auto& left, const auto& right) { return left.client < right.client; });
  co_return all;
}

asio::awaitable<ServersReport> Workers::servers() {
  const Ask<ServersReport> ask = [](Worker& worker) { return worker.server_reports(); };
  auto parts = co_await gather(ask);
  ServersReport all;
  for (auto& part : parts) {
    all.by_transaction = part.by_transaction;
    all.servers.insert(all.servers.end(), part.servers.begin(), part.servers.end());
    for (const auto& pool : part.pools) {
      const auto known = std::find_if(all.pools.begin(), all.pools.end(), [&](const auto& one) {
        return one.side == pool.side && one.user == pool.user;
      });
      if (known == all.pools.end()) {
        all.pools.push_back(pool);
        continue;
      }
      known->clients += pool.clients;
      known->servers += pool.servers;
      known->idle += pool.idle;
      known->pinned += pool.pinned;
      known->waiting += pool.waiting;
      known->longest_wait_seconds = std::max(known->longest_wait_seconds, pool.longest_wait_seconds);
    }
  }
  std::sort(all.servers.begin(), all.servers.end(), [](const auto& left, const auto& right) {
    return std::pair{left.side, left.pid} < std::pair{right.side, right.pid};
  });
  co_return all;
}

asio::awaitable<void> Workers::stop_accepting() {
  listener_.drain();
  co_return;
}

asio::awaitable<void> Workers::drain(std::chrono::milliseconds limit) {
  // First the listener: what it has dealt out reaches a worker before the worker is asked.
  co_await asio::co_spawn(workers_.front()->io, stop_accepting(), asio::use_awaitable);
  auto deadline = Clock::now() + limit;
  const Ask<std::size_t> ask = [&deadline](Worker& worker) { return worker.drain(deadline); };
  auto left = co_await gather(ask);
  const auto sum = [&left] { return std::accumulate(left.begin(), left.end(), std::size_t{0}); };
  if (sum() == 0) {
    log_event(LogLevel::info, "drained");
    co_return;
  }
  log_event(LogLevel::warn, "drain_limit_passed", {{"clients", sum()}});
  deadline = Clock::now() + last_words_limit;
  const Ask<std::size_t> ask_rest = [&deadline](Worker& worker) { return worker.end_all(deadline); };
  left = co_await gather(ask_rest);
  if (sum() > 0) log_event(LogLevel::error, "clients_did_not_end", {{"clients", sum()}});
}

void Workers::release_tickets() noexcept {
  for (const auto& worker : workers_) worker->wake_tickets();
}

SessionTotals Workers::totals() const {
  SessionTotals totals;
  for (const auto& worker : workers_) worker->counters.add_to(totals);
  return totals;
}

}  // namespace pgjanus
