// Servers of a session: opened, asked by us, given another, given back.

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto connect_limit = std::chrono::seconds{10};
constexpr auto aside_connect_limit = std::chrono::seconds{3};  // Its client waits, for a read.
constexpr auto ask_limit = std::chrono::seconds{10};

/// Start-up parameters of the client that its servers get too.
std::vector<std::pair<std::string, std::string>> passed_on(const wire::StartupMessage& startup) {
  std::vector<std::pair<std::string, std::string>> parameters;
  for (const auto& [name, value] : startup.parameters) {
    if (name == "user" || name == "database" || name == "replication" || name.starts_with("_pq_."))
      continue;
    parameters.emplace_back(name, value);
  }
  return parameters;
}

}  // namespace

/// Opens a server for this session. The caller starts its relay.
asio::awaitable<std::optional<wire::ErrorFields>> Session::lease(Side side, ServerPtr& out) {
  ServerLogin login{.parameters = {}, .startup = passed_on(who_.startup), .limit = connect_limit};
  try {
    login.parameters = worker_.shared.credentials.parameters(side, who_.user);
  } catch (const SettingsError&) {
    co_return wire::make_error("FATAL", "57P03", "pgjanus cannot read its database URL");
  }
  if (view().primary && side != *view().primary) login.limit = aside_connect_limit;
  const auto seconds = login.parameters.get("connect_timeout");
  if (!seconds.empty() && seconds.size() < 5 &&
      seconds.find_first_not_of("0123456789") == std::string::npos && std::stoi(seconds) > 0)
    login.limit = std::chrono::seconds{std::stoi(seconds)};
  auto server = std::make_shared<Server>(worker_.io.get_executor(), worker_.pool, side);
  server->login_user = login.parameters.get("user");
  auto failure = co_await server->open(std::move(login), worker_.shared.server_tls);
  if (failure) co_return failure;
  if (ended_) {
    server->close();
    co_return wire::make_error("FATAL", "57P01", "the session has ended");
  }
  worker_.counters.servers[side].add();
  out = std::move(server);
  co_return std::nullopt;
}

/// Gives a server back: it is closed, since its session state is the client's.
void Session::release(ServerPtr& server) {
  if (!server) return;
  const auto gone = std::exchange(server, nullptr);
  if (gone->usable() && !gone->exchange.running()) {
    wire::Bytes goodbye;
    wire::encode_terminate(goodbye);
    gone->stream->write_some(goodbye);
  }
  gone->close();
  worker_.counters.servers[gone->side].sub();
}

/// Runs a statement of ours on an idle server of the session; its relay task collects the replies.
asio::awaitable<Answer> Session::ask(ServerPtr server, wire::Bytes question,
                                     std::size_t ready_owed) {
  Answer answer;
  server->answer = &answer;
  server->answer_ready_owed = ready_owed;
  bool open = server->usable();
  if (open) open = co_await server->stream->write_all(question);
  const auto deadline = Clock::now() + ask_limit;
  while (open && server->answer != nullptr && Clock::now() < deadline)
    co_await server->answered.wait_until(deadline);
  if (server->answer != nullptr) {
    server->answer = nullptr;
    answer.lost = true;
    server->close();
  }
  co_return answer;
}

}  // namespace pgjanus
