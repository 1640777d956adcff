#include "proxy/session/keyring.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;

TEST_CASE("a keyring gives what deriving gives, the first time and later", "[session]") {
  ScramKeyring ring;
  const auto same = [](const wire::ScramKeys& a, const wire::ScramKeys& b) {
    return a.client == b.client && a.server == b.server;
  };
  const auto keys = wire::derive_scram_keys("pencil", "salt", 7);
  CHECK(same(ring.keys("pencil", "salt", 7), keys));
  CHECK(same(ring.keys("pencil", "salt", 7), keys));
  // Another password, salt or count has keys of its own, also where the texts together are alike.
  CHECK_FALSE(same(ring.keys("pencils", "alt", 7), keys));
  CHECK_FALSE(same(ring.keys("pencil", "salt", 8), keys));
  CHECK_FALSE(same(ring.keys("encil", "saltp", 7), keys));
  for (int i = 0; i < 600; ++i) static_cast<void>(ring.keys("pencil", "salt" + std::to_string(i), 1));
  CHECK(same(ring.keys("pencil", "salt", 7), keys));
}
