#include "router/words.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace pgjanus;

TEST_CASE("sides and roles in words and back", "[router][words]") {
  for (const auto side : {Side::source, Side::target}) CHECK(side_from(to_string(side)) == side);
  for (const auto role : {Role::primary, Role::mirror}) CHECK(role_from(to_string(role)) == role);
  CHECK_FALSE(side_from("Source"));
  CHECK_FALSE(role_from(""));
  CHECK(other(Side::source) == Side::target);
  CHECK(other(Side::target) == Side::source);
}

TEST_CASE("snapshots in text and back", "[router][words]") {
  for (const auto* text : {"3:3:", "10:20:", "10:20:10", "10:20:10,14,19",
                           "18446744073709551614:18446744073709551615:18446744073709551614"}) {
    CAPTURE(text);
    const auto snapshot = parse_snapshot(text);
    REQUIRE(snapshot);
    CHECK(to_string(*snapshot) == text);
  }
  CHECK(parse_snapshot(snapshot_of_nothing));
}

TEST_CASE("what is no snapshot is refused", "[router][words]") {
  for (const auto* text :
       {"", "3", "3:3", ":3:", "3::", "20:10:", "10:20:9", "10:20:20", "10:20:14,14", "10:20:15,14",
        "10:20:14,", "10:20:,14", "10:20:a", "-1:3:", "+1:3:", " 3:3:", "3:3: ", "3:3::",
        "18446744073709551616:18446744073709551617:"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_snapshot(text));
  }
}

TEST_CASE("a snapshot sees what had ended", "[router][words]") {
  const auto snapshot = *parse_snapshot("10:20:10,14,19");
  for (std::uint64_t xid = 0; xid < 30; ++xid) {
    CAPTURE(xid);
    const bool ended = xid < 10 || (xid < 20 && xid != 10 && xid != 14 && xid != 19);
    CHECK(snapshot.sees({xid}) == ended);
  }
  const auto nothing = *parse_snapshot(snapshot_of_nothing);
  CHECK_FALSE(nothing.sees({3}));
}
