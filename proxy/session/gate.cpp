// The gate: which transaction may begin now, and on which server.

#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto overtaken_by = std::chrono::milliseconds{3};  // As long as a server's fork and log-in.

constexpr auto half_closed_limit = std::chrono::seconds{5};

/// Whether the last that a client sent was Terminate.
bool says_goodbye(wire::ByteView sent) noexcept {
  constexpr std::array<std::uint8_t, 5> terminate{'X', 0, 0, 0, 4};
  return sent.size() >= terminate.size() &&
         std::equal(terminate.begin(), terminate.end(), sent.end() - terminate.size());
}

}  // namespace

bool Session::must_move() const noexcept {
  return main_ && view().primary && *view().primary != main_->side;
}

bool Session::must_wait() const noexcept {
  return view().held != Held::none || !view().primary || working_ || drain_;
}

void Session::update_attention() noexcept {
  attention_ = must_wait() || must_move() || newcomer_ || view().catalog_is_read || (pooled() && !main_);
  update_routing();
}

/// A message that would begin a transaction stands at the front of the buffer. True: it may be
/// forwarded to active_, and nothing was awaited since that was found out. False: the session ends.
asio::awaitable<bool> Session::pass_gate() {
  dice_ = worker_.dice();
  for (;;) {
    if (ended_ || !client_.is_open()) co_return false;
    if (waits_for_catalog(client_in_.data())) {
      co_await wait_at_gate(Deadline::max());
      continue;
    }
    bool owed = false;
    if (active_) {
      const auto& exchange = active_->exchange;
      owed = exchange.ready_owed() > 0 || exchange.running();
      // A COPY waits for this client, so its replies will not come first.
      if (exchange.copying_in()) break;
      if (!owed && exchange.status() != wire::TransactionStatus::idle) break;  // Goes on inside.
      // Only reads are to be routed, and a pipeline on the primary stays there.
      if (owed && !attention_ && active_ == main_) break;
    }
    if (!owed && !ticket_waiting_ && must_move() && !working_ && !drain_) {
      co_await move();
      continue;
    }
    if (!owed && !ticket_waiting_ && !must_wait()) {
      if (pooled() && !main_) {
        if (cancelled_) {
          stop_waiting();
          const bool open = co_await answer_cancelled();
          co_return open;
        }
        if (routing_ && goes_aside()) {
          co_await next_aside();
          if (active_) break;
          continue;
        }
        const bool go_on = co_await next_server();
        if (!go_on) co_return false;
        if (skip_ != Skip::none) co_return true;  // It was refused.
        continue;
      }
      // A session that keeps its server runs everything there.
      if (!routing_ || pooled() || !goes_aside()) break;
      if (aside_ && aside_->usable() && aside_state_ && !touched_) {
        send_aside();
        break;
      }
      co_await ready_aside();
      continue;
    }
    if (!owed && !ticket_waiting_) {
      if (!working_) {
        stop_waiting();  // Who must not begin needs no server.
        if (pooled()) settle_lease();
      }
      if (cancelled_) {
        const bool open = co_await answer_cancelled();
        co_return open;
      }
      if (view().held != Held::none) set_held(true);
    }
    if (active_ && !active_->usable() && !working_) co_return false;
    co_await wait_at_gate(Deadline::max());
  }
  set_held(false);
  cancelled_ = false;
  gate_passed_ = true;
  update_attention();
  co_return true;
}

bool Session::suits(const Server& server) const noexcept {
  const auto& place = server.place;
  return place.state == state_ && (!place.tainted || place.last_client == number_) &&
         told_.shares(server.reported);
}

/// What pass_gate() comes to most often in transaction pooling: a server is free and needs nothing, or
/// one is waited for (queued_). False: not, or not yet; without queued_, pass_gate() finds out what has to
/// be done.
bool Session::pass_at_once() {
  const bool plain = pooled() && !active_ && !main_ && !aside_ && !routing_ && !newcomer_ && !held_;
  if (!plain || waiting_ || refusal_ || cancelled_ || ticket_waiting_ || must_wait()) return false;
  if (ended_ || skip_ != Skip::none || view().catalog_is_read) return false;
  const auto side = *view().primary;
  auto server = granted_ ? granted_ : worker_.servers.lease_as_is(*this, side);
  if (!server) {
    want_server(side);
    queued_ = waiting_;
    return false;
  }
  if (!suits(*server) || !server->usable() || server->side != side) return false;
  granted_.reset();
  use(std::move(server));
  gate_passed_ = true;
  return true;
}

void Session::gate_news() {
  gate_.notify();
  if (queued_) client_.nudge();
}

void Session::set_held(bool held) {
  if (held == held_) return;
  held_ = held;
  state_at_ = Clock::now();
  if (held)
    worker_.counters.held_clients.add();
  else
    worker_.counters.held_clients.sub();
}

/// Until something changes: the view, a reply, a cancel request, the client's socket.
asio::awaitable<void> Session::wait_at_gate(Deadline limit) {
  watch_client();
  co_await gate_.wait_until(std::min(limit, end_limit_));
  if (Clock::now() >= end_limit_) client_.close();
  if (!client_.is_open() || watching_ || at_end_) co_return;
  // The client's socket has something: more of a pipeline, or its end. What does not fit stays in
  // the kernel, and then only a reset is noticed.
  const auto space = client_in_.space();
  if (space.empty()) co_return;
  const auto io = client_.read_some(space);
  if (io.state == Stream::State::closed && pooled() && !held_) {
    // What it sent before that still runs, as at a server; unless it has just gone and waits in vain.
    at_end_ = true;
    if (!says_goodbye(client_in_.data())) end_limit_ = Clock::now() + half_closed_limit;
  } else if (io.state == Stream::State::closed)
    client_.close();
  else
    client_in_.filled(io.bytes);
}

void Session::watch_client() {
  if (watching_ || at_end_ || client_in_.space().empty()) return;
  watching_ = true;
  client_.when_readable([self = shared_from_this()](bool) {
    self->watching_ = false;
    self->gate_.notify();
  });
}

/// 57014 for the statement that waits; it never reached a server.
asio::awaitable<bool> Session::answer_cancelled() {
  cancelled_ = false;
  set_held(false);
  auto error = wire::make_error("ERROR", "57014", "canceling statement due to user request", "",
                                "It was held back by pgjanus and has not run.");
  const bool open = co_await answer_instead(std::move(error));
  co_return open;
}

/// An error in place of what the statement at the front would have said.
asio::awaitable<bool> Session::answer_instead(wire::ErrorFields error) {
  const auto type = static_cast<wire::Frontend>(client_in_.data().front());
  const bool simple = type == wire::Frontend::query || type == wire::Frontend::function_call;
  wire::Bytes out;
  if (type != wire::Frontend::sync) wire::encode_error_response(out, error);
  // ReadyForQuery follows once the message (the batch up to its Sync) has been dropped.
  skip_ = simple ? Skip::message : Skip::until_sync;
  const bool open = co_await to_client(out);
  co_return open;
}

asio::awaitable<void> Session::cancel() {
  const auto self = shared_from_this();
  if (!ticket_waiting_ && !held_ && !(active_ && active_->exchange.running())) {
    // It may have overtaken its statement, which comes on another connection. A server begins a
    // process first and so comes later; drivers whose requests go off by a timer count on that.
    asio::steady_timer moment{worker_.io, overtaken_by};
    co_await moment.async_wait(awaiting);
  }
  if (ticket_waiting_) {
    // It is committed: the answer is success, without waiting any longer for the mirror.
    ticket_cancelled_ = true;
    ticket_alarm_.notify();
    co_return;
  }
  if (held_ || waiting_) {
    cancelled_ = true;
    gate_news();
    co_return;
  }
  // Our own statements are not the client's to cancel.
  if (!serving_ || ended_ || working_ || !active_ || !active_->exchange.running()) co_return;
  // Until the signal has arrived the server is nobody else's: it would hit the wrong one.
  const auto server = active_;
  ++server->cancels;
  co_await server->cancel(worker_.shared.server_tls);
  --server->cancels;
  fence_.notify();
  if (server->cancels == 0 && server->session == nullptr && server->place.group != nullptr)
    worker_.servers.give(server);
}

}  // namespace pgjanus
