#include "router/recovery.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace pgjanus;
using Action = Recovery::Action;

namespace {

constexpr auto source = Side::source;
constexpr auto target = Side::target;

StoredState state(Side side, Role role, std::uint64_t epoch, std::string phase = "mirroring",
                  std::string migration = "m1") {
  return {std::move(migration), side, role, Epoch{epoch}, std::move(phase)};
}
SideReport primary(Side side, std::uint64_t epoch, std::string phase = "mirroring") {
  return {true, state(side, Role::primary, epoch, std::move(phase))};
}
SideReport mirror(Side side, std::uint64_t epoch, std::string phase = "mirroring") {
  return {true, state(side, Role::mirror, epoch, std::move(phase))};
}
const SideReport nothing{true, std::nullopt};
const SideReport unreachable{};

void expect(const SideReport& on_source, const SideReport& on_target, Action action,
            std::optional<Side> serves, std::uint64_t epoch, const std::string& why) {
  const auto found = recover({on_source, on_target});
  CAPTURE(found.why, why);
  CHECK(found.action == action);
  CHECK(found.primary == serves);
  CHECK(found.epoch == Epoch{epoch});
  CHECK(found.why.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("the ordinary states", "[router][recovery]") {
  expect(nothing, nothing, Action::idle, source, 0, "");
  expect(primary(source, 0, "prepared"), mirror(target, 0, "prepared"), Action::serve, source, 0,
         "");
  expect(primary(source, 0), mirror(target, 0), Action::serve, source, 0, "");
  expect(mirror(source, 1), primary(target, 1), Action::serve, target, 1, "");
  expect(primary(source, 2), mirror(target, 2), Action::serve, source, 2, "");
  expect(mirror(source, 1, "finished"), primary(target, 1, "finished"), Action::serve, target, 1,
         "");
  expect(mirror(source, 1, "mirroring"), primary(target, 1, "finished"), Action::serve, target, 1,
         "");
  CHECK(recover({primary(source, 0), mirror(target, 0)}).why.empty());
}

TEST_CASE("a flip that was decided and not finished", "[router][recovery]") {
  expect(mirror(source, 1), mirror(target, 0), Action::finish_promotion, target, 1, "target");
  expect(mirror(source, 1), mirror(target, 2), Action::finish_promotion, source, 2, "source");
}

TEST_CASE("two mirrors that no flip leaves behind", "[router][recovery]") {
  expect(mirror(source, 1), mirror(target, 1), Action::refuse, std::nullopt, 0, "back in time");
  expect(mirror(source, 3), mirror(target, 1), Action::refuse, std::nullopt, 0, "back in time");
}

TEST_CASE("two primaries", "[router][recovery]") {
  expect(primary(source, 0), primary(target, 1), Action::fence, target, 1, "source has lost its");
  expect(primary(source, 2), primary(target, 1), Action::fence, source, 2, "target has lost its");
  expect(primary(source, 1), primary(target, 1), Action::refuse, std::nullopt, 0, "ALARM");
}

TEST_CASE("roles that fit and epochs that do not", "[router][recovery]") {
  expect(mirror(source, 3), primary(target, 1), Action::refuse, std::nullopt, 0, "back in time");
  expect(mirror(source, 0), primary(target, 1), Action::serve, target, 1, "older epoch");
}

TEST_CASE("one side cannot be reached", "[router][recovery]") {
  expect(unreachable, unreachable, Action::wait, std::nullopt, 0, "neither");
  expect(primary(source, 2), unreachable, Action::serve, source, 2, "target");
  expect(unreachable, primary(target, 1), Action::serve, target, 1, "source");
  expect(mirror(source, 1), unreachable, Action::wait, std::nullopt, 0, "target");
  expect(unreachable, mirror(target, 0), Action::wait, std::nullopt, 0, "source");
  // A target without state says nothing about the source, but only prepare, which writes the
  // target first, could have given the source any.
  expect(nothing, unreachable, Action::idle, source, 0, "target cannot be reached");
  expect(unreachable, nothing, Action::wait, std::nullopt, 0, "source cannot be reached");
}

TEST_CASE("one side has no state", "[router][recovery]") {
  expect(nothing, mirror(target, 0, "prepared"), Action::idle, source, 0, "interrupted");
  expect(nothing, mirror(target, 0), Action::idle, source, 0, "mirroring has ended");
  expect(nothing, primary(target, 1), Action::serve, target, 1, "source has no pgjanus schema");
  expect(primary(source, 0), nothing, Action::serve, source, 0, "target has no pgjanus schema");
  expect(mirror(source, 1), nothing, Action::refuse, std::nullopt, 0, "--primary");
}

TEST_CASE("pairs that do not belong together name the URL that looks wrong", "[router][recovery]") {
  const SideReport other_migration{true, state(target, Role::mirror, 0, "mirroring", "m2")};
  expect(primary(source, 0), other_migration, Action::refuse, std::nullopt, 0,
         "source m1, target m2");
  expect(mirror(target, 0), primary(source, 0), Action::refuse, std::nullopt, 0,
         "the two URLs are swapped");
  expect(primary(source, 0), primary(source, 0), Action::refuse, std::nullopt, 0,
         "TARGET_DATABASE_URL leads to the source");
  expect(mirror(target, 0), mirror(target, 0), Action::refuse, std::nullopt, 0,
         "SOURCE_DATABASE_URL leads to the target");
  expect(mirror(target, 0), nothing, Action::refuse, std::nullopt, 0, "swapped?");
  expect(mirror(target, 0), unreachable, Action::refuse, std::nullopt, 0, "swapped?");
  expect(unreachable, primary(source, 0), Action::refuse, std::nullopt, 0,
         "TARGET_DATABASE_URL leads to the source");
}

TEST_CASE("all combinations: nobody serves on a side that says mirror, and a reason is given",
          "[router][recovery]") {
  std::vector<std::vector<SideReport>> reports(2);
  for (const auto slot : {source, target}) {
    auto& list = reports[static_cast<std::size_t>(slot)];
    list = {unreachable, nothing};
    for (const auto side : {source, target}) {
      for (const auto role : {Role::primary, Role::mirror}) {
        for (const std::uint64_t epoch : {0, 1, 2, 3}) {
          for (const auto* phase : {"prepared", "mirroring", "finished"}) {
            for (const auto* migration : {"m1", "m2"}) {
              list.push_back({true, state(side, role, epoch, phase, migration)});
            }
          }
        }
      }
    }
  }
  for (const auto& on_source : reports[0]) {
    for (const auto& on_target : reports[1]) {
      const PerSide<SideReport> sides{on_source, on_target};
      const auto found = recover(sides);
      const bool decides = found.action == Action::serve || found.action == Action::fence ||
                           found.action == Action::finish_promotion;
      REQUIRE(found.primary.has_value() == (decides || found.action == Action::idle));
      if (found.action != Action::serve && found.action != Action::idle) {
        REQUIRE_FALSE(found.why.empty());
      }
      if (found.action == Action::serve || found.action == Action::fence) {
        const auto& chosen = sides[*found.primary].state;
        REQUIRE(chosen.has_value());
        REQUIRE(chosen->role == Role::primary);
        REQUIRE(chosen->side == *found.primary);
        REQUIRE(found.epoch == chosen->epoch);
        // Nobody knows of a later flip.
        const auto& rest = sides[other(*found.primary)].state;
        if (rest) REQUIRE(rest->epoch <= found.epoch);
      }
      if (found.action == Action::finish_promotion) {
        REQUIRE(sides[source].state->role == Role::mirror);
        REQUIRE(sides[target].state->role == Role::mirror);
        REQUIRE(sides[other(*found.primary)].state->epoch == found.epoch);
      }
      REQUIRE(recover(sides).why == found.why);
    }
  }
}
