// Our lexer against libpg_query's scanner: the same tokens on every text that it accepts. And of the head of a text
// what is called certain must be what the whole text has.

#include "router/lexer.hpp"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "router/parse_tree.hpp"
#include "wire/assert.hpp"
#include "wire/bytes.hpp"

using namespace pgjanus;

namespace {

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  Lexer lexer{text};
  while (const auto token = lexer.next()) {
    PROXY_ASSERT(token->start < token->end && token->end <= text.size());
    PROXY_ASSERT(tokens.empty() || tokens.back().end <= token->start);
    if (token->ending != TokenEnd::certain) PROXY_ASSERT(token->end == text.size() || token->ending == TokenEnd::open);
    tokens.push_back(*token);
  }
  return tokens;
}

/// Ours for one of theirs. What is no token of theirs with a name is an operator or a character.
TokenKind kind_of(const PgQuery__ScanToken& token, char first) {
  switch (token.token) {
    case PG_QUERY__TOKEN__SQL_COMMENT:
    case PG_QUERY__TOKEN__C_COMMENT: return TokenKind::comment;
    case PG_QUERY__TOKEN__SCONST:
    case PG_QUERY__TOKEN__USCONST:
    case PG_QUERY__TOKEN__BCONST:
    case PG_QUERY__TOKEN__XCONST: return TokenKind::string;
    case PG_QUERY__TOKEN__UIDENT: return TokenKind::quoted;
    case PG_QUERY__TOKEN__IDENT: return first == '"' ? TokenKind::quoted : TokenKind::word;
    case PG_QUERY__TOKEN__ICONST:
    case PG_QUERY__TOKEN__FCONST: return TokenKind::number;
    case PG_QUERY__TOKEN__PARAM: return TokenKind::parameter;
    default:
      return token.keyword_kind == PG_QUERY__KEYWORD_KIND__NO_KEYWORD ? TokenKind::symbol : TokenKind::word;
  }
}

/// Strings go on behind comments, and behind vertical tabs since version 16; libpg_query's copy ends them there.
bool goes_on_for_servers(std::string_view between) {
  return between.find("--") != std::string_view::npos || between.find('\v') != std::string_view::npos;
}

void compare(const std::string& text, const std::vector<Token>& ours, const PgQuery__ScanResult& theirs) {
  std::size_t i = 0;
  for (std::size_t k = 0; k < theirs.n_tokens; ++k) {
    const auto& token = *theirs.tokens[k];
    const auto start = static_cast<std::size_t>(token.start), end = static_cast<std::size_t>(token.end);
    if (text[start] == '\v') continue;  // A space for us.
    PROXY_ASSERT(i < ours.size() && ours[i].start == start);
    PROXY_ASSERT(ours[i].kind == kind_of(token, text[start]));
    PROXY_ASSERT(ours[i].ending != TokenEnd::missing || ours[i].kind == TokenKind::string);
    // The ends of these two it gives wrongly.
    const bool known = token.token != PG_QUERY__TOKEN__USCONST && token.token != PG_QUERY__TOKEN__UIDENT;
    if (known && ours[i].end != end) {
      PROXY_ASSERT(ours[i].kind == TokenKind::string && ours[i].end > end);
      const auto quote = text.find('\'', end);
      PROXY_ASSERT(quote < ours[i].end && goes_on_for_servers(std::string_view{text}.substr(end, ours[i].end - end)));
      return;
    }
    // The same, where its end is not known: the next token does not begin within ours.
    if (!known && k + 1 < theirs.n_tokens && static_cast<std::size_t>(theirs.tokens[k + 1]->start) < ours[i].end) {
      PROXY_ASSERT(goes_on_for_servers(std::string_view{text}.substr(start, ours[i].end - start)));
      return;
    }
    ++i;
  }
  PROXY_ASSERT(i == ours.size());
}

void check_head(std::string_view head, const std::vector<Token>& whole) {
  std::size_t i = 0;
  for (const auto& token : tokens_of(head)) {
    PROXY_ASSERT(i < whole.size() && whole[i].start == token.start);
    if (token.ending != TokenEnd::certain) {
      if (token.kind == TokenKind::string) PROXY_ASSERT(whole[i].kind == TokenKind::string);
      return;
    }
    PROXY_ASSERT(whole[i].end == token.end && whole[i].kind == token.kind);
    ++i;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = wire::as_text({data, size});
  // Exact, so that AddressSanitizer sees what is read behind it.
  const std::vector<char> exact(input.begin(), input.end());
  static_cast<void>(tokens_of({exact.data(), exact.size()}));

  const std::string text{input.substr(0, input.find('\0'))};
  const auto ours = tokens_of(text);
  const auto some = std::max<std::size_t>(1, text.size() / 64);
  for (std::size_t cut = text.size() % some; cut < text.size(); cut += some) check_head(std::string_view{text}.substr(0, cut), ours);

  if (long_operator_run(text)) return 0;  // It takes quadratic time.
  const auto scan = pg_query_scan(text.c_str());
  if (scan.error == nullptr) {
    auto* theirs = pg_query__scan_result__unpack(nullptr, scan.pbuf.len, reinterpret_cast<const std::uint8_t*>(scan.pbuf.data));
    PROXY_ASSERT(theirs != nullptr);
    compare(text, ours, *theirs);
    pg_query__scan_result__free_unpacked(theirs, nullptr);
  }
  pg_query_free_scan_result(scan);
  return 0;
}
