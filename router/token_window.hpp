#pragma once
// A few of the tokens of a text at a time, however long it is.

#include <bit>
#include <cstddef>
#include <string_view>
#include <vector>

#include "router/lexer.hpp"

namespace pgjanus {

enum class Extent : std::uint8_t {
  whole,
  head,  // The beginning of a longer text: what follows is not known.
};

/// The tokens of a text around the one that is looked at; comments left out. Indexes count from the first token, and may
/// be negative. Views and pointers are good until the next call of at(). One thread; the text must outlive it.
class TokenWindow {
 public:
  /// `behind`: how many tokens before the last one asked for are kept at least. Of a head no
  /// tokens are given that hang on what comes behind it, but for strings that are cut, with empty text.
  TokenWindow(std::string_view text, std::size_t behind, Extent extent)
      : text_{text}, lexer_{text}, kept_(std::bit_ceil(behind + ahead)), head_{extent == Extent::head} {}

  /// Nothing where the text has no token, or none is kept any more.
  [[nodiscard]] const Token* at(std::ptrdiff_t index) {
    while (read_ <= index && more_) read();
    if (index >= read_ && head_) guessed_ = true;
    const bool kept = index >= 0 && index < read_ && index + size() >= read_;
    return kept ? &slot(index) : nullptr;
  }
  [[nodiscard]] std::string_view text(const Token& token) const {
    return text_.substr(token.start, token.end - token.start);
  }
  /// Servers cannot read the text as far as it was looked at: a quote is not closed.
  [[nodiscard]] bool refused() const noexcept { return refused_; }
  /// Somebody asked for what comes behind the head.
  [[nodiscard]] bool guessed() const noexcept { return guessed_; }

 private:
  static constexpr std::size_t ahead = 8;  // More than anybody looks.

  [[nodiscard]] std::ptrdiff_t size() const noexcept { return static_cast<std::ptrdiff_t>(kept_.size()); }
  [[nodiscard]] Token& slot(std::ptrdiff_t index) { return kept_[static_cast<std::size_t>(index & (size() - 1))]; }

  void read() {
    auto token = lexer_.next();
    while (token && token->kind == TokenKind::comment && token->ending != TokenEnd::missing) token = lexer_.next();
    more_ = token && (token->ending == TokenEnd::certain || (token->ending == TokenEnd::open && !head_));
    if (!token) return;
    refused_ = token->ending == TokenEnd::missing && !head_;
    // Whatever it goes on with: a string stays one. What it says is not known.
    const bool cut = !more_ && token->kind == TokenKind::string;
    if (cut) token->end = token->start;
    if (more_ || cut) slot(read_++) = *token;
  }

  std::string_view text_;
  Lexer lexer_;
  std::vector<Token> kept_;  // The last ones of those read: a ring, whose size is a power of two.
  std::ptrdiff_t read_ = 0;
  bool head_, more_ = true, refused_ = false, guessed_ = false;
};

}  // namespace pgjanus
