#include "proxy/admin/show.hpp"

#include <nlohmann/json.hpp>

#include "proxy/engine/status_json.hpp"

namespace pgjanus::admin {
namespace {

using nlohmann::json;

std::optional<std::string> cell(const json& value) {
  if (value.is_null()) return std::nullopt;
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Reply with_document(const Command& command, const json& document) {
  Reply reply;
  reply.tag = command.tag;
  reply.columns = columns_of(command);
  reply.rows.push_back({document.dump(-1, ' ', false, json::error_handler_t::replace)});
  return reply;
}

/// An array of objects whose members are the columns; as JSON `{what: […]}`.
Reply with_list(const Command& command, const json& list) {
  if (command.json) return with_document(command, {{command.what, list}});
  Reply reply;
  reply.tag = command.tag;
  reply.columns = columns_of(command);
  for (const auto& element : list) {
    std::vector<std::optional<std::string>> row;
    for (const auto& column : reply.columns) {
      row.push_back(element.contains(column.name) ? cell(element[column.name]) : std::nullopt);
    }
    reply.rows.push_back(std::move(row));
  }
  return reply;
}

/// The members of an object as name, value; objects inside with dotted names, lists as JSON.
void add_dotted(Reply& reply, const std::string& prefix, const json& object) {
  for (const auto& [key, value] : object.items()) {
    const auto name = prefix.empty() ? key : prefix + '.' + key;
    if (value.is_object()) {
      add_dotted(reply, name, value);
    } else {
      reply.rows.push_back({name, cell(value)});
    }
  }
}

Reply with_names(const Command& command, const json& object) {
  if (command.json) return with_document(command, object);
  Reply reply;
  reply.tag = command.tag;
  reply.columns = columns_of(command);
  add_dotted(reply, {}, object);
  return reply;
}

}  // namespace

Reply show_status(const Command& command, const Status& status) {
  const auto document = to_json(status);
  if (command.what == "tables" || command.what == "members") {
    return with_list(command, document[command.what]);
  }
  if (command.what == "lag") {
    return with_names(command, {{"mirror", document["mirror"]}, {"now", now_utc()}});
  }
  if (command.json) return with_document(command, status_document(status));
  auto object = document;
  object["version"] = PGJANUS_VERSION;
  return with_names(command, object);
}

Reply show_settings(const Command& command, const Settings& settings) {
  if (command.what == "version") {
    if (command.json) return with_document(command, {{"version", PGJANUS_VERSION}});
    Reply reply;
    reply.tag = command.tag;
    reply.columns = columns_of(command);
    reply.rows.push_back({"pgjanus " PGJANUS_VERSION});
    return reply;
  }
  auto object = json::object();
  for (const auto& [name, value] : describe_settings(settings)) object[name] = value;
  return with_names(command, object);
}

Reply show_totals(const Command& command, const SessionTotals& totals) {
  json object = {{"clients", totals.clients},
                 {"held_clients", totals.held_clients},
                 {"commits_unacknowledged", totals.commits_unacknowledged},
                 {"auth_failures", totals.auth_failures},
                 {"client_bytes_in", totals.client_bytes_in},
                 {"client_bytes_out", totals.client_bytes_out}};
  for (const auto side : {Side::source, Side::target}) {
    const auto name = std::string{to_string(side)};
    object["servers"][name] = totals.servers[side];
    for (std::size_t kind = 0; kind < statement_kinds; ++kind) {
      const auto label = std::string{to_string(static_cast<StatementKind>(kind))};
      object["queries"][name][label] = totals.queries[side][kind];
    }
  }
  return with_names(command, object);
}

Reply show_servers(const Command& command, const ServersReport& report,
                   const SessionTotals& totals, const Status& status) {
  auto list = json::array();
  if (command.what == "pools") {
    for (const auto& pool : report.pools) {
      const auto primary = status.primary == pool.side;
      list.push_back({{"side", to_string(pool.side)},
                      {"role", !status.primary ? "unknown" : primary ? "primary" : "mirror"},
                      {"user", pool.user},
                      {"mode", "transaction"},
                      {"clients", pool.clients},
                      {"servers", pool.servers},
                      {"size", pool.size},
                      {"idle", pool.idle},
                      {"pinned", pool.pinned},
                      {"waiting", pool.waiting},
                      {"longest_wait_seconds", pool.longest_wait_seconds},
                      {"held", primary ? totals.held_clients : 0}});
    }
    if (report.by_transaction) return with_list(command, list);
    for (const auto side : {Side::source, Side::target}) {
      const auto primary = status.primary == side;
      list.push_back({{"side", to_string(side)},
                      {"role", !status.primary ? "unknown" : primary ? "primary" : "mirror"},
                      {"user", nullptr},
                      {"mode", "session"},
                      {"clients", primary ? totals.clients : 0},
                      {"servers", totals.servers[side]},
                      {"size", nullptr},
                      {"idle", 0},
                      {"pinned", nullptr},
                      {"waiting", 0},
                      {"longest_wait_seconds", 0},
                      {"held", primary ? totals.held_clients : 0}});
    }
    return with_list(command, list);
  }
  for (const auto& server : report.servers) {
    list.push_back({{"side", to_string(server.side)},
                    {"pid", server.pid},
                    {"client", server.client ? json(server.client) : json(nullptr)},
                    {"user", server.user},
                    {"application_name", server.application_name},
                    {"state", server.state},
                    {"connected_seconds", server.connected_seconds},
                    {"state_seconds", server.state_seconds}});
  }
  return with_list(command, list);
}

Reply show_clients(const Command& command, const std::vector<ClientReport>& clients) {
  auto list = json::array();
  for (const auto& client : clients) {
    list.push_back({{"client", client.client},
                    {"user", client.user},
                    {"application_name", client.application_name},
                    {"address", client.address},
                    {"state", client.state},
                    {"side", to_string(client.side)},
                    {"server_pid", client.server_pid ? json(client.server_pid) : json(nullptr)},
                    {"pinned", client.pinned.empty() ? json(nullptr) : json(client.pinned)},
                    {"connected_seconds", client.connected_seconds},
                    {"state_seconds", client.state_seconds}});
  }
  return with_list(command, list);
}

Reply show_engine(const Command& command, const Outcome& outcome) {
  const auto& document = outcome.document;
  if (outcome.ended != Ended::done) {
    return refusal(std::string{sqlstate_of(outcome.ended)}, outcome.message, outcome.hint);
  }
  Reply reply;
  reply.tag = command.tag;
  const auto shaped = document.is_object() && document.contains("columns") &&
                      document.contains("rows");
  if (command.json || !shaped) {
    auto json_command = command;
    json_command.json = true;
    if (!shaped) return with_document(json_command, document);
    auto list = json::array();  // For machines: objects, as everywhere else.
    for (const auto& row : document["rows"]) {
      auto object = json::object();
      for (std::size_t i = 0; i < row.size() && i < document["columns"].size(); ++i) {
        object[document["columns"][i].get<std::string>()] = row[i];
      }
      list.push_back(std::move(object));
    }
    return with_document(json_command, {{command.what, list}});
  }
  for (const auto& column : document["columns"]) {
    reply.columns.push_back({column.get<std::string>(), 25});
  }
  for (const auto& values : document["rows"]) {
    std::vector<std::optional<std::string>> row;
    for (const auto& value : values) row.push_back(cell(value));
    row.resize(reply.columns.size());
    reply.rows.push_back(std::move(row));
  }
  return reply;
}

Reply show_help(const Command& command) {
  Reply reply;
  reply.tag = command.tag;
  if (command.json) {
    auto list = json::array();
    for (const auto& [text, what] : help_lines()) list.push_back({{"command", text}, {"what", what}});
    return with_document(command, {{"commands", list}});
  }
  reply.columns = columns_of(command);
  for (const auto& [text, what] : help_lines()) reply.rows.push_back({text, what});
  return reply;
}

}  // namespace pgjanus::admin
