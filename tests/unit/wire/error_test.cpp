#include "wire/error.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>

namespace pgjanus::wire {

TEST_CASE("every error of this folder has a text of its own", "[wire][error]") {
  std::set<std::string> texts;
  constexpr int count = static_cast<int>(WireErrc::scram_server_signature);
  for (int value = 1; value <= count; ++value) {
    texts.insert(make_error_code(static_cast<WireErrc>(value)).message());
  }
  CHECK(texts.size() == static_cast<std::size_t>(count));
  CHECK(texts.count(wire_category().message(0)) == 0);
  CHECK(std::string{wire_category().name()} == "pgjanus.wire");
}

}  // namespace pgjanus::wire
