#include "proxy/engine/status_json.hpp"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

namespace pgjanus {
namespace {

using nlohmann::json;

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json tables_json(const std::vector<TableStatus>& tables) {
  auto list = json::array();
  for (const auto& table : tables) {
    list.push_back({{"name", table.name},
                    {"state", to_string(table.state)},
                    {"rows", or_null(table.rows)},
                    {"differences", or_null(table.differences)},
                    {"bytes_done", or_null(table.bytes_done)},
                    {"bytes_total", or_null(table.bytes_total)},
                    {"detail", text_or_null(table.detail)}});
  }
  return list;
}

json workers_json(const std::vector<WorkerStatus>& workers) {
  auto list = json::array();
  for (const auto& worker : workers) {
    list.push_back({{"worker", worker.worker},
                    {"what", worker.what},
                    {"rows", worker.rows},
                    {"bytes", worker.bytes},
                    {"seconds", worker.seconds}});
  }
  return list;
}

json waiting_json(const std::vector<Waiting>& reasons) {
  auto list = json::array();
  for (const auto& waiting : reasons) {
    list.push_back({{"what", waiting.what},
                    {"side", text_or_null(waiting.side)},
                    {"pid", waiting.pid ? json(waiting.pid) : json(nullptr)},
                    {"user", text_or_null(waiting.user)},
                    {"application_name", text_or_null(waiting.application_name)},
                    {"seconds", waiting.seconds},
                    {"detail", text_or_null(waiting.detail)}});
  }
  return list;
}

json members_json(const std::vector<MemberStatus>& members) {
  auto list = json::array();
  for (const auto& member : members) {
    list.push_back({{"name", member.name},
                    {"version", member.version},
                    {"leader", member.leader},
                    {"clients", member.clients},
                    {"seen_at", text_or_null(member.seen_at)}});
  }
  return list;
}

json flip_json(const std::optional<LastFlip>& flip) {
  if (!flip) return nullptr;
  return {{"to", to_string(flip->to)},
          {"at", text_or_null(flip->at)},
          {"blackout_ms", or_null(flip->blackout_ms)},
          {"forced", flip->forced}};
}

json reads_json(const Status& status) {
  json percent = nullptr;
  if (status.reads.kind == ReadsPolicy::Kind::percent) {
    percent = status.reads.target_percent;
  } else if (status.primary) {
    percent = target_percent(status.reads, *status.primary);
  }
  return {{"side", to_string(status.reads)}, {"target_percent", percent}};
}

}  // namespace

json verify_json(const Status& status) {
  json verify{{"at", or_null(status.verify_at)},
              {"tables", or_null(status.verify_tables)},
              {"differences", or_null(status.verify_differences)},
              {"running", nullptr}};
  if (const auto& now = status.verifying) {
    verify["running"] = {{"tables_done", now->tables_done},
                         {"tables_total", now->tables_total},
                         {"parts_done", now->parts_done},
                         {"parts_total", now->parts_total},
                         {"rows_done", now->rows_done},
                         {"bytes_done", now->bytes_done},
                         {"bytes_total", now->bytes_total},
                         {"differences", now->differences},
                         {"rows_per_second", now->rows_per_second},
                         {"bytes_per_second", now->bytes_per_second},
                         {"seconds_left", or_null(now->seconds_left)},
                         {"limit", or_null(now->limit)},
                         {"workers", now->workers}};
  }
  return verify;
}

json to_json(const Status& status) {
  json document = {
      {"database", status.database},
      {"phase", to_string(status.phase)},
      {"primary", status.primary ? json(to_string(*status.primary)) : json(nullptr)},
      {"epoch", or_null(status.epoch)},
      {"held", to_string(status.held)},
      {"mirror",
       {{"state", to_string(status.mirror_state)},
        {"lag_ms", or_null(status.lag_ms)},
        {"backlog_keys", or_null(status.backlog_keys)},
        {"journal_bytes", or_null(status.journal_bytes)},
        {"boundary_at", or_null(status.boundary_at)},
        {"error", or_null(status.mirror_error)}}},
      {"reads", reads_json(status)},
      {"load",
       {{"rows_done", or_null(status.load_rows_done)},
        {"rows_total", or_null(status.load_rows_total)},
        {"bytes_done", or_null(status.load_bytes_done)},
        {"bytes_total", or_null(status.load_bytes_total)},
        {"rows_per_second", or_null(status.load_rows_per_second)},
        {"bytes_per_second", or_null(status.load_bytes_per_second)},
        {"seconds_left", or_null(status.load_seconds_left)},
        {"step", or_null(status.load_step)},
        {"limit", or_null(status.load_limit)},
        {"workers", workers_json(status.load_workers)},
        {"error", or_null(status.load_error)}}},
      {"tables", tables_json(status.tables)},
      {"verify", verify_json(status)},
      {"last_flip", flip_json(status.last_flip)},
      {"rollback", {{"ready", status.rollback_ready}, {"reasons", status.rollback_reasons}}},
      {"waiting_for", waiting_json(status.waiting_for)},
      {"members", members_json(status.members)},
      {"clients", status.clients},
      {"ready", status.ready},
      {"not_ready_because", text_or_null(status.not_ready_because)},
  };
  for (const auto side : {Side::source, Side::target}) {
    document["reachable"][std::string{to_string(side)}] = status.reachable[side];
  }
  return document;
}

json status_document(const Status& status) {
  return {{"version", PGJANUS_VERSION}, {"databases", json::array({to_json(status)})}};
}

std::string now_utc() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const auto seconds = static_cast<std::time_t>(millis / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32], text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(millis % 1000));
  return text;
}

}  // namespace pgjanus
