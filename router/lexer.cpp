#include "router/lexer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "wire/assert.hpp"

namespace pgjanus {

namespace {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_newline(char c) noexcept { return c == '\n' || c == '\r'; }
/// The vertical tab is a space since version 16; versions before refuse it.
constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

constexpr bool is_sign(char c) noexcept { return c == '+' || c == '-'; }

/// What a byte may be, looked up: most of the lexer's time goes into these questions.
enum Class : std::uint8_t {
  word_begins = 1,  // ident_start of scan.l.
  in_tags = 2,      // dolq_cont.
  in_words = 4,     // ident_cont.
  in_operators = 8,
  special = 16,  // Operators with one of these may end in + or -.
};
constexpr auto classes = [] {
  std::array<std::uint8_t, 256> table{};
  for (std::size_t i = 0; i < table.size(); ++i) {
    const char c = static_cast<char>(i);
    const bool letter = (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || i >= 0x80;
    const bool odd = std::string_view{"~!@#^&|`?%"}.find(c) != std::string_view::npos;
    const bool plain = std::string_view{"+-*/<>="}.find(c) != std::string_view::npos;
    if (letter) table[i] |= word_begins;
    if (letter || is_digit(c)) table[i] |= in_tags;
    if (letter || is_digit(c) || c == '$') table[i] |= in_words;
    if (odd || plain) table[i] |= in_operators;
    if (odd) table[i] |= special;
  }
  return table;
}();
constexpr bool is(Class what, char c) noexcept { return (classes[static_cast<unsigned char>(c)] & what) != 0; }

}  // namespace

Lexer::Lexer(std::string_view text) noexcept : text_{text} { PROXY_ASSERT(text.size() <= bytes_max); }

std::optional<Token> Lexer::next() noexcept {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  if (at_ == text_.size()) return std::nullopt;
  touched_ = missing_ = false;
  const auto start = at_;
  const auto kind = take();
  PROXY_ASSERT(at_ > start && at_ <= text_.size());
  const auto ending = missing_ ? TokenEnd::missing : touched_ ? TokenEnd::open : TokenEnd::certain;
  return Token{static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(at_), kind, ending};
}

/// A zero byte at the end of the text, and a note that more of it might have mattered.
char Lexer::peek(std::size_t ahead) noexcept {
  if (ahead < text_.size() - at_) return text_[at_ + ahead];
  touched_ = true;
  return '\0';
}

void Lexer::digits() noexcept {
  while (is_digit(peek())) ++at_;
}

TokenKind Lexer::take() noexcept {
  const char c = text_[at_];
  if (is(word_begins, c)) return word();
  if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
  if (c == '\'') return string(1, Inside::plain);
  if (c == '"') return quoted(1);
  if (c == '$') return dollar();
  if (c == '-' && peek(1) == '-') return line_comment();
  if (c == '/' && peek(1) == '*') return block_comment();
  if (is(in_operators, c)) return operators();
  const bool two = (c == '.' && peek(1) == '.') || (c == ':' && (peek(1) == ':' || peek(1) == '='));
  at_ += two ? 2 : 1;
  return TokenKind::symbol;
}

TokenKind Lexer::word() noexcept {
  const char c = lower(text_[at_]), after = peek(1);
  if (after == '\'' && c == 'e') return string(2, Inside::escapes);
  if (after == '\'' && (c == 'b' || c == 'x')) return string(2, Inside::bits);
  if (after == '&' && c == 'u' && peek(2) == '\'') return string(3, Inside::plain);
  if (after == '&' && c == 'u' && peek(2) == '"') return quoted(3);
  while (is(in_words, peek())) ++at_;
  return TokenKind::word;
}

/// 1  1.5  1.  .5  1e5; of `1..2` and `1e` the 1. Other bases and 1_000, known since version 16, are a number and a word
/// here: nothing hangs on it, since no string begins within them.
TokenKind Lexer::number() noexcept {
  digits();
  if (peek() == '.' && peek(1) != '.') {
    ++at_;
    digits();
  }
  if (lower(peek()) == 'e') {
    const std::size_t sign = is_sign(peek(1)) ? 1 : 0;
    if (is_digit(peek(1 + sign))) {
      at_ += 1 + sign;
      digits();
    }
  }
  return TokenKind::number;
}

/// $1, $$…$$, $tag$…$tag$; else the character alone.
TokenKind Lexer::dollar() noexcept {
  if (is_digit(peek(1))) {
    ++at_;
    digits();
    return TokenKind::parameter;
  }
  std::size_t size = 1;
  if (is(word_begins, peek(1)))
    while (is(in_tags, peek(size))) ++size;
  if (peek(size) != '$') {
    ++at_;
    return TokenKind::symbol;
  }
  const auto delimiter = text_.substr(at_, size + 1);
  // No tag has a dollar in it, so that no two places where one might end overlap, and the search is linear.
  const auto end = text_.find(delimiter, at_ + delimiter.size());
  missing_ = end == std::string_view::npos;
  at_ = missing_ ? text_.size() : end + delimiter.size();
  return TokenKind::string;
}

TokenKind Lexer::quoted(std::size_t opening) noexcept {
  for (at_ += opening;; at_ += 2) {
    const auto end = text_.find('"', at_);
    missing_ = end == std::string_view::npos;
    at_ = missing_ ? text_.size() : end;
    if (missing_) break;
    if (peek(1) == '"') continue;
    ++at_;
    break;
  }
  return TokenKind::quoted;
}

TokenKind Lexer::string(std::size_t opening, Inside inside) noexcept {
  at_ += opening;
  do {
    missing_ = !to_end_of_part(inside);
  } while (!missing_ && to_next_part());
  return TokenKind::string;
}

/// Behind the closing quote; false, and at the end of the text, when there is none.
bool Lexer::to_end_of_part(Inside inside) noexcept {
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == '\\' && inside == Inside::escapes) {
      at_ = std::min(at_ + 1, text_.size());
    } else if (c == '\'') {
      if (inside == Inside::bits || peek() != '\'') return true;
      ++at_;
    }
  }
  return false;
}

/// Behind the next quote, where only spaces with a newline and -- comments are in between: the string goes on there,
/// with the rules that it began with. Stays otherwise.
bool Lexer::to_next_part() noexcept {
  bool newline = false;
  for (std::size_t ahead = 0;;) {
    const char c = peek(ahead);
    if (is_space(c)) {
      newline = newline || is_newline(c);
      ++ahead;
    } else if (c == '-' && peek(ahead + 1) == '-') {
      while (at_ + ahead < text_.size() && !is_newline(text_[at_ + ahead])) ++ahead;
    } else {
      if (c != '\'' || !newline) return false;
      at_ += ahead + 1;
      return true;
    }
  }
}

TokenKind Lexer::line_comment() noexcept {
  while (at_ < text_.size() && !is_newline(peek())) ++at_;
  touched_ = at_ == text_.size();
  return TokenKind::comment;
}

TokenKind Lexer::block_comment() noexcept {
  std::size_t depth = 1;
  for (at_ += 2; depth > 0;) {
    const char c = peek(), after = peek(1);
    missing_ = touched_;
    if (missing_) break;
    const bool deeper = c == '/' && after == '*', out = c == '*' && after == '/';
    if (deeper) ++depth;
    if (out) --depth;
    at_ += deeper || out ? 2 : 1;
  }
  if (missing_) at_ = text_.size();
  return TokenKind::comment;
}

/// `=-` are two operators, `@-` is one: see read_run.
TokenKind Lexer::operators() noexcept {
  if (at_ >= run_.end) read_run();
  touched_ = touched_ || run_.touched;
  auto end = run_.end;
  if (is_sign(text_[end - 1]) && run_.behind_special <= at_) end = std::max(at_ + 1, run_.behind_unsigned);
  at_ = end;
  return TokenKind::symbol;
}

void Lexer::read_run() noexcept {
  run_ = {};
  const bool touched = std::exchange(touched_, false);
  std::size_t size = 0;
  for (char c = text_[at_]; is(in_operators, c); c = peek(size)) {
    if ((c == '-' && peek(size + 1) == '-') || (c == '/' && peek(size + 1) == '*')) break;
    ++size;
    if (is(special, c)) run_.behind_special = at_ + size;
    if (!is_sign(c)) run_.behind_unsigned = at_ + size;
  }
  run_.end = at_ + size;
  run_.touched = std::exchange(touched_, touched);
}

}  // namespace pgjanus
