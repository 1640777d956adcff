#pragma once
// Structured log: one line an event, key=value (or JSON), never a secret, never row values, keys
// or query texts.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace pgjanus {

enum class LogLevel : unsigned char { debug, info, warn, error };
enum class LogFormat : unsigned char { text, json };

/// One key and its value, already text.
struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key{k}, value{std::move(v)} {}
  LogField(std::string_view k, std::string_view v) : key{k}, value{v} {}
  LogField(std::string_view k, const char* v) : key{k}, value{v} {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  LogField(std::string_view k, Number v) : key{k}, value{std::to_string(v)} {}
};

/// Sets level and format for the process. Call once in main, before threads start.
void configure_log(LogLevel level, LogFormat format);

/// Writes `event` (snake_case, past tense where something happened) and its fields to stderr with
/// the time in RFC 3339 UTC. Any thread.
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace pgjanus
