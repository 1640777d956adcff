// Transaction pooling: a session gives its server back at a transaction boundary and takes one
// again at the next message. README.md, "Transaction pooling".

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto aside_wait = std::chrono::seconds{1};     // For a read: then the primary serves it.
constexpr auto aside_refused_for = std::chrono::seconds{5};  // As for sessions that keep a server.
constexpr std::string_view no_server = "no server connection became free in time";

/// As the server cleans it (pg_clean_ascii of postinit.c).
std::string clean_ascii(std::string value) {
  for (auto& c : value)
    if (c < 32 || c > 126) c = '?';
  return value;
}

}  // namespace

bool is_application_name(std::string_view name) noexcept {
  constexpr std::string_view wanted = "application_name";
  return std::equal(name.begin(), name.end(), wanted.begin(), wanted.end(),
                    [](char one, char other) { return (one | 0x20) == (other | 0x20); });
}

double Session::waited_seconds() const noexcept {
  return std::chrono::duration<double>(Clock::now() - waits_since_).count();
}

std::optional<ServerReport> Session::server_report() const {
  const auto& server = main_ ? main_ : aside_;
  if (!server) return std::nullopt;
  const auto client = client_report();
  const auto since = server->place.group != nullptr ? server->place.opened_at : connected_at_;
  return ServerReport{.side = server->side,
                      .pid = server->key.process_id,
                      .client = number_,
                      .user = client.user,
                      .application_name = client.application_name,
                      .state = client.state,
                      .connected_seconds = std::chrono::duration<double>(Clock::now() - since).count(),
                      .state_seconds = client.state_seconds};
}

/// A login in transaction pooling: what a server would tell is known from another one's login, or
/// one is asked for, so that what a server refuses is refused here too.
asio::awaitable<std::optional<wire::ErrorFields>> Session::begin_pooled() {
  identity_ = worker_.servers.identity(who_.user, who_.startup);
  SessionState first;
  std::optional<std::string> name;  // The last one counts, as in a server.
  for (const auto& [parameter, value] : who_.startup.parameters)
    if (is_application_name(parameter)) name = clean_ascii(value);
  if (name) first.settings.emplace("application_name", *name);
  first_state_ = state_ = worker_.servers.state(std::move(first));
  while (!ended_ && client_.is_open()) {
    const auto side = view().primary.value_or(Side::source);
    const auto* known = worker_.servers.welcome(side, *identity_);
    if (known != nullptr) {
      told_ = *known;
      if (name) told_.set("application_name", *name);
      worker_.servers.intern(told_);
      stop_waiting();
      update_attention();
      co_return std::nullopt;
    }
    if (refusal_) co_return std::exchange(refusal_, std::nullopt);
    if (granted_) {
      give_back(granted_);
      continue;
    }
    want_server(side);
    const auto limit = waits_since_ + worker_.servers.limits().wait;
    if (waiting_ && Clock::now() >= limit) {
      auto error = wire::make_error("FATAL", "53300", no_server,
                                    worker_.servers.describe(side, who_.user));
      co_return error;
    }
    if (waiting_) co_await wait_at_gate(limit);
  }
  co_return wire::make_error("FATAL", "08006", "client left");
}

void Session::want_server(Side side) {
  if (waiting_ && waits_for_ == side) return;
  stop_waiting();
  waiting_ = true;
  waits_for_ = side;
  waits_since_ = Clock::now();
  worker_.counters.waiting_clients.add();
  worker_.servers.request(*this, side);
}

void Session::granted(ServerPtr server) {
  PROXY_ASSERT(waiting_ && !granted_);
  waiting_ = false;
  worker_.counters.waiting_clients.sub();
  server->session = this;
  granted_ = std::move(server);
  gate_news();
  fence_.notify();
}

void Session::refused(wire::ErrorFields why) {
  waiting_ = false;
  worker_.counters.waiting_clients.sub();
  refusal_ = std::move(why);
  gate_news();
  fence_.notify();
}

/// Leaves the queue; what it was given meanwhile goes back unused.
void Session::stop_waiting() {
  if (waiting_) {
    waiting_ = false;
    worker_.counters.waiting_clients.sub();
    worker_.servers.forget(*this);
  }
  refusal_.reset();
  if (!granted_) return;
  const auto server = std::exchange(granted_, nullptr);
  worker_.servers.give(server);
}

/// The message at the front needs a server of the primary: waits a while for one. The gate asks
/// again afterwards. False: the session ends.
asio::awaitable<bool> Session::next_server() {
  if (refusal_) {
    const bool open = co_await answer_refused();
    co_return open;
  }
  if (granted_ && granted_->side == *view().primary) {
    auto server = std::exchange(granted_, nullptr);
    if (suits(*server) && server->usable())
      use(std::move(server));
    else
      co_await adopt(std::move(server));
    co_return !ended_;
  }
  want_server(*view().primary);
  if (granted_ || refusal_) co_return true;
  const auto limit = waits_since_ + worker_.servers.limits().wait;
  if (Clock::now() >= limit) {
    auto detail = worker_.servers.describe(waits_for_, who_.user);
    stop_waiting();
    refusal_ = wire::make_error("ERROR", "53300", no_server, detail,
                                "Raise [pool] size, or end transactions sooner.");
    co_return true;
  }
  co_await wait_at_gate(limit);
  co_return true;
}

/// A server that suits() becomes main_.
void Session::use(ServerPtr server) {
  main_ = active_ = std::move(server);
  dirty_ = false;
  update_attention();
}

/// A server of the pool becomes main_. Whoever calls looks whether it did.
asio::awaitable<void> Session::adopt(ServerPtr server) {
  main_ = active_ = server;
  working_ = true;
  attention_ = true;
  const auto problem = co_await take_over(server);
  if (!ended_ && server->usable() && problem.empty() && !told_.shares(server->reported))
    co_await tell_parameters(server);
  if (ended_) co_return;
  working_ = false;
  if (!server->usable() || !problem.empty()) {
    const bool refused = server->usable();
    release(main_);  // Of one that is gone another takes the place.
    active_.reset();
    if (refused) {
      auto error = wire::make_error("FATAL", "57P01", "the session's settings were refused: " + problem,
                                    "It stood between transactions: nothing was lost.", "Reconnect.");
      co_await end_with(std::move(error));
      co_return;
    }
  }
  dirty_ = false;
  update_attention();
  gate_news();
  worker_.settled();
  if (drain_) drain();
}

/// Makes the settings of an idle server those of this session. Empty on success.
asio::awaitable<std::string> Session::take_over(ServerPtr server) {
  const bool strange = server->place.tainted && server->place.last_client != number_;
  const auto wanted = state_;
  if (server->place.state == wanted && !strange) co_return std::string{};
  auto problem = co_await become(server, *wanted);
  server->place.state = wanted;
  server->place.tainted = server->place.tainted && !strange;
  worker_.servers.intern(server->reported);
  co_return problem;
}

/// The read at the front needs a server of the other side: waits a moment for one. The gate asks
/// again afterwards; active_ is set when the read goes there.
asio::awaitable<void> Session::next_aside() {
  const auto side = other(*view().primary);
  const auto limit = waits_since_ + aside_wait;
  if (granted_ && granted_->side == side) {
    aside_ = std::exchange(granted_, nullptr);
    const auto server = aside_;
    working_ = true;
    attention_ = true;
    const auto problem = co_await take_over(server);
    working_ = false;
    if (ended_) co_return;
    const bool wanted = view().primary && side != *view().primary && !must_wait();
    if (!server->usable() || !problem.empty()) {
      release(aside_);
      aside_refused_until_ = Clock::now() + aside_refused_for;
    } else if (wanted) {
      send_aside();
    } else {
      give_back(aside_);
    }
    update_attention();
    gate_news();
    co_return;
  }
  if (refusal_ || (waiting_ && waits_for_ == side && Clock::now() >= limit)) {
    stop_waiting();
    aside_refused_until_ = Clock::now() + aside_refused_for;
    co_return;
  }
  want_server(side);
  if (waiting_) co_await wait_at_gate(waits_since_ + aside_wait);
}

/// A server of the primary for a batch of the client's that runs again. False: the client has been
/// told why there is none, or the session ends.
asio::awaitable<bool> Session::wait_for_primary() {
  const auto limit = Clock::now() + worker_.servers.limits().wait;
  while (!ended_ && client_.is_open() && !main_) {
    const bool open = view().held == Held::none && view().primary;
    if (open && granted_ && granted_->side == *view().primary) {
      auto server = std::exchange(granted_, nullptr);
      co_await adopt(std::move(server));
      working_ = !ended_;
      continue;
    }
    if (open && !refusal_) want_server(*view().primary);
    if (open && granted_) continue;
    if (!refusal_ && Clock::now() < limit) {
      co_await fence_.wait_until(limit);
      continue;
    }
    auto error = refusal_.value_or(wire::make_error("ERROR", "53300", no_server));
    stop_waiting();
    for (auto& [code, text] : error.fields)
      if (code == 'S' || code == 'V') text = "ERROR";
    wire::Bytes out;
    wire::encode_error_response(out, error);
    wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
    const bool sent = co_await to_client(out);
    static_cast<void>(sent);
    co_return false;
  }
  co_return !ended_ && main_;
}

/// Gives an idle server of the pool this state. Empty on success, otherwise why not.
asio::awaitable<std::string> Session::become(ServerPtr server, SessionState wanted) {
  SessionState present;
  if (server->place.state) present = *server->place.state;
  wire::Bytes out;
  std::size_t queries = 0;
  if (server->place.tainted) {
    // What its last client ran may have set what we have no name for.
    wire::encode_query(out, "RESET ALL");
    ++queries;
    present.settings.clear();
  }
  for (const auto& query : settings_change(present, wanted)) {
    wire::encode_query(out, query);
    ++queries;
  }
  if (queries == 0) co_return std::string{};
  const auto answer = co_await ask(server, std::move(out), queries);
  if (!answer.errors.empty()) co_return std::string{answer.errors.front().message()};
  co_return std::string{};
}

/// 53300 or what the server said, for the statement that waited; it never reached a server.
asio::awaitable<bool> Session::answer_refused() {
  auto error = std::exchange(refusal_, std::nullopt).value_or(wire::ErrorFields{});
  // The connection stands: only this statement fails.
  for (auto& [code, text] : error.fields)
    if (code == 'S' || code == 'V') text = "ERROR";
  const bool open = co_await answer_instead(std::move(error));
  co_return open;
}

}  // namespace pgjanus
