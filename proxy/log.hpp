#pragma once
// Structured log: one line an event, key=value (or JSON), never a secret, never row values, keys
// or query texts.

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace pgjanus {

enum class LogLevel : unsigned char { debug, info, warn, error };
enum class LogFormat : unsigned char { text, json };

/// One key and its value, already text.
struct LogField {
  std::string_view key;
  std::string value;
  bool number = false;  // JSON writes it without quotes.
  LogField(std::string_view k, std::string v) : key{k}, value{std::move(v)} {}
  LogField(std::string_view k, std::string_view v) : key{k}, value{v} {}
  LogField(std::string_view k, const char* v) : key{k}, value{v} {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  LogField(std::string_view k, Number v) : key{k}, value{std::to_string(v)}, number{true} {}
  LogField(std::string_view k, bool v) : key{k}, value{v ? "true" : "false"}, number{true} {}
};

/// Sets level and format for the process. Call in main before threads start; a reload changes
/// the level later, from any one thread.
void configure_log(LogLevel level, LogFormat format);

/// Writes `event` (snake_case, past tense where something happened) and its fields to stderr with
/// the time in RFC 3339 UTC. Any thread.
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

/// The line that log_event() writes: logfmt, or one JSON object. Control characters, broken UTF-8
/// and quotes are escaped in both.
[[nodiscard]] std::string log_line(LogFormat format, LogLevel level, std::string_view event,
                                   std::initializer_list<LogField> fields);

}  // namespace pgjanus
