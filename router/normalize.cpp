#include "router/normalize.hpp"

#include <algorithm>
#include <array>

namespace pgjanus {

namespace {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// What may stand in an identifier behind its first character (scan.l, ident_cont).
constexpr bool in_word(char c) noexcept {
  const char lower = static_cast<char>(c | 0x20);
  return (lower >= 'a' && lower <= 'z') || is_digit(c) || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// Statements whose class is known not to hang on a constant; EXPLAIN's options, say, are some.
bool is_plain_statement(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size() && is_space(text[at])) ++at;
  std::size_t size = 0;
  while (at + size < text.size() && in_word(text[at + size])) ++size;
  constexpr std::array<std::string_view, 5> plain{"select", "insert", "update", "delete", "with"};
  for (const auto word : plain) {
    bool same = word.size() == size;
    for (std::size_t i = 0; same && i < size; ++i) same = static_cast<char>(text[at + i] | 0x20) == word[i];
    if (same) return true;
  }
  return false;
}

/// Behind the quoted part that begins at `at`; npos when it does not end. A quote in it is doubled.
std::size_t end_of_quoted(std::string_view text, std::size_t at) noexcept {
  const char quote = text[at];
  for (++at; at < text.size(); ++at) {
    if (text[at] != quote) continue;
    if (at + 1 == text.size() || text[at + 1] != quote) return at + 1;
    ++at;
  }
  return std::string_view::npos;
}

/// Behind the number that begins at `at`; npos for anything but digits with perhaps a fraction.
std::size_t end_of_number(std::string_view text, std::size_t at) noexcept {
  while (at < text.size() && is_digit(text[at])) ++at;
  if (at + 1 < text.size() && text[at] == '.' && is_digit(text[at + 1]))
    for (++at; at < text.size() && is_digit(text[at]);) ++at;
  const bool ends = at == text.size() || (!in_word(text[at]) && text[at] != '.');
  return ends ? at : std::string_view::npos;
}

/// The parser takes numbers beyond 32 bits for something else (scan.l, process_integer_literal).
std::string_view stand_in(std::string_view number) noexcept {
  constexpr std::string_view largest = "2147483647";
  number.remove_prefix(std::min(number.find_first_not_of('0'), number.size()));
  if (number.find('.') != std::string_view::npos) return "0.0";
  const bool fits = number.size() < largest.size() || (number.size() == largest.size() && number <= largest);
  return fits ? "0" : "9999999999";
}

}  // namespace

std::string_view normalized(std::string_view text, std::string& buffer) {
  if (!is_plain_statement(text) || text.find('\0') != std::string_view::npos) return text;
  buffer.clear();
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const char before = at > 0 ? text[at - 1] : ' ';
    const char after = at + 1 < text.size() ? text[at + 1] : ' ';
    std::size_t end = at + 1;
    if (c == '\'') {
      // E'', B'', X'', N'' and U&'' have rules of their own.
      if (in_word(before) || before == '&') return text;
      end = end_of_quoted(text, at);
      // The one prefix that classes look for in what may be a name.
      if (end == std::string_view::npos || text.substr(at + 1).starts_with("pg_temp")) return text;
      buffer += "''";
    } else if (c == '"') {
      end = end_of_quoted(text, at);
      if (end == std::string_view::npos || before == '&') return text;
      buffer += text.substr(at, end - at);
    } else if (is_digit(c)) {
      end = end_of_number(text, at);
      if (end == std::string_view::npos || before == '.') return text;
      buffer += stand_in(text.substr(at, end - at));
    } else if (in_word(c) && c != '$') {
      while (end < text.size() && in_word(text[end])) ++end;
      buffer += text.substr(at, end - at);
    } else if (c == '$') {
      if (!is_digit(after)) return text;
      while (end < text.size() && is_digit(text[end])) ++end;
      if (end < text.size() && in_word(text[end])) return text;
      buffer += text.substr(at, end - at);
    } else {
      const bool comment = (c == '-' && after == '-') || (c == '/' && after == '*');
      if (comment) return text;
      if (c == ';' && text.find_first_not_of(" \t\n\r", end) != std::string_view::npos) return text;
      buffer += c;
    }
    at = end;
  }
  return buffer;
}

}  // namespace pgjanus
