#include "proxy/session/worker.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto arrival_limit = std::chrono::seconds{3};

}  // namespace

SessionResources::SessionResources(const Settings& settings, Tickets& shared_tickets)
    : credentials{settings},
      certificate{settings.certificate, settings.key},
      tickets{shared_tickets},
      pool_limits{settings.pool, settings.pool_size, settings.pool_wait, settings.pool_lifetime,
                  settings.pool_idle} {}

void SessionResources::use(const Settings& wanted) {
  certificate.use(wanted.certificate, wanted.key);  // The only part that can fail.
  credentials.use(wanted);
}

Worker::Worker(SessionResources& resources, unsigned index)
    : shared{resources},
      servers{*this, resources.pool_limits},
      index_{index},
      quiet_{io.get_executor()},
      tidy_{io} {}

Worker::~Worker() {
  begin_stop(Haste::farewell);
  join();
  // Sockets go before the io_context; sessions that are left go with it, and ask the pool.
  servers.let_go();
}

void Worker::start() {
  work_.emplace(io.get_executor());
  if (servers.limits().mode == PoolMode::transaction) {
    asio::co_spawn(io, keep_tidy(), [](const std::exception_ptr& failure) {
      if (failure) log_event(LogLevel::error, "pool_tidying_failed");
    });
  }
  thread_ = std::thread{[this] {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception& error) {
        log_event(LogLevel::error, "worker_task_failed",
                  {{"worker", index_}, {"error", error.what()}});
      }
    }
  }};
}

void Worker::begin_stop(Haste haste) {
  if (!thread_.joinable()) return;
  asio::post(io, [this, haste] {
    const auto why = wire::make_error("FATAL", "57P01", "pgjanus is shutting down");
    for (const auto& session : all()) haste == Haste::at_once ? session->cut(why) : session->terminate(why);
    work_.reset();
  });
  // Sessions end by themselves within their own limits; what is left then is a bug, not a wait.
  asio::post(io, [this, haste] {
    if (haste == Haste::at_once) return io.stop();
    auto limit = std::make_shared<asio::steady_timer>(io, std::chrono::seconds{8});
    limit->async_wait([this, limit](boost::system::error_code) { io.stop(); });
    last_ = std::move(limit);
    leave_when_empty();
  });
}

void Worker::join() {
  if (!thread_.joinable()) return;
  thread_.join();
  last_.reset();
  watching_ = 0;  // Whoever still watches is destroyed with `io`, after what it would be told by.
}

void Worker::leave_when_empty() {
  if (!last_ || !sessions_.empty()) return;
  last_->cancel();
  tidy_.cancel();
  servers.close_all();
}

/// Now and then, idle servers that are too old go.
asio::awaitable<void> Worker::keep_tidy() {
  while (!last_) {
    tidy_.expires_after(std::chrono::seconds{1});
    const auto woken = co_await tidy_.async_wait(awaiting);
    static_cast<void>(woken);
    servers.tidy();
  }
}

void Worker::start_relay(std::shared_ptr<Server> server) {
  asio::co_spawn(io, Session::relay_server(*this, server),
                 [server](const std::exception_ptr& failure) {
                   if (!failure) return;
                   server->close();
                   if (server->session != nullptr) server->session->fail("relay_server", failure);
                 });
}

void Worker::serve(Stream::Socket socket) {
  const auto session = std::make_shared<Session>(*this, std::move(socket));
  session->start();
}

void Worker::apply(std::shared_ptr<const View> view) {
  view_ = std::move(view);
  for (const auto& session : all()) session->on_view();
}

std::vector<std::shared_ptr<Session>> Worker::all() const {
  std::vector<std::shared_ptr<Session>> sessions;
  sessions.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) sessions.push_back(session->shared_from_this());
  return sessions;
}

wire::BackendKeyData Worker::register_session(Session& session) {
  const auto workers = static_cast<std::uint32_t>(shared.workers.size());
  for (;;) {
    std::uint32_t numbers[2];
    random_bytes({reinterpret_cast<std::uint8_t*>(numbers), sizeof numbers});
    // Congruent to our index, so that any thread finds the owner.
    const auto base = numbers[1] - numbers[1] % workers;
    if (base > UINT32_MAX - index_) continue;
    const auto secret_key = static_cast<std::int32_t>(base + index_);
    if (sessions_.emplace(secret_key, &session).second)
      return {static_cast<std::int32_t>(numbers[0] & 0x3fffffffU) + 1, secret_key};
  }
}

void Worker::unregister_session(std::int32_t secret_key) {
  sessions_.erase(secret_key);
  settled();
  leave_when_empty();
}

asio::awaitable<void> Worker::cancel(wire::CancelRequest request) {
  const auto found = sessions_.find(request.secret_key);
  if (found == sessions_.end() || found->second->process_id() != request.process_id) co_return;
  const auto session = found->second->shared_from_this();
  co_await session->cancel();
}

StatementClass Worker::class_of(std::string_view text) { return classes_.classify(text, view_->catalog); }

void Worker::forget_ticket(Session& session) { std::erase(ticket_waiters_, &session); }

void Worker::wake_tickets() noexcept {
  if (wake_posted_.exchange(true, std::memory_order_acq_rel)) return;
  asio::post(io, [this] {
    wake_posted_.store(false, std::memory_order_release);
    for (auto* session : ticket_waiters_) {
      if (!shared.tickets.covered(session->ticket())) break;  // Later ones drew later.
      session->ticket_news();
    }
  });
}

asio::awaitable<std::vector<SessionReport>> Worker::quiesce(Deadline limit, bool terminate) {
  const auto start = Clock::now();
  const auto half = start + (limit - start) / 2;
  bool terminated = false;
  asio::steady_timer clock{io};
  clock.expires_at(terminate ? half : limit);
  const auto tick = [this](boost::system::error_code) { quiet_.notify(); };
  clock.async_wait(tick);
  ++watching_;
  std::vector<SessionReport> busy;
  for (;;) {
    busy.clear();
    for (const auto& session : all()) {
      if (!session->busy()) continue;
      // One that waits for its ticket has committed already: it is not ended for that.
      if (terminate && !terminated && Clock::now() >= half && session->in_transaction())
        session->terminate(wire::make_error(
            "FATAL", "57P01", "terminating connection due to administrator command",
            "A flip between the databases ends transactions that hold it up."));
      busy.push_back(session->report(session->busy_reason()));
    }
    if (busy.empty() || Clock::now() >= limit) break;
    if (terminate && !terminated && Clock::now() >= half) {
      terminated = true;
      clock.expires_at(limit);
      clock.async_wait(tick);
      continue;
    }
    co_await quiet_.wait();
  }
  --watching_;
  co_return busy;
}

/// Runs `work` for every session at once, and waits for all or the limit.
asio::awaitable<void> Worker::each(const Work& work, Deadline limit) {
  struct Progress {
    explicit Progress(const asio::any_io_executor& executor) : done{executor} {}
    std::size_t left = 0;
    Alarm done;
  };
  const auto progress = std::make_shared<Progress>(io.get_executor());
  for (auto& session : all()) {
    ++progress->left;
    asio::co_spawn(io, work(session), [progress, session](const std::exception_ptr&) {
      if (--progress->left == 0) progress->done.notify();
    });
  }
  while (progress->left > 0 && Clock::now() < limit) co_await progress->done.wait_until(limit);
}

asio::awaitable<bool> Worker::warm(Side side, Deadline limit) {
  const Work work = [side](std::shared_ptr<Session> session) { return session->warm(side); };
  co_await each(work, limit);
  co_await servers.warm(side, limit);
  co_return true;
}

asio::awaitable<std::vector<SessionReport>> Worker::pinned(Deadline limit) {
  const auto found = std::make_shared<std::vector<SessionReport>>();
  const Work work = [found](std::shared_ptr<Session> session) {
    return session->report_pin(found);
  };
  co_await each(work, limit);
  co_return *found;
}

asio::awaitable<std::vector<SessionReport>> Worker::open_transactions() {
  std::vector<SessionReport> open;
  for (const auto& session : all())
    if (session->in_transaction()) open.push_back(session->report(session->busy_reason()));
  co_return open;
}

asio::awaitable<std::vector<ClientReport>> Worker::clients() {
  std::vector<ClientReport> reports;
  for (const auto& session : all()) reports.push_back(session->client_report());
  co_return reports;
}

asio::awaitable<ServersReport> Worker::server_reports() {
  ServersReport report;
  report.by_transaction = servers.limits().mode == PoolMode::transaction;
  for (const auto& session : all())
    if (auto one = session->server_report()) report.servers.push_back(std::move(*one));
  servers.report(report.servers);
  servers.report(report.pools);
  for (const auto& session : all()) {
    if (!session->identity()) continue;
    for (auto& one : report.pools)
      if (one.side == view_->primary && one.user == session->identity()->user) ++one.clients;
  }
  co_return report;
}

asio::awaitable<std::size_t> Worker::drain(Deadline limit) {
  draining_ = true;
  for (const auto& session : all()) session->drain();
  co_await wait_until_empty(limit);
  // Whom the kernel or we had accepted when the signal came is let in, and leaves in good order; a
  // socket on which nothing comes is waited for in vain.
  const auto patience = std::min(limit, Clock::now() + arrival_limit);
  while (arriving_ > 0 && Clock::now() < patience) co_await wait_once(patience);
  co_await wait_until_empty(limit);
  co_return sessions_.size();
}

asio::awaitable<std::size_t> Worker::end_all(Deadline limit) {
  for (const auto& session : all())
    session->terminate(wire::make_error(
        "FATAL", "57P01", "terminating connection: pgjanus is shutting down",
        "The transaction was still open when the time for the shutdown had passed."));
  co_await wait_until_empty(limit);
  co_return sessions_.size();
}

asio::awaitable<void> Worker::wait_until_empty(Deadline limit) {
  while (!sessions_.empty() && Clock::now() < limit) co_await wait_once(limit);
}

/// Until a session has ended or come to a boundary, a client has arrived, or the limit has passed.
asio::awaitable<void> Worker::wait_once(Deadline limit) {
  asio::steady_timer clock{io};
  clock.expires_at(limit);
  clock.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) quiet_.notify();
  });
  ++watching_;
  co_await quiet_.wait();
  --watching_;
}

}  // namespace pgjanus
