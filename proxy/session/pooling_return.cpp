// Transaction pooling: how a server comes back to the pool, and what the session was on it is kept.

#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto cancel_limit = std::chrono::seconds{10};  // As Server::cancel() has.

}  // namespace

/// The session stands between transactions: what it holds goes back, unless it has to be asked first.
void Session::settle_lease() {
  if (working_ || ended_ || leaving_ || ticket_waiting_ || client_writes_ || client_framer_.inside()) return;
  if (aside_ && active_ != aside_ && mid_message_ == nullptr && aside_->exchange.quiescent() && aside_->answer == nullptr)
    give_back(aside_);
  if (!main_ || main_->framer.inside() || !main_->exchange.quiescent() || !main_->usable() || main_->answer != nullptr) return;
  // The front of a message that was let through behind the last reply: it asks again, for a server of its own.
  gate_passed_ = false;
  // What it owes may be one reply more than we know of: it cannot be asked before its next one.
  if (dirty_ && main_->exchange.surplus_possible()) return;
  if (dirty_) {
    working_ = reading_back_ = true;
    attention_ = true;
    spawn(read_back(), "read_back");
  } else if (pin_.empty()) {
    give_back(main_);
  }
}

/// What the transaction has made of the session, asked of the server that knows.
asio::awaitable<void> Session::read_back() {
  const auto self = shared_from_this();
  const auto server = main_;
  // A cancel request that is on its way would hit our question.
  const auto limit = Clock::now() + cancel_limit;
  while (!ended_ && server->cancels > 0 && Clock::now() < limit) co_await fence_.wait_until(limit);
  auto state = co_await read_state(server);
  reading_back_ = false;
  if (ended_) {
    co_await cleanse(server);  // It was left to us.
    co_return;
  }
  server->place.tainted = true;
  ++read_backs_;
  if (!state) {
    pin_ = "its state could not be read";  // And is asked for again at its next boundary.
  } else {
    dirty_ = false;
    pin_ = std::exchange(state->pin, {});
    if (pin_.empty() && !state->channels.empty()) pin_ = "LISTEN";
    if (pin_.empty() && names_.unkept() > 0) pin_ = "prepared statement of more than 1 MB";
    server->place.state = worker_.servers.state(*state);
    // A setting that went back to its default goes back to what the client began with.
    for (const auto& [name, value] : first_state_->settings) state->settings.emplace(name, value);
    state_ = worker_.servers.state(std::move(*state));
    if (pin_.empty() && server == main_ && server->usable()) give_back(main_);
  }
  work_done();
}

/// Between transactions, with nothing of the session's on it but what `state_` says.
void Session::give_back(ServerPtr& held) {
  const auto server = std::exchange(held, nullptr);
  if (active_ == server) active_.reset();
  retry_.clear();
  retry_on_ = nullptr;
  server->place.last_client = number_;
  // Part of a message that nobody asked for: the rest would be read as the next client's.
  if (server->place.group == nullptr || !worker_.servers.idle_talk(*server) || !server->in.empty()) {
    auto leaving = server;
    release(leaving);
  } else {
    worker_.servers.intern(server->reported);
    worker_.servers.intern(told_);
    worker_.servers.give(server);
  }
  update_attention();
}

/// The session ends: a server that stands between transactions is made as new and serves others. One
/// that does not is left to release().
void Session::leave_server(ServerPtr& held) {
  if (!held || held->place.group == nullptr || !held->usable() || !held->exchange.quiescent()) return;
  if (client_framer_.inside() || client_writes_ || held->framer.inside() || mid_message_ == held.get()) return;
  if (held == main_ && reading_back_) {
    held.reset();  // Whoever asks it goes on from here.
  } else if (held->answer == nullptr && !worker_.draining()) {
    if (!dirty_ && pin_.empty())
      give_back(held);
    else
      spawn(cleanse(std::exchange(held, nullptr)), "cleanse");
  }
}

/// Takes from a server what a client that has left made of it.
asio::awaitable<void> Session::cleanse(ServerPtr server) {
  const auto self = shared_from_this();
  wire::Bytes out;
  wire::encode_query(out, "DISCARD ALL");
  const auto answer = co_await ask(server, std::move(out), 1);
  if (answer.lost || !answer.errors.empty() || !server->usable() || server->place.group == nullptr) {
    release(server);
    co_return;
  }
  server->place.state.reset();
  server->place.tainted = false;
  server->statements = {};
  give_back(server);
}

}  // namespace pgjanus
