#pragma once
// The tokens of SQL as servers read them: PostgreSQL's scan.l, manual section 4.1 "Lexical Structure".

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pgjanus {

enum class TokenKind : std::uint8_t {
  word,       // A keyword or a name without quotes; the N of N'…', too.
  quoted,     // "…", U&"…"
  string,     // '…', E'…', U&'…', B'…', X'…', $tag$…$tag$; parts that continue over a newline are one.
  number,
  parameter,  // $1
  symbol,     // An operator, or any other character.
  comment,
};

/// What is known of a token's end when the text may be the head of a longer one.
enum class TokenEnd : std::uint8_t {
  certain,  // Whatever may come behind the text.
  open,     // The text ends where the token might go on.
  missing,  // No closing quote, or no end of the comment: servers refuse such a text.
};

/// Bytes [start, end) of the text.
struct Token {
  std::uint32_t start = 0, end = 0;
  TokenKind kind = TokenKind::symbol;
  TokenEnd ending = TokenEnd::certain;
};

/// Reads one token after the other and keeps none; linear, whatever the text. It has standard_conforming_strings, and
/// a client encoding whose characters hold no ASCII bytes. What servers refuse for what is in a token
/// (E'\u', "", an operator of 64 characters, 1a) is read on. Any bytes; the text must outlive it. One thread.
class Lexer {
 public:
  static constexpr std::size_t bytes_max = UINT32_MAX;
  /// Precondition: at most bytes_max bytes.
  explicit Lexer(std::string_view text) noexcept;
  /// Nothing at the end of the text.
  [[nodiscard]] std::optional<Token> next() noexcept;

 private:
  enum class Inside : std::uint8_t { plain, escapes, bits };  // Only '' is special; \' too; not even that.

  char peek(std::size_t ahead = 0) noexcept;
  void digits() noexcept;
  TokenKind take() noexcept;
  TokenKind word() noexcept;
  TokenKind number() noexcept;
  TokenKind dollar() noexcept;
  TokenKind quoted(std::size_t opening) noexcept;
  TokenKind string(std::size_t opening, Inside inside) noexcept;
  bool to_end_of_part(Inside inside) noexcept;
  bool to_next_part() noexcept;
  TokenKind line_comment() noexcept;
  TokenKind block_comment() noexcept;
  TokenKind operators() noexcept;
  void read_run() noexcept;

  std::string_view text_;
  std::size_t at_ = 0;
  bool touched_ = false, missing_ = false;  // Of this token: its reading came to the end of the text.
  /// The run of operator characters that at_ is in, up to the next comment. Read once and not for each of its
  /// tokens: `++++…` would take quadratic time, as it does in scan.l.
  struct Run {
    std::size_t end = 0;
    std::size_t behind_special = 0, behind_unsigned = 0;  // Behind its last such characters.
    bool touched = false;
  } run_;
};

}  // namespace pgjanus
