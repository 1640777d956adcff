#include "proxy/admin/render.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

namespace pgjanus::admin {
namespace {

using nlohmann::json;

constexpr std::size_t differences_shown = 20;
constexpr std::size_t tables_shown = 40;

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string or_unknown(const json& object, const char* name) {
  auto text = text_of(object, name);
  return text.empty() ? "unknown" : text;
}

/// Columns padded to their widest cell (in characters), two blanks apart.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  const auto width_of = [](const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  };
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - width_of(row[i]) + 2, ' ');
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + '\n';
  }
  return out;
}

std::string findings_text(const json& document) {
  std::string out;
  for (const auto& finding : document["findings"]) {
    const auto remedy = text_of(finding, "remedy");
    auto level = text_of(finding, "level");
    level.resize(std::max<std::size_t>(level.size(), 4), ' ');
    out += level + "  " + text_of(finding, "subject") + ": " + text_of(finding, "detail") + '\n';
    if (!remedy.empty() && level != "pass") out += "      " + remedy + '\n';
  }
  return out;
}

std::string key_text(const json& key) {
  std::string out;
  for (const auto& [column, value] : key.items()) {
    if (!out.empty()) out += ", ";
    out += column + '=' + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return out;
}

std::string verify_text(const json& document) {
  std::vector<std::vector<std::string>> rows{{"table", "rows", "differences"}};
  for (const auto& table : document["tables"]) {
    rows.push_back({text_of(table, "name"), or_unknown(table, "rows"),
                    or_unknown(table, "differences")});
  }
  auto out = aligned(rows);
  const auto differences = document.value("differences", json::array());
  std::size_t shown = 0;
  for (const auto& difference : differences) {
    if (shown++ == differences_shown) {
      out += "… and " + std::to_string(differences.size() - differences_shown) +
             " more: SHOW DIFFERENCES, or verify --json\n";
      break;
    }
    out += text_of(difference, "kind") + "  " + text_of(difference, "table") + "  " +
           key_text(difference.value("key", json::object()));
    const auto columns = difference.value("columns", json::array());
    for (std::size_t i = 0; i < columns.size(); ++i) {
      out += (i ? ", " : "  in ") + columns[i].get<std::string>();
    }
    out += '\n';
  }
  return out;
}

std::string guards_text(const json& document) {
  std::string out;
  for (const auto& guard : document["guards"]) {
    const auto ok = guard.value("ok", false);
    out += (ok ? "ok    " : guard.value("skippable", false) ? "skip? " : "no    ") +
           text_of(guard, "name");
    if (const auto detail = text_of(guard, "detail"); !detail.empty()) out += ": " + detail;
    out += '\n';
    if (const auto remedy = text_of(guard, "remedy"); !ok && !remedy.empty()) {
      out += "      " + remedy + '\n';
    }
  }
  for (const auto& end : document.value("ends", json::array())) {
    out += "would end client " + text_of(end, "client") + ": " + text_of(end, "reason") + '\n';
  }
  for (const auto& blocker : document.value("blockers", json::array())) {
    out += "would wait for " + text_of(blocker, "side") + " pid " + text_of(blocker, "pid") + ", " +
           text_of(blocker, "user") + ' ' + text_of(blocker, "application_name") + ", " +
           text_of(blocker, "seconds") + " s in a transaction\n";
  }
  return out;
}

std::string span(const json& milliseconds) {
  if (!milliseconds.is_number()) return "unknown";
  const auto value = milliseconds.get<double>();
  char text[32];
  if (value < 1000) std::snprintf(text, sizeof text, "%.0f ms", value);
  else std::snprintf(text, sizeof text, "%.1f s", value / 1000);
  return text;
}

std::string size_text(const json& bytes) {
  if (!bytes.is_number()) return "unknown";
  auto value = bytes.get<double>();
  static constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}

std::string mirror_text(const json& mirror) {
  const auto state = text_of(mirror, "state");
  if (state == "off") return "off";
  return state + ", lag " + span(mirror["lag_ms"]) + ", backlog " +
         or_unknown(mirror, "backlog_keys") + " keys, journal " +
         size_text(mirror["journal_bytes"]);
}

std::string flip_text(const json& flip) {
  if (!flip.is_object()) return "none";
  return "to the " + text_of(flip, "to") + " at " + text_of(flip, "at") + ", held for " +
         span(flip["blackout_ms"]) + (flip.value("forced", false) ? ", forced" : "");
}

std::string tables_text(const json& tables) {
  if (tables.empty()) return {};
  std::vector<std::vector<std::string>> rows{{"table", "state", "rows", "differences", ""}};
  for (const auto& table : tables) {
    if (rows.size() > tables_shown) break;
    rows.push_back({text_of(table, "name"), text_of(table, "state"), or_unknown(table, "rows"),
                    or_unknown(table, "differences"), text_of(table, "detail")});
  }
  auto out = '\n' + aligned(rows);
  if (tables.size() > tables_shown) {
    out += "… and " + std::to_string(tables.size() - tables_shown) + " more: status --json\n";
  }
  return out;
}

}  // namespace

std::string render_result(const std::string& verb, const json& document) {
  std::string out;
  if (document.contains("findings")) out = findings_text(document);
  else if (document.contains("guards")) out = guards_text(document);
  else if (verb == "verify" && document.contains("tables")) out = verify_text(document);
  if (const auto message = text_of(document, "message"); !message.empty()) out += message + '\n';
  return out;
}

std::string render_status(const json& db, const std::string& version) {
  const auto& reads = db["reads"];
  std::vector<std::vector<std::string>> rows{
      {"database", text_of(db, "database")},
      {"phase", text_of(db, "phase")},
      {"primary", or_unknown(db, "primary") + ", epoch " + or_unknown(db, "epoch")},
      {"mirror", mirror_text(db["mirror"])},
      {"gate", text_of(db, "held") == "none" ? "open" : "held: " + text_of(db, "held")},
      {"clients", text_of(db, "clients")},
      {"reads", text_of(reads, "side")}};
  const auto& load = db["load"];
  if (text_of(db, "phase") == "loading") {
    auto text = or_unknown(load, "rows_done") + " rows, " + size_text(load["bytes_done"]);
    if (!load["bytes_total"].is_null()) text += " of " + size_text(load["bytes_total"]);
    rows.push_back({"load", text});
  }
  const auto& verify = db["verify"];
  if (const auto now = verify.value("running", json()); !now.is_null()) {
    rows.push_back({"verifying", or_unknown(now, "tables_done") + " of " +
                                     or_unknown(now, "tables_total") + " tables, " +
                                     size_text(now.at("bytes_done")) + " of " +
                                     size_text(now.at("bytes_total")) + ", " +
                                     or_unknown(now, "differences") + " differences"});
  }
  rows.push_back({"verified", verify["at"].is_null()
                                  ? "never"
                                  : text_of(verify, "at") + ", " + or_unknown(verify, "tables") +
                                        " tables, " + or_unknown(verify, "differences") +
                                        " differences"});
  rows.push_back({"last flip", flip_text(db["last_flip"])});
  std::string rollback = db["rollback"].value("ready", false) ? "ready" : "not ready";
  for (const auto& reason : db["rollback"].value("reasons", json::array())) {
    rollback += "; " + reason.get<std::string>();
  }
  rows.push_back({"rollback", rollback});
  auto out = "pgjanus " + version + '\n' + aligned(rows);
  for (const auto& [label, text] :
       {std::pair{"mirror", text_of(db["mirror"], "error")}, std::pair{"load", text_of(load, "error")},
        std::pair{"not ready", text_of(db, "not_ready_because")}}) {
    if (!text.empty()) out += std::string{label} + ": " + text + '\n';
  }
  for (const auto& waiting : db["waiting_for"]) {
    out += "waiting for " + text_of(waiting, "what");
    for (const auto* name : {"side", "pid", "user", "application_name"}) {
      const auto value = text_of(waiting, name);
      if (!value.empty()) out += std::string{", "} + name + ' ' + value;
    }
    out += ", " + span(waiting["seconds"].is_number() ? json(waiting["seconds"].get<double>() * 1000)
                                                       : json(nullptr));
    if (const auto detail = text_of(waiting, "detail"); !detail.empty()) out += ": " + detail;
    out += '\n';
  }
  return out + tables_text(db["tables"]);
}

}  // namespace pgjanus::admin
