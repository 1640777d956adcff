#include "proxy/admin/tokens.hpp"

namespace pgjanus::admin {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }

/// Characters of a bare word. Dots, percent signs and stars belong to it, so that public.orders,
/// 25% and 1.5s need no quotes; bytes of UTF-8 do, as in SQL.
bool in_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '%' || c == '$' || c == '*' || c == '-' || byte >= 0x80;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_{text} {}

  std::optional<std::vector<Tokens>> run() {
    std::vector<Tokens> statements(1);
    while (skip_blanks()) {
      if (at_ == text_.size()) {
        if (statements.back().empty()) statements.pop_back();
        return statements;
      }
      if (text_[at_] == ';') {
        ++at_;
        if (!statements.back().empty()) statements.emplace_back();
        continue;
      }
      auto token = next();
      if (!token) return std::nullopt;
      statements.back().push_back(std::move(*token));
    }
    return std::nullopt;
  }

 private:
  bool starts(std::string_view with) const { return text_.substr(at_).starts_with(with); }

  /// False when a comment does not end.
  bool skip_blanks() {
    while (at_ < text_.size()) {
      if (blank(text_[at_])) {
        ++at_;
      } else if (starts("--")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (starts("/*")) {
        const auto end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return false;
        at_ = end + 2;
      } else {
        break;
      }
    }
    return true;
  }

  std::optional<Token> next() {
    const char c = text_[at_];
    if (c == '\'') return quoted(c, Token::Kind::value);
    if (c == '"') return quoted(c, Token::Kind::name);
    if (!in_word(c)) {
      ++at_;
      return Token{Token::Kind::symbol, std::string{c}, {}};
    }
    Token token{Token::Kind::word, {}, {}};
    while (at_ < text_.size() && in_word(text_[at_])) {
      const char letter = text_[at_++];
      token.text += letter;
      token.upper += letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 32) : letter;
    }
    return token;
  }

  /// Up to the closing quote; a doubled quote stands for one.
  std::optional<Token> quoted(char quote, Token::Kind kind) {
    Token token{kind, {}, {}};
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] != quote) {
        token.text += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == quote) {
        token.text += text_[at_++];
      } else {
        ++at_;
        return token;
      }
    }
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<std::vector<Tokens>> tokenize(std::string_view text) {
  return Scanner{text}.run();
}

}  // namespace pgjanus::admin
