#include "router/lexer.hpp"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

using namespace pgjanus;

namespace {

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  Lexer lexer{text};
  while (const auto token = lexer.next()) tokens.push_back(*token);
  return tokens;
}

/// As one text: the tokens with a bar between them.
std::string shown(std::string_view text) {
  std::string result;
  for (const auto& token : tokens_of(text)) {
    if (!result.empty()) result += '|';
    result += text.substr(token.start, token.end - token.start);
  }
  return result;
}

TokenKind kind_of(std::string_view text) {
  const auto tokens = tokens_of(text);
  CAPTURE(text);
  REQUIRE(tokens.size() == 1);
  return tokens.front().kind;
}

TokenEnd ending_of(std::string_view text) { return tokens_of(text).back().ending; }

/// libpg_query's tokens, shown the same way.
std::string of_server(const std::string& text) {
  const auto scan = pg_query_scan(text.c_str());
  REQUIRE(scan.error == nullptr);
  auto* found = pg_query__scan_result__unpack(nullptr, scan.pbuf.len, reinterpret_cast<const std::uint8_t*>(scan.pbuf.data));
  std::string result;
  for (std::size_t i = 0; i < found->n_tokens; ++i) {
    if (i > 0) result += '|';
    const auto start = static_cast<std::size_t>(found->tokens[i]->start), end = static_cast<std::size_t>(found->tokens[i]->end);
    result += text.substr(start, end - start);
  }
  pg_query__scan_result__free_unpacked(found, nullptr);
  pg_query_free_scan_result(scan);
  return result;
}

}  // namespace

TEST_CASE("the lexer cuts texts where the server's scanner does", "[router][lexer]") {
  const std::vector<std::string> texts{
      "SELECT a.b, \"c\"\"d\".e FROM t WHERE x=-1 AND y<>$1::int[];",
      "a$b$c _x Ünï9$ A1",
      "'it''s' 'a\\' 'b'  'c'",
      "E'a\\'b' e'\\\\' E'\\x41\\101\\u00e9'",
      "b'01' X'1f' B'1''1' n'x' N'' nb'x'",
      "'a'\n'b' 'c' \r\n\t 'd' E'e'\n'\\'f' x'1'\n'2'",
      "$$a$b$$ $t$a$$b$tt$c$t$ $1$2 $a $_é$x$_é$ a$$b$$",
      "$1 $12$$x$$",
      "/* a /* b */ c */ -- d\n- - 1 --",
      "/**/ /*/ */ /* **/ */ a*/ */",
      "a+-b a=-1 a@-1 a-@b a=+-1 <=-1 *+*+1 ++1 |+- ?-? #-- x",
      "a/*b*/+/*c*/-1 a||--\n'b' a<=>b !=- =>-1 -/**/-",
      "1 1.5 1. .5 1..2 1...2 1e5 1.e5 .5e+5 1.2.3 1e5.5",
      "f(a=>1,b:=2,c::d[1:2]) a.. :a : :: ::: :=:= ...",
      "\\ { } \x01 a\x7f",
      "u&x U &'x' u& us&'x'",
  };
  for (const auto& text : texts) {
    CAPTURE(text);
    CHECK(shown(text) == of_server(text));
  }
}

TEST_CASE("tokens are of the kind that their first characters say", "[router][lexer]") {
  for (const auto* text : {"a", "SELECT", "é", "_", "u"}) CHECK(kind_of(text) == TokenKind::word);
  for (const auto* text : {"\"a\"", "\"a\"\"b\"", "U&\"a\"\"b\"", "u&\"\\0061\""}) CHECK(kind_of(text) == TokenKind::quoted);
  for (const auto* text : {"''", "'a''b'", "e'\\''", "U&'a''b'", "b'1'", "X'f'", "$$'$$", "$a$$b$$a$"})
    CHECK(kind_of(text) == TokenKind::string);
  for (const auto* text : {"1", ".5", "1e5"}) CHECK(kind_of(text) == TokenKind::number);
  CHECK(kind_of("$12") == TokenKind::parameter);
  for (const auto* text : {"(", "+", "@-", "::", "..", ":=", "=>", "$", "\\"}) CHECK(kind_of(text) == TokenKind::symbol);
  for (const auto* text : {"-- a", "/* a */", "/*/**/*/"}) CHECK(kind_of(text) == TokenKind::comment);
  CHECK(tokens_of(" \n\t").empty());
}

TEST_CASE("a string goes on behind a comment too, where libpg_query's copy of the scanner ends it", "[router][lexer]") {
  CHECK(shown("'a' -- b\n -- c\n 'd' x") == "'a' -- b\n -- c\n 'd'|x");
  CHECK(shown("E'a' -- b\n'\\'c' x") == "E'a' -- b\n'\\'c'|x");
  CHECK(shown("'a' -- 'b'") == "'a'|-- 'b'");
  CHECK(shown("'a' /* b */\n 'c'") == "'a'|/* b */|'c'");
}

TEST_CASE("what some versions refuse behind a number begins the next token", "[router][lexer]") {
  CHECK(shown("1a 1.5b $1c 0x1f 1_000") == "1|a|1.5|b|$1|c|0|x1f|1|_000");
  CHECK(shown("1e 1e+ 1.5e-a 1.e") == "1|e|1|e|+|1.5|e|-|a|1.|e");
}

TEST_CASE("what has no end is said to have none", "[router][lexer]") {
  for (const auto* text : {"'a", "'a''", "E'a\\'", "'a'\n'", "\"a", "\"a\"\"", "U&\"a", "$$a$", "$a$ $b$", "/* a", "/* /* */", "x'1"}) {
    CAPTURE(text);
    CHECK(ending_of(text) == TokenEnd::missing);
  }
  for (const auto* text : {"'a'", "'a'\n", "a", "u&", "1", "1.", ".", "$", "$a", "$1", "-", "+-", "-- a", "\"a\"", "'a' -", "a:"})
    CHECK(ending_of(text) != TokenEnd::missing);
}

TEST_CASE("what is certain stays so, whatever text follows", "[router][lexer]") {
  const std::string text =
      "INSERT INTO \"a\"\"b\".c (d) VALUES (-1.5e-3, $1, 'x''y', E'\\'' -- c\n '\\'', $t$ $ $t$, b'1', U&'a')/*/**/*/ -- e\n"
      "ON CONFLICT DO UPDATE SET a=@-1, b=+-c::text[1..2], d|| 'x'  \n  'y', U&\"x\"\"y\", $$$$, a:=b <> !=-1 + - 1e5";
  const auto whole = tokens_of(text);
  for (std::size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    std::size_t i = 0;
    for (const auto& token : tokens_of(std::string_view{text}.substr(0, size))) {
      REQUIRE(i < whole.size());
      CHECK(token.start == whole[i].start);
      if (token.ending != TokenEnd::certain) {
        if (token.kind == TokenKind::string) CHECK(whole[i].kind == TokenKind::string);
        break;
      }
      CHECK(token.end == whole[i].end);
      CHECK(token.kind == whole[i].kind);
      ++i;
    }
  }
}

TEST_CASE("runs and nests that are quadratic or deep elsewhere are read at once", "[router][lexer]") {
  constexpr std::size_t size = 1 << 20;
  CHECK(tokens_of(std::string(size, '+')).size() == size);
  CHECK(tokens_of(std::string(size, '=')).size() == 1);
  CHECK(tokens_of(std::string(size, '$')).size() == size / 4);
  std::string nest, strings, tags;
  for (std::size_t i = 0; i < size / 4; ++i) {
    nest += "/*";
    strings += "'' ";
    tags += "$a ";
  }
  CHECK(tokens_of(nest).size() == 1);
  CHECK(tokens_of(strings).size() == size / 4);
  CHECK(tokens_of(tags).size() == size / 2);
}

TEST_CASE("what the lexer costs", "[.measure]") {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  for (const std::string part : {"1,", "'abcdef',", "a.b = c_long_name + 1 AND ", "++"}) {
    std::string text;
    while (text.size() < (4U << 20)) text += part;
    const auto start = std::chrono::steady_clock::now();
    Lexer lexer{text};
    std::size_t count = 0;
    while (lexer.next()) ++count;
    const Milliseconds took = std::chrono::steady_clock::now() - start;
    std::printf("%8.1f ms for %zu tokens of 4 MB of %s\n", took.count(), count, part.c_str());
  }
}
