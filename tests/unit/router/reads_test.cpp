#include "router/reads.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;
using Kind = ReadsPolicy::Kind;

TEST_CASE("reads policies in words", "[router][reads]") {
  for (const auto* text : {"primary", "mirror", "source", "target", "0%", "25%", "100%"}) {
    CAPTURE(text);
    const auto policy = parse_reads(text);
    REQUIRE(policy);
    CHECK(to_string(*policy) == text);
  }
  for (const auto* text :
       {"", "%", "101%", "-1%", "25", "25 %", "2.5%", "256%", "Primary", "half", "25%%", "+5%"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_reads(text));
  }
}

TEST_CASE("the share of the target", "[router][reads]") {
  CHECK(target_percent({Kind::primary}, Side::source) == 0);
  CHECK(target_percent({Kind::primary}, Side::target) == 100);
  CHECK(target_percent({Kind::mirror}, Side::source) == 100);
  CHECK(target_percent({Kind::mirror}, Side::target) == 0);
  CHECK(target_percent({Kind::source}, Side::target) == 0);
  CHECK(target_percent({Kind::target}, Side::source) == 100);
  CHECK(target_percent({Kind::percent, 25}, Side::source) == 25);
}

TEST_CASE("only a provable read leaves the primary, and only for a mirror in sync",
          "[router][reads]") {
  const StatementClass read{StatementKind::read, false, false};
  ReadContext context{.primary = Side::source,
                      .policy = {Kind::mirror},
                      .mirror_in_sync = true,
                      .own_writes_mirrored = true,
                      .movable = true,
                      .dice = 99};
  CHECK(route(read, context) == Side::target);
  for (int kind = 0; kind < static_cast<int>(statement_kinds); ++kind) {
    const StatementClass statement{static_cast<StatementKind>(kind), false, false};
    CHECK((route(statement, context) == Side::target) == (statement.kind == StatementKind::read));
  }
  CHECK(route({StatementKind::read, true, false}, context) == Side::source);
  auto stale = context;
  stale.mirror_in_sync = false;
  CHECK(route(read, stale) == Side::source);
  auto own = context;
  own.own_writes_mirrored = false;
  CHECK(route(read, own) == Side::source);
  auto pinned = context;
  pinned.movable = false;
  CHECK(route(read, pinned) == Side::source);
  context.primary = Side::target;
  CHECK(route(read, context) == Side::source);
}

TEST_CASE("percentages split exactly", "[router][reads]") {
  const StatementClass read{StatementKind::read, false, false};
  for (std::uint8_t percent = 0; percent <= 100; ++percent) {
    unsigned on_target = 0;
    for (std::uint32_t dice = 0; dice < 100; ++dice) {
      ReadContext context{.primary = Side::source,
                          .policy = {Kind::percent, percent},
                          .mirror_in_sync = true,
                          .own_writes_mirrored = true,
                          .movable = true,
                          .dice = dice};
      on_target += route(read, context) == Side::target ? 1 : 0;
    }
    CHECK(on_target == percent);
  }
}
