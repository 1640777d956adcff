// Servers of a session: opened, asked by us, given another, given back.

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto connect_limit = std::chrono::seconds{10};
constexpr auto aside_connect_limit = std::chrono::seconds{3};  // Its client waits, for a read.
constexpr auto ask_limit = std::chrono::seconds{10};

}  // namespace

std::vector<std::pair<std::string, std::string>> passed_on(const wire::StartupMessage& startup) {
  std::vector<std::pair<std::string, std::string>> parameters;
  for (const auto& [name, value] : startup.parameters) {
    if (name == "user" || name == "database" || name == "replication" || name.starts_with("_pq_."))
      continue;
    parameters.emplace_back(name, value);
  }
  return parameters;
}

/// Logs in to a server. The caller starts its relay.
asio::awaitable<std::optional<wire::ErrorFields>> Worker::open_server(
    Side side, std::string user, std::vector<std::pair<std::string, std::string>> startup,
    std::shared_ptr<Server>& out) {
  ServerLogin login{.parameters = {}, .startup = std::move(startup), .limit = connect_limit};
  try {
    login.parameters = shared.credentials.parameters(side, user);
  } catch (const SettingsError&) {
    co_return wire::make_error("FATAL", "57P03", "pgjanus cannot read its database URL");
  }
  if (view().primary && side != *view().primary) login.limit = aside_connect_limit;
  const auto seconds = login.parameters.get("connect_timeout");
  if (!seconds.empty() && seconds.size() < 5 &&
      seconds.find_first_not_of("0123456789") == std::string::npos && std::stoi(seconds) > 0)
    login.limit = std::chrono::seconds{std::stoi(seconds)};
  auto server = std::make_shared<Server>(io.get_executor(), pool, side);
  server->login_user = login.parameters.get("user");
  auto failure = co_await server->open(std::move(login), shared.server_tls);
  if (failure) co_return failure;
  out = std::move(server);
  co_return std::nullopt;
}

/// A server for this session alone. The caller starts its relay.
asio::awaitable<std::optional<wire::ErrorFields>> Session::lease(Side side, ServerPtr& out) {
  ServerPtr server;
  auto startup = passed_on(who_.startup);
  auto failure = co_await worker_.open_server(side, who_.user, std::move(startup), server);
  if (failure) co_return failure;
  if (ended_) {
    server->close();
    co_return wire::make_error("FATAL", "57P01", "the session has ended");
  }
  server->session = this;
  worker_.counters.servers[side].add();
  out = std::move(server);
  co_return std::nullopt;
}

/// Ends a server: its session state is the client's.
void Session::release(ServerPtr& server) {
  if (!server) return;
  const auto gone = std::exchange(server, nullptr);
  gone->session = nullptr;
  if (gone->usable() && !gone->exchange.running()) {
    wire::Bytes goodbye;
    wire::encode_terminate(goodbye);
    gone->stream->write_some(goodbye);
  }
  gone->close();
  if (gone->place.group != nullptr)
    worker_.servers.gone(*gone);
  else
    worker_.counters.servers[gone->side].sub();
}

/// Runs a statement of ours on an idle server of the session; its relay task collects the replies.
asio::awaitable<Answer> Session::ask(ServerPtr server, wire::Bytes question,
                                     std::size_t ready_owed) {
  Answer answer;
  server->place.unnamed = 0;  // A simple query destroys it.
  server->answer = &answer;
  server->answer_ready_owed = ready_owed;
  bool open = server->usable();
  if (renames(*server)) question = renamed(*server, question);
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
