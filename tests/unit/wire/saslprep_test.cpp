#include <catch2/catch.hpp>

#include "support.hpp"
#include "wire/scram.hpp"

namespace pgjanus::wire {

TEST_CASE("ASCII passwords are left alone, control characters too", "[wire][saslprep]") {
  for (const std::string password : {"", "secret", "a b", "tab\there", "\x7F"}) {
    CHECK(saslprep(password) == password);
  }
}

TEST_CASE("what keyboards give comes out in the form that the server hashes", "[wire][saslprep]") {
  // Expected: unicodedata.normalize("NFKC", ...) of Python after the mappings of RFC 4013.
  const std::pair<std::string, std::string> pairs[] = {
      {"p\u00E4ssw\u00F6rt", "p\u00E4ssw\u00F6rt"},
      {"x\u00B2\u00B3", "x23"},
      {"\u00B5m", "\u03BCm"},
      {"a\u00A0b\u3000c\u2009d", "a b c d"},
      {"soft\u00ADhyphen\uFEFF", "softhyphen"},
      {"wait\u2026", "wait..."},
      {"\u00BD\u00B4",
       "1\u2044"
       "2 \u0301"},
      {"\uFF50\uFF57\uFF01", "pw!"},
      {"\u043F\u0430\u0440\u043E\u043B\u044C \u5BC6\u7801 \uBE44\uBC00",
       "\u043F\u0430\u0440\u043E\u043B\u044C \u5BC6\u7801 \uBE44\uBC00"},
      {"\u20AC100\u2122", "\u20AC100TM"},
  };
  for (const auto& [password, expected] : pairs) {
    CHECK(saslprep(ExactBuffer{as_bytes(password)}.text()) == expected);
  }
}

TEST_CASE("with a character beyond those, and in malformed UTF-8, the bytes stay as they are",
          "[wire][saslprep]") {
  for (const std::string password :
       {"\u00B2\uFDFA", "e\u0301\u00B2", "\u00B2\x80", "\u00B2\xC2", "\u00B2\xE2\x80",
        "\xC0\xAF\u00B2", "\xED\xA0\x80\u00B2", "\xF4\x90\x80\x80\u00B2", "\xF0\x9F\x98\x80\u00B2",
        "\xFF", "\u00AD"}) {
    CAPTURE(password);
    CHECK(saslprep(ExactBuffer{as_bytes(password)}.text()) == password);
  }
}

}  // namespace pgjanus::wire
