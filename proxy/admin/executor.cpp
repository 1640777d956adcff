#include "proxy/admin/executor.hpp"

#include <nlohmann/json.hpp>

#include "proxy/admin/show.hpp"
#include "proxy/log.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::admin {
namespace {

namespace asio = boost::asio;

/// The word as the contract writes it.
std::string upper(std::string word) {
  for (char& c : word) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return word;
}

/// The verbs of the engine. References in `parts` outlive every operation.
Operations::Awaited begin(const Parts& parts, const Command& command, Operations::Caller caller) {
  auto& operations = parts.operations;
  switch (command.verb) {
    case Verb::check: return operations.check(std::move(caller));
    case Verb::prepare: return operations.prepare(std::move(caller), command.with_schema);
    case Verb::load: return operations.load(std::move(caller), command.tables);
    case Verb::migrate: return operations.migrate(std::move(caller));
    case Verb::verify: return operations.verify(std::move(caller), command.tables, false);
    case Verb::repair: return operations.verify(std::move(caller), command.tables, true);
    case Verb::reads: return operations.reads(std::move(caller), command.reads);
    case Verb::flip: return operations.flip(std::move(caller), command.flip);
    case Verb::pause: return operations.pause(std::move(caller), command.timeout);
    case Verb::resume: return operations.resume(std::move(caller));
    case Verb::retry: return operations.retry(std::move(caller));
    case Verb::skip: return operations.skip(std::move(caller));
    case Verb::finish:
      return operations.finish(std::move(caller), command.confirm, command.unfence);
    case Verb::abort: return operations.abort(std::move(caller), command.confirm);
    case Verb::stop: return operations.stop_work(std::move(caller), command.load);
    case Verb::reload:
    case Verb::shutdown:
    case Verb::show:
    case Verb::help:
    case Verb::driver: break;
  }
  return operations.show(upper(command.what));
}

bool of_engine(const std::string& what) {
  return what == "verify" || what == "differences" || what == "events";
}

asio::awaitable<Reply> show(const Parts& parts, Command command) {
  const auto& what = command.what;
  if (of_engine(what)) {
    auto word = upper(what);
    const auto outcome = co_await parts.operations.show(std::move(word));
    co_return show_engine(command, outcome);
  }
  if (what == "config" || what == "version") co_return show_settings(command, parts.settings);
  const auto totals = parts.sessions ? parts.sessions->totals() : SessionTotals{};
  if (what == "stats") co_return show_totals(command, totals);
  if (what == "clients") {
    std::vector<ClientReport> clients;
    if (parts.sessions) {
      auto reported = co_await parts.sessions->clients();
      clients = std::move(reported);
    }
    co_return show_clients(command, clients);
  }
  if (what == "servers" || what == "pools") {
    ServersReport servers;
    if (parts.sessions) {
      auto reported = co_await parts.sessions->servers();
      servers = std::move(reported);
    }
    co_return show_servers(command, servers, totals, parts.operations.status());
  }
  co_return show_status(command, parts.operations.status());
}

Reply driver_reply(const Command& command) {
  Reply reply;
  reply.tag = command.tag;
  reply.columns = columns_of(command);
  if (command.value) reply.rows.push_back({command.value});
  return reply;
}

std::string_view name_of(Ended ended) {
  switch (ended) {
    case Ended::done: return "done";
    case Ended::error: return "error";
    case Ended::not_ready: return "not_ready";
    case Ended::differences: return "differences";
    case Ended::refused: return "refused";
    case Ended::timed_out: return "timed_out";
    case Ended::in_doubt: return "in_doubt";
  }
  return "error";
}

asio::awaitable<Reply> run_verb(const Parts& parts, Command command, Operations::Caller caller) {
  const auto peer = caller.peer;
  Outcome outcome;
  if (command.verb == Verb::reload) {
    outcome = parts.reload ? parts.reload() : Outcome{};
  } else if (command.verb == Verb::shutdown) {
    if (parts.shutdown) parts.shutdown();
    outcome.message = "draining; the proxy ends when its clients have gone or the limit is reached";
  } else {
    auto running = begin(parts, command, std::move(caller));
    auto ended = co_await std::move(running);
    outcome = std::move(ended);
  }
  // The engine logs and audits its verbs itself; the other two are ours to log.
  const auto ours = command.verb == Verb::reload || command.verb == Verb::shutdown;
  log_event(ours ? LogLevel::info : LogLevel::debug, "admin_command",
            {{"command", command.tag},
             {"peer", peer},
             {"outcome", name_of(outcome.ended)},
             {"message", outcome.message}});
  co_return reply_of(command, outcome);
}

}  // namespace

asio::awaitable<Reply> execute(const Parts& parts, Command command, Operations::Caller caller) {
  std::string problem, sqlstate = "XX000", hint;
  const auto tag = command.tag;
  try {
    switch (command.verb) {
      case Verb::driver: co_return driver_reply(command);
      case Verb::help: co_return show_help(command);
      case Verb::show: {
        auto reply = co_await show(parts, std::move(command));
        co_return reply;
      }
      default: {
        auto reply = co_await run_verb(parts, std::move(command), std::move(caller));
        co_return reply;
      }
    }
  } catch (const pg::Error& error) {
    problem = error.message.empty() ? error.what() : error.message;
    hint = error.hint;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  log_event(LogLevel::error, "admin_command_failed", {{"command", tag}, {"error", problem}});
  co_return refusal(sqlstate, problem, hint);
}

asio::awaitable<std::vector<wire::Column>> describe(const Parts& parts, Command command) {
  if (command.verb != Verb::show || command.json || !of_engine(command.what)) {
    co_return columns_of(command);
  }
  // Only the engine knows these columns; what it shows is cheap.
  // A named caller: GCC 12 frees a braced temporary in an argument twice.
  Operations::Caller nobody;
  auto reply = co_await execute(parts, std::move(command), std::move(nobody));
  co_return reply.columns;
}

}  // namespace pgjanus::admin
