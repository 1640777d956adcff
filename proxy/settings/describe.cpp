// Settings as people see them: SHOW CONFIG and what a reload cannot change.

#include <algorithm>

#include "proxy/settings/settings.hpp"

namespace pgjanus {
namespace {

std::string joined(const std::vector<std::string>& values) {
  std::string text;
  for (const auto& value : values) {
    if (!text.empty()) text += ',';
    text += value;
  }
  return text;
}

/// Host, database and user of a side; where it comes from when it can't be read at the moment.
std::string side_text(const UrlSource& url) {
  if (!url.given()) return {};
  try {
    return url.read().describe();
  } catch (const SettingsError&) {
    return "unreadable: " + url.origin();
  }
}

/// "any", or how many entries stand there; the entries themselves are in the file.
std::string access_text(const AccessRules& rules) {
  const auto count = rules.entries().size();
  return count == 0 ? "any" : std::to_string(count) + (count == 1 ? " entry" : " entries");
}

constexpr std::string_view level_names[] = {"debug", "info", "warn", "error"};

}  // namespace

std::vector<std::pair<std::string, std::string>> describe_settings(const Settings& settings) {
  std::string users;
  for (const auto& user : settings.users) users += (users.empty() ? "" : ",") + user.name;
  return {
      {"database", settings.database},
      {"source", side_text(settings.url[Side::source])},
      {"target", side_text(settings.url[Side::target])},
      {"users", users.empty() ? "of the source URL" : users},
      {"listen", to_string(settings.listen)},
      {"access", access_text(settings.access)},
      {"certificate", settings.certificate},
      {"key", settings.key},
      {"admin_dir", settings.admin_directory},
      {"http", settings.http ? to_string(*settings.http) : "off"},
      {"acknowledge", settings.acknowledge == Acknowledge::both ? "both" : "primary"},
      {"acknowledge_wait", to_string(settings.acknowledge_wait)},
      {"journal_max", std::to_string(settings.journal_max_bytes)},
      {"exclude", joined(settings.exclude)},
      {"reads", to_string(settings.reads)},
      {"pool", settings.pool == PoolMode::session ? "session" : "transaction"},
      {"threads", settings.threads ? std::to_string(settings.threads) : "number of cores"},
      {"load_workers", std::to_string(settings.load_workers)},
      {"drain", to_string(settings.drain)},
      {"log_level", std::string{level_names[static_cast<std::size_t>(settings.log_level)]}},
      {"log_format", settings.log_format == LogFormat::text ? "text" : "json"},
      {"config", settings.config_file},
  };
}

std::vector<std::string> need_restart(const Settings& running, const Settings& wanted) {
  const auto now = describe_settings(running);
  const auto then = describe_settings(wanted);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < now.size(); ++i) {
    static constexpr std::string_view at_run_time[] = {"log_level", "log_format", "users",
                                                       "access",    "certificate", "key"};
    const bool reloadable = std::ranges::find(at_run_time, now[i].first) != std::end(at_run_time);
    if (!reloadable && now[i].second != then[i].second) names.push_back(now[i].first);
  }
  return names;
}

}  // namespace pgjanus
