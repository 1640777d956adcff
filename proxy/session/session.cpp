// A session's life: accepted, logged in, served, ended.

#include "proxy/session/session.hpp"

#include "proxy/log.hpp"

namespace pgjanus {

namespace {

constexpr auto login_limit = std::chrono::seconds{60};        // authentication_timeout's default.
constexpr auto primary_limit = std::chrono::seconds{5};       // contract.md, "Settings".
constexpr auto held_login_limit = std::chrono::minutes{10};   // Longer than any sane flip.
constexpr auto half_closed_limit = std::chrono::seconds{5};   // Answers for a client at its end.
constexpr auto farewell_limit = std::chrono::seconds{5};      // For a client that does not read.
constexpr auto linger_limit = std::chrono::seconds{1};        // For one that does not close.
constexpr auto newcomer_limit = std::chrono::seconds{1};      // For its first transaction to begin.

std::string parameter_or(const wire::StartupMessage& startup, std::string_view name) {
  return std::string{startup.parameter(name).value_or("")};
}

wire::ErrorFields shutting_down() {
  return wire::make_error("FATAL", "57P03", "pgjanus is shutting down");
}

}  // namespace

Session::Session(Worker& worker, Stream::Socket socket)
    : worker_{worker},
      client_{std::move(socket)},
      client_in_{worker.pool},
      number_{worker.shared.next_client.fetch_add(1, std::memory_order_relaxed)},
      address_{client_.peer()},
      gate_{worker.io.get_executor()},
      fence_{worker.io.get_executor()},
      written_{worker.io.get_executor()},
      wrote_{worker.shared.tickets},
      defines_{worker.shared.tickets},
      ticket_alarm_{worker.io.get_executor()} {
  worker_.counters.clients.add();
  worker_.shared.connections.fetch_add(1, std::memory_order_relaxed);
  worker_.arriving();
}

Session::~Session() {
  // Left over only by a task that failed.
  stop_waiting();
  release(main_);
  release(aside_);
  if (key_.process_id != 0) worker_.unregister_session(key_.secret_key);
  if (std::exchange(arriving_, false)) worker_.arrived();
  worker_.counters.clients.sub();
  worker_.shared.connections.fetch_sub(1, std::memory_order_relaxed);
  set_held(false);
}

void Session::spawn(asio::awaitable<void> work, std::string_view name) {
  asio::co_spawn(worker_.io, std::move(work),
                 [self = shared_from_this(), name](const std::exception_ptr& failure) {
                   if (failure) self->fail(name, failure);
                 });
}

void Session::fail(std::string_view task, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    log_event(LogLevel::error, "session_task_failed",
              {{"client", number_}, {"task", task}, {"error", error.what()}});
  }
  ended_ = true;
  client_.close();
  if (main_) main_->close();
  if (aside_) aside_->close();
  gate_news();
}

void Session::start() { spawn(run(), "session"); }

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  client_.tune();
  asio::steady_timer limit{worker_.io, login_limit};
  limit.async_wait([weak = weak_from_this()](boost::system::error_code stopped) {
    const auto session = weak.lock();
    if (!stopped && session) session->client_.close();
  });
  ClientLogin login{client_, worker_.shared.credentials, worker_.shared.certificate};
  login.door = [this] { return closed_door(); };
  auto outcome = co_await login.run();
  limit.cancel();
  if (const auto* away = std::get_if<TurnedAway>(&outcome)) {
    if (away->failed_authentication) worker_.counters.auth_failures.add();
    if (!away->event.empty())
      log_event(LogLevel::warn, away->event,
                {{"client", number_}, {"address", address_}, {"reason", away->detail}});
  } else if (const auto* cancelling = std::get_if<Cancelling>(&outcome)) {
    // The worker's number stands in the secret key: no table that threads would share.
    const auto& workers = worker_.shared.workers;
    const auto key = static_cast<std::uint32_t>(cancelling->request.secret_key);
    auto* owner = workers[key % workers.size()];
    co_await asio::co_spawn(owner->io, owner->cancel(cancelling->request), asio::use_awaitable);
  } else {
    co_await serve(std::move(std::get<Accepted>(outcome)));
  }
  co_await finish();
}

asio::awaitable<void> Session::serve(Accepted client) {
  who_ = std::move(client);
  key_ = worker_.register_session(*this);
  if (std::exchange(arriving_, false)) worker_.arrived();
  auto failure = co_await begin_service();
  if (failure) {
    log_event(LogLevel::warn, "login_failed",
              {{"client", number_}, {"address", address_}, {"user", who_.user},
               {"reason", failure->message()}});
    if (failure->sqlstate().starts_with("28")) worker_.counters.auth_failures.add();
    co_await end_with(std::move(*failure));
    co_return;
  }
  co_await welcome();
  serving_ = true;
  state_at_ = Clock::now();
  if (main_) worker_.start_relay(main_);
  log_event(LogLevel::debug, "client_connected",
            {{"client", number_}, {"address", address_}, {"user", who_.user}});
  on_view();
  if (worker_.draining()) drain();
  co_await relay_client();
  co_await last_answers();
  // A server that is gone may still have its last words on the way to the client.
  for (int round = 0; round < 2 && !ended_ && !leaving_ && client_.is_open() && active_ && !active_->usable(); ++round)
    co_await gate_.wait_until(Clock::now() + farewell_limit);
  log_event(LogLevel::debug, "client_disconnected", {{"client", number_}});
}

/// A server finishes what it was sent before it notices that its client has left, and so do we: a
/// write followed by Terminate must not be cancelled. A stream that merely ended may be one of a
/// client that has died, so there the wait is short and what still runs then is cancelled.
asio::awaitable<void> Session::last_answers() {
  if (ended_ || !active_ || !active_->usable() || client_framer_.inside()) co_return;
  if (!active_->exchange.running()) co_return;
  leaving_ = true;
  const auto server = active_;
  bool sent = true;
  if (terminated_) {
    wire::Bytes goodbye;
    wire::encode_terminate(goodbye);
    sent = co_await server->stream->write_all(goodbye);
  } else {
    server->stream->half_close();  // To a COPY that waits for data a Terminate would be an error.
  }
  const auto limit = terminated_ ? Deadline::max() : Clock::now() + half_closed_limit;
  while (sent && !ended_ && server->stream->is_open() && client_.is_open() && Clock::now() < limit)
    co_await gate_.wait_until(limit);
}

asio::awaitable<std::optional<wire::ErrorFields>> Session::begin_service() {
  std::string database;
  try {
    database = worker_.shared.credentials.database();
  } catch (const SettingsError&) {
    co_return wire::make_error("FATAL", "57P03", "pgjanus cannot read its database URL");
  }
  if (who_.database != database)
    co_return wire::make_error("FATAL", "3D000", "database \"" + who_.database + "\" does not exist");
  const auto start = Clock::now();
  while (!view().primary || view().held != Held::none) {
    if (!client_.is_open()) co_return wire::make_error("FATAL", "08006", "client left");
    if (worker_.draining()) co_return shutting_down();
    const bool unknown = !view().primary;
    const auto limit = start + (unknown ? Clock::duration{primary_limit} : Clock::duration{held_login_limit});
    if (Clock::now() >= limit)
      co_return wire::make_error("FATAL", "57P03",
                                 unknown ? "pgjanus does not know yet which database is the primary"
                                         : "new transactions are held: " +
                                               std::string{to_string(view().held)});
    set_held(!unknown);
    co_await wait_at_gate(limit);
  }
  set_held(false);
  std::optional<wire::ErrorFields> failure;
  if (worker_.servers.limits().mode == PoolMode::transaction) {
    failure = co_await begin_pooled();
  } else {
    failure = co_await lease(*view().primary, main_);
    active_ = main_;
  }
  co_return failure;
}

asio::awaitable<void> Session::welcome() {
  wire::Bytes out;
  if (main_) {
    for (const auto& notice : main_->notices) out.insert(out.end(), notice.begin(), notice.end());
    told_ = main_->reported;
  }
  for (const auto& [name, value] : told_.all()) wire::encode_parameter_status(out, name, value);
  look_at_encoding();
  // The server's own process id: clients hand it to pg_cancel_backend() and compare it with that of
  // notifications. (After a flip it is the first server's.)
  if (main_ && main_->key.process_id > 0) key_.process_id = main_->key.process_id;
  wire::encode_backend_key_data(out, key_);
  wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
  const bool sent = co_await to_client(out);
  static_cast<void>(sent);  // A client that left is found by the reader.
}

void Session::on_view() {
  if (!view().wait_for_mirror) ticket_alarm_.notify();
  // What is under way when capture begins may have written already.
  if (view().mirroring && !mirrored_ && busy()) {
    wrote_.set(true);
    defines_.set();
  }
  mirrored_ = view().mirroring;
  update_attention();
  gate_news();
  fence_.notify();
  move_when_idle();
}

void Session::terminate(wire::ErrorFields why) { spawn(end_with(std::move(why)), "terminate"); }

/// What a client is told in place of being let in (postmaster.c says it at the same moment).
std::optional<wire::ErrorFields> Session::closed_door() const {
  auto& shared = worker_.shared;
  // Behind an inherited socket only those still arrive whom we had accepted before.
  if (shared.closing.load() && !shared.inherited) return shutting_down();
  const bool full = shared.connections.load(std::memory_order_relaxed) > shared.clients_max;
  if (shared.was_full.exchange(full, std::memory_order_relaxed) != full && full)
    log_event(LogLevel::error, "too_many_clients", {{"limit", shared.clients_max}});
  if (full)
    return wire::make_error("FATAL", "53300", "sorry, too many clients already",
                            "pgjanus has no descriptors for more than " +
                                std::to_string(shared.clients_max) + " clients.",
                            "Raise its limit of open files (LimitNOFILE, ulimit -n).");
  return std::nullopt;
}

void Session::drain() {
  if (!serving_) return gate_news();  // Its start-up sees for itself that we drain.
  const bool asked_nothing = read_at_ == Clock::time_point{};
  if (!asked_nothing || drain_ || Clock::now() >= connected_at_ + newcomer_limit) return leave();
  newcomer_ = true;
  update_attention();
  const auto moment = std::make_shared<asio::steady_timer>(worker_.io, newcomer_limit);
  moment->async_wait([moment, weak = weak_from_this()](boost::system::error_code) {
    const auto session = weak.lock();
    if (session) session->leave();
  });
}

void Session::leave() {
  drain_ = true;
  update_attention();  // A busy one ends at its next boundary.
  gate_news();
  if (idle_in_service() && !working_)
    terminate(wire::make_error("FATAL", "57P01", "terminating connection: pgjanus is shutting down"));
}

void Session::cut(const wire::ErrorFields& why) noexcept {
  ended_ = farewell_ = true;
  if (serving_ && !writing_ && mid_message_ == nullptr && !fatal_passed_) {
    wire::Bytes out;
    wire::encode_error_response(out, why);
    client_.write_some(out);
  }
  client_.close();
  for (const auto& server : {main_, aside_})
    if (server) server->close();
}

asio::awaitable<void> Session::end_with(wire::ErrorFields why) {
  const auto self = shared_from_this();
  if (ended_) co_return;
  ended_ = farewell_ = true;
  asio::steady_timer limit{worker_.io, farewell_limit};
  const auto close_client = [weak = weak_from_this()](boost::system::error_code stopped) {
    const auto session = weak.lock();
    if (stopped || !session) return;
    session->client_.close();
    session->written_.notify();
  };
  limit.async_wait(close_client);
  while (writing_ && client_.is_open()) co_await written_.wait();
  if (mid_message_ == nullptr && !fatal_passed_ && client_.is_open()) {
    wire::Bytes out;
    wire::encode_error_response(out, why);
    fatal_passed_ = true;
    const bool sent = co_await client_.write_all(out);
    static_cast<void>(sent);
  }
  // Closing with unread bytes of the client would reset the connection and take the FATAL along:
  // first our half ends, then the client's, within the limit.
  client_.half_close();
  limit.expires_after(linger_limit);
  limit.async_wait(close_client);
  co_await let_servers_go();
  std::array<std::uint8_t, 4096> nobody_reads;
  for (bool open = client_.is_open(); open;) {
    open = co_await client_.readable();
    while (open) {
      const auto io = client_.read_some(nobody_reads);
      if (io.state == Stream::State::closed) open = false;
      if (io.state != Stream::State::done) break;
    }
  }
  limit.cancel();
  client_.close();
  worker_.settled();
}

/// After the client's side has come to its end. A farewell that is under way ends by itself.
asio::awaitable<void> Session::finish() {
  if (farewell_) co_return;
  ended_ = true;
  client_.close();
  co_await let_servers_go();
}

asio::awaitable<void> Session::let_servers_go() {
  gate_news();
  ticket_alarm_.notify();
  fence_.notify();
  written_.notify();
  const auto running = active_;
  if (running && running->usable() && running->exchange.running() && !terminated_) {
    // The socket of a cancelled query is closed only after the signal was sent: closing first
    // would leave a long statement running to its end with nobody to read it.
    co_await running->cancel(worker_.shared.server_tls);
  }
  stop_waiting();
  if (pooled()) {
    leave_server(main_);
    leave_server(aside_);
  }
  release(main_);
  release(aside_);
  active_.reset();
  serving_ = false;
  worker_.settled();
}

bool Session::busy() const noexcept {
  if (!serving_ || ended_) return false;
  if (ticket_waiting_ || (working_ && !fence_waiting_)) return true;
  return (main_ && !main_->exchange.quiescent()) || (active_ && !active_->exchange.quiescent());
}

bool Session::in_transaction() const noexcept {
  return serving_ && !ended_ && active_ && !active_->exchange.quiescent();
}

std::string Session::busy_reason() const {
  if (ticket_waiting_) return "commit waits for the mirror";
  if (working_) return "state is being moved";
  if (active_ && active_->exchange.status() != wire::TransactionStatus::idle)
    return "open transaction";
  return "statement under way";
}

SessionReport Session::report(std::string reason) const {
  return {.client = number_,
          .user = who_.user,
          .application_name = parameter_or(who_.startup, "application_name"),
          .server_pid = main_ ? main_->key.process_id : 0,
          .seconds = std::chrono::duration<double>(Clock::now() - state_at_).count(),
          .reason = std::move(reason)};
}

ClientReport Session::client_report() const {
  const auto state = [&]() -> std::string {
    if (!serving_) return held_ ? "held" : "login";
    if (held_) return "held";
    if (waiting_) return "waiting_for_server";
    if (ticket_waiting_) return "waiting_for_mirror";
    if (!active_ || active_->exchange.quiescent()) return "idle";
    if (active_->exchange.status() != wire::TransactionStatus::idle) return "in_transaction";
    return "active";
  };
  const auto now = Clock::now();
  return {.client = number_,
          .user = who_.user,
          .application_name = parameter_or(who_.startup, "application_name"),
          .address = address_,
          .state = state(),
          .side = main_ ? main_->side : view().primary.value_or(Side::source),
          .server_pid = main_ ? main_->key.process_id : 0,
          .connected_seconds = std::chrono::duration<double>(now - connected_at_).count(),
          .state_seconds = std::chrono::duration<double>(now - state_at_).count(),
          .pinned = pin_};
}

}  // namespace pgjanus
