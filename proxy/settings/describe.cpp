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

std::string renames_text(const NameMap& renames) {
  std::string text;
  for (const auto& one : renames.renames())
    text += (text.empty() ? "" : ",") + to_string(one.source) + "=" + to_string(one.target);
  return text;
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
      {"rename", renames_text(settings.renames)},
      {"reads", to_string(settings.reads)},
      {"pool", settings.pool == PoolMode::session ? "session" : "transaction"},
      {"pool_size", std::to_string(settings.pool_size)},
      {"pool_wait", to_string(settings.pool_wait)},
      {"pool_lifetime", to_string(settings.pool_lifetime)},
      {"pool_idle", to_string(settings.pool_idle)},
      {"threads", settings.threads ? std::to_string(settings.threads) : "number of cores"},
      {"load_workers", std::to_string(settings.load_workers)},
      {"load_rows_per_second", std::to_string(settings.load_rows_per_second)},
      {"load_bytes_per_second", std::to_string(settings.load_bytes_per_second)},
      {"load_yield", settings.load_yield ? "on" : "off"},
      {"verify_every", to_string(settings.verify_every)},
      {"drain", to_string(settings.drain)},
      {"log_level", std::string{level_names[static_cast<std::size_t>(settings.log_level)]}},
      {"log_format", settings.log_format == LogFormat::text ? "text" : "json"},
      {"config", settings.config_file},
  };
}

Reloaded take_over(Settings& running, const Settings& wanted) {
  const auto before = describe_settings(running);
  const auto then = describe_settings(wanted);
  const bool other_users = running.users != wanted.users;
  running.users = wanted.users;
  running.access = wanted.access;
  running.certificate = wanted.certificate;
  running.key = wanted.key;
  running.log_level = wanted.log_level;
  running.log_format = wanted.log_format;
  running.drain = wanted.drain;
  running.acknowledge = wanted.acknowledge;
  running.acknowledge_wait = wanted.acknowledge_wait;
  running.journal_max_bytes = wanted.journal_max_bytes;
  running.load_workers = wanted.load_workers;  // A load that runs asks for these all the time.
  running.load_rows_per_second = wanted.load_rows_per_second;
  running.load_bytes_per_second = wanted.load_bytes_per_second;
  running.load_yield = wanted.load_yield;
  running.verify_every = wanted.verify_every;
  const auto after = describe_settings(running);
  // What is shown of these has no passwords, so it may be equal where they differ.
  const auto differs = [&](const std::string& name) {
    if (name == "source") return running.url[Side::source] != wanted.url[Side::source];
    if (name == "target") return running.url[Side::target] != wanted.url[Side::target];
    return false;
  };
  Reloaded reloaded;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto& name = before[i].first;
    if (before[i].second != after[i].second || (name == "users" && other_users)) reloaded.now.push_back(name);
    if (after[i].second != then[i].second || differs(name)) reloaded.at_next_start.push_back(name);
  }
  return reloaded;
}

}  // namespace pgjanus
