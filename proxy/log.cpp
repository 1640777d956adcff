#include "proxy/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace pgjanus {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warn", "error"};

struct Log {
  std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>(
        "pgjanus", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");  // Lines are made here, whole, so that no field can break one.
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  std::atomic<LogFormat> format = LogFormat::text;
};

Log& the_log() {
  static Log log;
  return log;
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string now_rfc3339() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  const auto seconds = static_cast<std::time_t>(micros / 1'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const auto size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  char fraction[12];
  std::snprintf(fraction, sizeof fraction, ".%06dZ", static_cast<int>(micros % 1'000'000));
  return std::string{text, size} + fraction;
}

/// Length of the UTF-8 sequence at `at`, or 0 when the bytes are not one (RFC 3629, section 4).
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const auto left = text.size() - at;
  const auto lead = byte(0);
  std::size_t size = 0;
  if (lead >= 0xC2 && lead <= 0xDF) size = 2;
  else if (lead >= 0xE0 && lead <= 0xEF) size = 3;
  else if (lead >= 0xF0 && lead <= 0xF4) size = 4;
  if (size == 0 || size > left) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return size;
}

/// Escapes as JSON strings do; both formats use it, so neither a line feed nor a terminal's escape
/// sequence in a name can forge or hide a line.
void append_escaped(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<std::uint8_t>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text[i];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else if (c < 0x80) {
      out += text[i];
    } else if (const auto size = utf8_length(text, i); size > 0) {
      // C1 controls (U+0080 to U+009F) drive some terminals.
      if (size == 2 && c == 0xC2 && static_cast<std::uint8_t>(text[i + 1]) < 0xA0) {
        out += "\\ufffd";
      } else {
        out += text.substr(i, size);
      }
      i += size - 1;
    } else {
      out += "\\ufffd";
    }
  }
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte <= ' ' || byte == '"' || byte == '=' || byte == '\\' || byte >= 0x7F) return true;
  }
  return false;
}

void append_text(std::string& line, std::string_view key, std::string_view value) {
  line += ' ';
  line += key;
  line += '=';
  if (!needs_quotes(value)) {
    line += value;
    return;
  }
  line += '"';
  append_escaped(line, value);
  line += '"';
}

void append_json(std::string& line, const LogField& field) {
  line += ",\"";
  append_escaped(line, field.key);
  line += "\":";
  if (field.number) {
    line += field.value;
    return;
  }
  line += '"';
  append_escaped(line, field.value);
  line += '"';
}

}  // namespace

std::string log_line(LogFormat format, LogLevel level, std::string_view event,
                     std::initializer_list<LogField> fields) {
  std::string line;
  const auto name = level_names[static_cast<std::size_t>(level)];
  if (format == LogFormat::json) {
    line = "{\"time\":\"" + now_rfc3339() + "\",\"level\":\"" + std::string{name} + '"';
    append_json(line, {"event", event});
    for (const auto& field : fields) append_json(line, field);
    return line + '}';
  }
  line = "time=" + now_rfc3339() + " level=" + std::string{name};
  append_text(line, "event", event);
  for (const auto& field : fields) append_text(line, field.key, field.value);
  return line;
}

void configure_log(LogLevel level, LogFormat format) {
  the_log().format = format;
  the_log().logger->set_level(level_of(level));
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  auto& log = the_log();
  if (!log.logger->should_log(level_of(level))) return;
  const auto line = log_line(log.format, level, event, fields);
  log.logger->log(level_of(level), spdlog::string_view_t{line.data(), line.size()});
}

}  // namespace pgjanus
