#include <catch2/catch.hpp>

#include "proxy/pg/connection.hpp"

using pgjanus::pg::login_error;

TEST_CASE("a refused connection's code is taken out of libpq's words", "[pg]") {
  const auto refused = login_error(
      "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  28P01: password "
      "authentication failed for user \"app\"\nLOCATION:  auth_failed, auth.c:331\n");
  CHECK(refused.sqlstate == "28P01");
  CHECK(refused.message == "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  "
                           "password authentication failed for user \"app\"");
  // Two tries, with TLS and without.
  const auto twice = login_error("failed: FATAL:  28000: one\nLOCATION:  f, auth.c:1\n"
                                 "failed: FATAL:  28P01: two\nLOCATION:  f, auth.c:2\n");
  CHECK(twice.sqlstate == "28P01");
  CHECK(twice.message == "failed: FATAL:  one failed: FATAL:  two");
  const auto none = login_error("connection to server failed: Connection refused\n");
  CHECK(none.sqlstate.empty());
  CHECK(none.message == "connection to server failed: Connection refused");
  for (const auto* text : {"", ":  ", ":  28P01", ":  28P0: x", ":  28p01: x", "\nLOCATION:"}) {
    CAPTURE(text);
    CHECK(login_error(text).sqlstate.empty());
  }
}
