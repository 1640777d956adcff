#include <catch2/catch.hpp>

#include "support.hpp"
#include "wire/scram.hpp"

namespace pgjanus::wire {

TEST_CASE("base64 gives the vectors of RFC 4648 and reads them back", "[wire][base64]") {
  const std::pair<std::string_view, std::string_view> vectors[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
  };
  for (const auto& [raw, text] : vectors) {
    CHECK(base64(raw) == text);
    CHECK(base64_decode(text) == raw);
  }
}

TEST_CASE("every byte value survives base64", "[wire][base64]") {
  std::string raw;
  for (int value = 0; value < 256; ++value) {
    raw += static_cast<char>(value);
    const ExactBuffer text{as_bytes(base64(raw))};
    CHECK(base64_decode(text.text()) == raw);
  }
}

TEST_CASE("base64 with anything else in it is refused", "[wire][base64]") {
  for (const auto* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "=g==", "Z===", "====", "Zg= =", "Zm9v\n",
                           "Zm-v", "Zm_v", "Zm9\x80", "Zh==" /* surplus bits */, "Zm9="}) {
    CAPTURE(text);
    CHECK_FALSE(base64_decode(ExactBuffer{as_bytes(text)}.text()));
  }
  CHECK_FALSE(base64_decode(std::string_view("Zm9\0", 4)));
}

}  // namespace pgjanus::wire
