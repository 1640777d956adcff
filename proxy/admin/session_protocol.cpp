// What the messages of an admin connection mean (PostgreSQL manual, "Message Flow").

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/admin/session.hpp"
#include "proxy/log.hpp"

namespace pgjanus::admin {
namespace {

namespace asio = boost::asio;
using wire::Backend;
using wire::Frontend;

constexpr std::size_t statements_max = 1'000;  // Prepared statements and portals, each.
constexpr std::size_t out_bytes_max = 16 << 20;

}  // namespace

asio::awaitable<void> AdminSession::dispatch() {
  while (!closed_) {
    if (messages_.empty()) {
      flush();
      if (gone_ && out_.empty() && writing_.empty()) co_return;
      co_await wait_for_change();
      continue;
    }
    auto message = std::move(messages_.front());
    messages_.pop_front();
    wake();  // The reader may wait for room.
    if (message.type == static_cast<std::uint8_t>(Frontend::query)) {
      const auto text = wire::decode_query(message.body);
      skip_to_sync_ = false;
      if (text) {
        std::string query{*text};
        co_await simple_query(std::move(query));
      } else {
        refuse("08P01", "malformed Query");
      }
      send_ready();
    } else {
      co_await extended(std::move(message));
    }
  }
}

asio::awaitable<void> AdminSession::simple_query(std::string text) {
  auto parsed = parse_commands(text);
  if (const auto* error = std::get_if<SyntaxError>(&parsed)) {
    refuse(error->sqlstate, error->message, error->hint);
    co_return;
  }
  auto& commands = std::get<std::vector<Command>>(parsed);
  if (commands.empty()) wire::encode_empty(out_, Backend::empty_query_response);
  for (auto& command : commands) {
    auto reply = co_await run_command(std::move(command));
    if (closed_) co_return;
    const auto failed = reply.ended != Ended::done;
    // Findings and differences come as a result of their own, so that psql shows them before the
    // error; a driver that looks only at the last result sees the error.
    if (!failed || !reply.rows.empty()) {
      send_rows(reply, WithColumns::yes);
      wire::encode_command_complete(out_, reply.tag);
    }
    if (!failed) continue;
    send_error("ERROR", reply);
    co_return;
  }
}

/// Runs a command and waits for its end, a cancel, or the client's going; then the command goes on
/// without us. A flip is waited for even when cancelled: only the engine knows whether it was
/// decided.
asio::awaitable<Reply> AdminSession::run_command(Command command) {
  cancelled_ = false;
  if (command.verb == Verb::driver && command.transaction) {
    transaction_ = static_cast<wire::TransactionStatus>(command.transaction);
  }
  const auto running = std::make_shared<Running>();
  running_ = running;
  const auto is_flip = command.verb == Verb::flip;
  Operations::Caller caller;
  caller.peer = peer_;
  caller.abandoned = [running] { return running->abandoned; };
  caller.progress = [weak = weak_from_this(), running](const std::string& line) {
    const auto session = weak.lock();
    if (session && session->running_ == running && !session->gone_) session->send_notice(line);
  };
  asio::co_spawn(socket_.get_executor(), execute(*parts_, std::move(command), std::move(caller)),
                 [weak = weak_from_this(), parts = parts_, running](std::exception_ptr failure, Reply reply) {
                   running->reply =
                       failure ? refusal("XX000", "the command failed", {}) : std::move(reply);
                   if (const auto session = weak.lock()) session->wake();
                 });
  flush();
  while (!running->reply && !closed_ && !gone_ && !(cancelled_ && !is_flip)) {
    co_await wait_for_change();
  }
  running_.reset();
  if (running->reply) co_return std::move(*running->reply);
  co_return refusal("57014", "no longer waiting for the command",
                    "it goes on in the proxy; SHOW STATUS tells how far it is");
}

asio::awaitable<void> AdminSession::extended(Message message) {
  const auto type = static_cast<Frontend>(message.type);
  if (type == Frontend::sync) {
    skip_to_sync_ = false;
    send_ready();
    co_return;
  }
  if (skip_to_sync_) co_return;
  switch (type) {
    case Frontend::parse: parse(message); break;
    case Frontend::bind: bind(message); break;
    case Frontend::close: close_target(message); break;
    case Frontend::flush: flush(); break;
    case Frontend::describe: {
      const auto target = wire::decode_target(message.body);
      if (target) {
        std::string name{target->name};
        co_await describe_target(target->kind, std::move(name));
      } else {
        refuse("08P01", "malformed Describe");
      }
      break;
    }
    case Frontend::execute: {
      const auto execute = wire::decode_execute(message.body);
      if (execute) {
        std::string portal{execute->portal};
        co_await execute_portal(std::move(portal));
      } else {
        refuse("08P01", "malformed Execute");
      }
      break;
    }
    default: refuse("08P01", "this message has no place on the admin socket");
  }
}

void AdminSession::parse(const Message& message) {
  const auto view = wire::decode_parse(message.body);
  if (!view) return refuse("08P01", "malformed Parse");
  auto parsed = parse_commands(view->query);
  if (const auto* error = std::get_if<SyntaxError>(&parsed)) {
    return refuse(error->sqlstate, error->message, error->hint);
  }
  auto& commands = std::get<std::vector<Command>>(parsed);
  if (commands.size() > 1) return refuse("42601", "one command at a time in a prepared statement");
  if (!view->parameter_types.empty()) {
    return refuse("0A000", "commands of the admin socket take no parameters",
                  "write the values into the text");
  }
  if (statements_.size() >= statements_max) {
    return refuse("53000", "too many prepared statements on this connection");
  }
  auto command = commands.empty() ? std::nullopt : std::optional{std::move(commands.front())};
  statements_.insert_or_assign(std::string{view->statement}, std::move(command));
  wire::encode_empty(out_, Backend::parse_complete);
}

void AdminSession::bind(const Message& message) {
  const auto view = wire::decode_bind_names(message.body);
  if (!view) return refuse("08P01", "malformed Bind");
  const auto statement = statements_.find(std::string{view->statement});
  if (statement == statements_.end()) return refuse("26000", "no such prepared statement");
  if (portals_.size() >= statements_max) return refuse("53000", "too many portals");
  portals_.insert_or_assign(std::string{view->portal}, statement->second);
  wire::encode_empty(out_, Backend::bind_complete);
}

void AdminSession::close_target(const Message& message) {
  const auto target = wire::decode_target(message.body);
  if (!target) return refuse("08P01", "malformed Close");
  (target->kind == 'S' ? statements_ : portals_).erase(std::string{target->name});
  wire::encode_empty(out_, Backend::close_complete);
}

asio::awaitable<void> AdminSession::describe_target(std::uint8_t kind, std::string name) {
  const auto& known = kind == 'S' ? statements_ : portals_;
  const auto found = known.find(name);
  if (found == known.end()) {
    refuse(kind == 'S' ? "26000" : "34000", "no such statement or portal");
    co_return;
  }
  std::vector<wire::Column> columns;
  if (found->second) {
    auto described = co_await describe(*parts_, *found->second);
    columns = std::move(described);
  }
  if (kind == 'S') {  // ParameterDescription of no parameters.
    wire::MessageWriter{out_}
        .begin(static_cast<std::uint8_t>(Backend::parameter_description))
        .int16(0)
        .end();
  }
  if (columns.empty()) {
    wire::encode_empty(out_, Backend::no_data);
  } else {
    wire::encode_row_description(out_, columns);
  }
}

asio::awaitable<void> AdminSession::execute_portal(std::string name) {
  const auto portal = portals_.find(name);
  if (portal == portals_.end()) {
    refuse("34000", "no such portal");
    co_return;
  }
  if (!portal->second) {
    wire::encode_empty(out_, Backend::empty_query_response);
    co_return;
  }
  // A row limit is not kept to: an answer is small, and Execute may return more at once only by
  // suspending, which no driver asks for here.
  auto reply = co_await run_command(*portal->second);
  if (closed_) co_return;
  if (reply.ended != Ended::done) {
    send_error("ERROR", reply);
    co_return;
  }
  send_rows(reply, WithColumns::no);
  wire::encode_command_complete(out_, reply.tag);
}

void AdminSession::send_rows(const Reply& reply, WithColumns with_columns) {
  if (!reply.notice.empty()) send_notice(reply.notice);
  if (reply.columns.empty()) return;
  if (with_columns == WithColumns::yes) wire::encode_row_description(out_, reply.columns);
  for (const auto& row : reply.rows) wire::encode_data_row(out_, row);
}

void AdminSession::send_error(std::string_view severity, const Reply& reply) {
  wire::encode_error_response(
      out_, wire::make_error(severity, reply.sqlstate, reply.message, {}, reply.hint));
  skip_to_sync_ = true;  // Until Sync, or the next Query.
  flush();
}

void AdminSession::refuse(std::string sqlstate, std::string message, std::string hint) {
  send_error("ERROR", refusal(std::move(sqlstate), std::move(message), std::move(hint)));
}

void AdminSession::send_notice(std::string_view text) {
  // Progress is worth nothing to a client that does not read.
  if (out_.size() > out_bytes_max / 2) return;
  wire::encode_notice_response(out_, wire::make_error("NOTICE", "00000", text));
  flush();
}

void AdminSession::send_ready() {
  wire::encode_ready_for_query(out_, transaction_);
  flush();
}

}  // namespace pgjanus::admin
