#include "proxy/session/workers.hpp"

#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <csignal>

#include "proxy/log.hpp"

namespace pgjanus {

using tcp = asio::ip::tcp;

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
}

Workers::~Workers() { stop(); }

void Workers::stop() {
  if (!std::exchange(started_, false)) return;
  asio::post(workers_.front()->io, [this] { acceptor_.reset(); });
  for (const auto& worker : workers_) worker->stop();
}

void Workers::start() {
  auto& io = workers_.front()->io;
  boost::system::error_code failed;
  tcp::endpoint endpoint;
  const auto host = listen_.host == "localhost" ? std::string{"127.0.0.1"} : listen_.host;
  const auto address = host.empty() || host == "*" ? asio::ip::make_address("0.0.0.0")
                                                   : asio::ip::make_address(host, failed);
  const auto refuse = [&] {
    throw SettingsError{"cannot listen on " + listen_.host + ":" + std::to_string(listen_.port) +
                        ": " + failed.message()};
  };
  if (failed) refuse();
  endpoint = {address, listen_.port};
  acceptor_ = std::make_unique<tcp::acceptor>(io);
  acceptor_->open(endpoint.protocol(), failed);
  if (failed) refuse();
  acceptor_->set_option(tcp::acceptor::reuse_address{true});
  acceptor_->bind(endpoint, failed);
  if (failed) refuse();
  acceptor_->listen(tcp::acceptor::max_listen_connections, failed);
  if (failed) refuse();
  asio::co_spawn(io, listen(), [](const std::exception_ptr& failure) {
    if (failure) log_event(LogLevel::error, "listener_failed");
  });
  for (const auto& worker : workers_) worker->start();
  started_ = true;
  log_event(LogLevel::info, "listening", {{"address", this->address()}, {"threads", workers_.size()}});
}

std::string Workers::address() const {
  boost::system::error_code failed;
  const auto local = acceptor_->local_endpoint(failed);
  return local.address().to_string() + ":" + std::to_string(local.port());
}

asio::awaitable<void> Workers::listen() {
  std::size_t next = 0;
  auto& first = *workers_.front();
  while (acceptor_ && acceptor_->is_open()) {
    auto& worker = *workers_[next++ % workers_.size()];
    auto accepted = co_await acceptor_->async_accept(worker.io, awaiting);
    const auto failed = std::get<0>(accepted);
    if (failed == asio::error::operation_aborted) co_return;
    if (failed) {
      // Out of descriptors: the pending client stays in the backlog until some are free.
      log_event(LogLevel::warn, "accept_failed", {{"error", failed.message()}});
      asio::steady_timer pause{first.io, std::chrono::milliseconds{100}};
      const auto woken = co_await pause.async_wait(awaiting);
      static_cast<void>(woken);
      continue;
    }
    auto socket = std::make_shared<tcp::socket>(std::move(std::get<1>(accepted)));
    asio::post(worker.io, [&worker, socket] { worker.serve(Stream::Socket{std::move(*socket)}); });
  }
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

asio::awaitable<void> Workers::begin_drain(std::chrono::milliseconds limit) {
  asio::post(workers_.front()->io, [this] {
    boost::system::error_code ignored;
    if (acceptor_) acceptor_->close(ignored);
  });
  const auto deadline = Clock::now() + limit;
  const Ask<bool> ask = [=](Worker& worker) { return worker.drain(deadline); };
  const auto drained = co_await gather(ask);
  const bool all = std::find(drained.begin(), drained.end(), false) == drained.end();
  log_event(all ? LogLevel::info : LogLevel::warn, all ? "drained" : "drain_limit_passed");
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
