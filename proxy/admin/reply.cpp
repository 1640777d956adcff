#include "proxy/admin/reply.hpp"

#include <nlohmann/json.hpp>

namespace pgjanus::admin {
namespace {

using nlohmann::json;

constexpr std::int32_t text_oid = 25, json_oid = 114;

std::vector<wire::Column> text_columns(std::initializer_list<const char*> names) {
  std::vector<wire::Column> columns;
  for (const auto* name : names) columns.push_back({name, text_oid});
  return columns;
}

/// A cell: text as it is, null as NULL, lists joined, anything else as JSON.
std::optional<std::string> cell(const json& value) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const auto& element : value) {
    if (!text.empty()) text += ", ";
    text += element.is_string() ? element.get<std::string>() : element.dump();
  }
  return text;
}

/// Rows out of an array of objects: one column for each name.
void add_rows(Reply& reply, const json& list) {
  for (const auto& element : list) {
    std::vector<std::optional<std::string>> row;
    for (const auto& column : reply.columns) {
      row.push_back(element.contains(column.name) ? cell(element[column.name]) : std::nullopt);
    }
    reply.rows.push_back(std::move(row));
  }
}

/// The array of the document that a verb's table shows.
const char* list_of(const Command& command) {
  switch (command.verb) {
    case Verb::check: return "findings";
    case Verb::verify:
    case Verb::repair: return "tables";
    case Verb::flip: return command.flip.dry_run ? "guards" : nullptr;
    default: return nullptr;
  }
}

}  // namespace

std::vector<wire::Column> columns_of(const Command& command) {
  if (command.verb == Verb::driver) {
    if (!command.value) return {};
    return {{command.what, text_oid}};
  }
  if (command.json) return {{"json", json_oid}};
  switch (command.verb) {
    case Verb::check: return text_columns({"level", "id", "subject", "detail", "remedy"});
    case Verb::verify:
    case Verb::repair: return text_columns({"name", "rows", "differences"});
    case Verb::flip:
      if (command.flip.dry_run) {
        return text_columns({"name", "ok", "skippable", "detail", "remedy"});
      }
      return text_columns({"result"});
    case Verb::help: return text_columns({"command", "what it does"});
    case Verb::show: break;
    default: return text_columns({"result"});
  }
  const auto& what = command.what;
  if (what == "status" || what == "config" || what == "stats" || what == "lag") {
    return text_columns({"name", "value"});
  }
  if (what == "version") return text_columns({"version"});
  if (what == "tables") {
    return text_columns({"name", "state", "rows", "differences", "bytes_done", "bytes_total",
                         "detail"});
  }
  if (what == "members") {
    return text_columns({"name", "version", "leader", "clients", "seen_at"});
  }
  if (what == "clients") {
    return text_columns({"client", "user", "application_name", "address", "state", "side",
                         "server_pid", "pinned", "connected_seconds", "state_seconds"});
  }
  if (what == "servers") {
    return text_columns({"side", "pid", "client", "user", "application_name", "state",
                         "connected_seconds", "state_seconds"});
  }
  if (what == "pools") {
    return text_columns({"side", "role", "user", "mode", "clients", "servers", "size", "idle",
                         "pinned", "waiting", "longest_wait_seconds", "held"});
  }
  return {};
}

Reply reply_of(const Command& command, const Outcome& outcome) {
  Reply reply;
  reply.ended = outcome.ended;
  reply.sqlstate = sqlstate_of(outcome.ended);
  reply.message = outcome.message;
  reply.hint = outcome.hint;
  reply.tag = command.tag;
  reply.columns = columns_of(command);
  const auto failed = outcome.ended != Ended::done;
  if (command.json) {
    auto document = outcome.document;
    if (failed && document.is_null()) {
      reply.columns.clear();
      return reply;
    }
    if (document.is_null()) document = json::object();
    if (document.is_object() && !document.contains("message")) {
      document["message"] = outcome.message;
    }
    reply.rows.push_back({document.dump(-1, ' ', false, json::error_handler_t::replace)});
    return reply;
  }
  const auto* list = list_of(command);
  if (list && outcome.document.is_object() && outcome.document.contains(list)) {
    add_rows(reply, outcome.document[list]);
    if (!failed) reply.notice = outcome.message;
  } else if (failed) {
    reply.columns.clear();
  } else if (reply.columns.size() == 1) {
    reply.rows.push_back({outcome.message});
  } else {
    reply.notice = outcome.message;
  }
  return reply;
}

Reply refusal(std::string sqlstate, std::string message, std::string hint) {
  Reply reply;
  reply.ended = Ended::error;
  reply.sqlstate = std::move(sqlstate);
  reply.message = std::move(message);
  reply.hint = std::move(hint);
  return reply;
}

}  // namespace pgjanus::admin
