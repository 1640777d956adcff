#include "proxy/settings/options.hpp"

#include <array>
#include <charconv>

namespace pgjanus {
namespace {

bool set_duration(std::chrono::milliseconds& to, const std::string& value) {
  const auto parsed = parse_duration(value);
  if (parsed) to = *parsed;
  return parsed.has_value();
}

bool set_number(unsigned& to, const std::string& value, unsigned least, unsigned most) {
  unsigned number = 0;
  const auto* end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc{} || rest != end || number < least || number > most) return false;
  to = number;
  return true;
}

bool set_exclude(Settings& settings, const std::string& value) {
  settings.exclude.clear();
  std::size_t begin = 0;
  while (begin <= value.size() && !value.empty()) {
    const auto comma = std::min(value.find(',', begin), value.size());
    auto pattern = value.substr(begin, comma - begin);
    std::erase(pattern, ' ');
    if (pattern.find('.') == std::string::npos) return false;
    settings.exclude.push_back(std::move(pattern));
    begin = comma + 1;
  }
  return true;
}

template <class T>
bool choose(T& to, const std::string& value,
            std::initializer_list<std::pair<std::string_view, T>> choices) {
  for (const auto& [name, choice] : choices) {
    if (value != name) continue;
    to = choice;
    return true;
  }
  return false;
}

bool set_listen(Settings& s, const std::string& v) {
  const auto address = parse_address(v);
  if (address) s.listen = *address;
  return address.has_value();
}
bool set_http(Settings& s, const std::string& v) {
  const auto address = v == "off" ? std::nullopt : parse_address(v);
  s.http = address;
  return address || v == "off";
}
bool set_journal_max(Settings& s, const std::string& v) {
  const auto size = parse_size(v);
  if (size) s.journal_max_bytes = *size;
  return size && *size > 0;
}
bool set_count(std::uint64_t& to, const std::string& v) {
  const auto [rest, error] = std::from_chars(v.data(), v.data() + v.size(), to);
  return error == std::errc{} && rest == v.data() + v.size() && !v.empty();
}
bool set_reads(Settings& s, const std::string& v) {
  const auto reads = parse_reads(v);
  if (reads) s.reads = *reads;
  return reads.has_value();
}
bool set_primary(Settings& s, const std::string& v) {
  s.assumed_primary = side_from(v);
  return s.assumed_primary.has_value();
}
bool set_pool_size(Settings& s, const std::string& v) {
  unsigned size = 0;
  if (!set_number(size, v, 1, 10'000)) return false;
  s.pool_size = size;
  return true;
}
template <std::string Settings::*Member>
bool set_text(Settings& s, const std::string& v) {
  s.*Member = v;
  return !v.empty();
}
template <Side side>
bool set_url(Settings& s, const std::string& v) {
  s.url[side] = UrlSource::literal(v);
  return !v.empty();
}
template <Side side>
bool set_url_file(Settings& s, const std::string& v) {
  s.url[side] = UrlSource::file(v);
  return !v.empty();
}

constexpr std::string_view url_expects = "a libpq URL: postgresql://user:password@host:5432/db";

constexpr std::array<Option, 31> table{{
    {"source", "SOURCE_DATABASE_URL", "database.source", url_expects, set_url<Side::source>, true},
    {"target", "TARGET_DATABASE_URL", "database.target", url_expects, set_url<Side::target>, true},
    {"source-file", "SOURCE_DATABASE_URL_FILE", "database.source_file",
     "a file that holds the source's URL", set_url_file<Side::source>},
    {"target-file", "TARGET_DATABASE_URL_FILE", "database.target_file",
     "a file that holds the target's URL", set_url_file<Side::target>},
    {"database", "PGJANUS_DATABASE", "database.name", "the name that clients connect to",
     set_text<&Settings::database>},
    {"listen", "PGJANUS_LISTEN", "listen.address", "host:port, such as 127.0.0.1:6432",
     set_listen},
    {"certificate", "PGJANUS_CERTIFICATE", "listen.certificate", "a PEM file",
     set_text<&Settings::certificate>},
    {"key", "PGJANUS_KEY", "listen.key", "a PEM file", set_text<&Settings::key>},
    {"admin-dir", "PGJANUS_ADMIN_DIR", "admin.directory", "a directory",
     set_text<&Settings::admin_directory>},
    {"http", "PGJANUS_HTTP", "http.address", "host:port, such as 127.0.0.1:9632, or off", set_http},
    {"acknowledge", "PGJANUS_ACKNOWLEDGE", "mirror.acknowledge", "both or primary",
     [](Settings& s, const std::string& v) {
       return choose(s.acknowledge, v,
                     {{"both", Acknowledge::both}, {"primary", Acknowledge::primary}});
     }},
    {"acknowledge-wait", "PGJANUS_ACKNOWLEDGE_WAIT", "mirror.acknowledge_wait",
     "a duration, such as 250ms or 1s",
     [](Settings& s, const std::string& v) { return set_duration(s.acknowledge_wait, v); }},
    {"journal-max", "PGJANUS_JOURNAL_MAX", "mirror.journal_max", "a size, such as 10GB",
     set_journal_max},
    {"exclude", "PGJANUS_EXCLUDE", "tables.exclude",
     "patterns schema.table with * and ?, separated by commas", set_exclude},
    {"reads", "PGJANUS_READS", "reads.side",
     "primary, mirror, source, target, or the target's share such as 25%", set_reads},
    {"pool", "PGJANUS_POOL", "pool.mode", "session or transaction",
     [](Settings& s, const std::string& v) {
       return choose(s.pool, v,
                     {{"session", PoolMode::session}, {"transaction", PoolMode::transaction}});
     }},
    {"pool-size", "PGJANUS_POOL_SIZE", "pool.size", "a number from 1 to 10000", set_pool_size},
    {"pool-wait", "PGJANUS_POOL_WAIT", "pool.wait", "a duration, such as 2m",
     [](Settings& s, const std::string& v) { return set_duration(s.pool_wait, v); }},
    {"pool-lifetime", "PGJANUS_POOL_LIFETIME", "pool.lifetime", "a duration, such as 1h",
     [](Settings& s, const std::string& v) { return set_duration(s.pool_lifetime, v); }},
    {"pool-idle", "PGJANUS_POOL_IDLE", "pool.idle", "a duration, such as 10m",
     [](Settings& s, const std::string& v) { return set_duration(s.pool_idle, v); }},
    {"primary", "PGJANUS_PRIMARY", "run.primary", "source or target", set_primary},
    {"threads", "PGJANUS_THREADS", "run.threads", "a number from 0 (one a core) to 256",
     [](Settings& s, const std::string& v) { return set_number(s.threads, v, 0, 256); }},
    {"drain", "PGJANUS_DRAIN", "run.drain", "a duration, such as 25s",
     [](Settings& s, const std::string& v) { return set_duration(s.drain, v); }},
    {"load-workers", "PGJANUS_LOAD_WORKERS", "load.workers", "a number from 1 to 64",
     [](Settings& s, const std::string& v) { return set_number(s.load_workers, v, 1, 64); }},
    {"load-rows-per-second", "PGJANUS_LOAD_ROWS_PER_SECOND", "load.rows_per_second",
     "a number; 0: no limit",
     [](Settings& s, const std::string& v) {
       return set_count(s.load_rows_per_second, v);
     }},
    {"load-bytes-per-second", "PGJANUS_LOAD_BYTES_PER_SECOND", "load.bytes_per_second",
     "a size, such as 50MB; 0: no limit",
     [](Settings& s, const std::string& v) {
       const auto size = parse_size(v);
       if (size) s.load_bytes_per_second = *size;
       return size.has_value();
     }},
    {"load-yield", "PGJANUS_LOAD_YIELD", "load.yield", "on or off",
     [](Settings& s, const std::string& v) {
       return choose(s.load_yield, v, {{"on", true}, {"off", false}});
     }},
    {"verify-every", "PGJANUS_VERIFY_EVERY", "verify.every",
     "a duration between two verifications, such as 6h; 0s: only when asked",
     [](Settings& s, const std::string& v) { return set_duration(s.verify_every, v); }},
    {"log-level", "PGJANUS_LOG_LEVEL", "log.level", "debug, info, warn or error",
     [](Settings& s, const std::string& v) {
       return choose(s.log_level, v,
                     {{"debug", LogLevel::debug}, {"info", LogLevel::info},
                      {"warn", LogLevel::warn}, {"error", LogLevel::error}});
     }},
    {"log-format", "PGJANUS_LOG_FORMAT", "log.format", "text or json",
     [](Settings& s, const std::string& v) {
       return choose(s.log_format, v, {{"text", LogFormat::text}, {"json", LogFormat::json}});
     }},
    {"config", "PGJANUS_CONFIG", "", "a TOML file", set_text<&Settings::config_file>},
}};

}  // namespace

std::span<const Option> options() noexcept { return table; }

const Option* find_option(std::string_view name) noexcept {
  for (const auto& option : options()) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

}  // namespace pgjanus
