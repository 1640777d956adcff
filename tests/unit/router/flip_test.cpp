#include "router/flip.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace pgjanus;
using Action = Flip::Action;
using Event = Flip::Event;

namespace {

/// The events that may answer an action.
std::vector<Event> answers(Action action) {
  switch (action) {
    case Action::hold:
    case Action::bar:
    case Action::drain:
    case Action::ready:
    case Action::decide:
    case Action::promote:
    case Action::undo: return {Event::done, Event::failed, Event::lost};
    case Action::ask:
      return {Event::failed, Event::lost, Event::old_is_mirror, Event::old_is_primary};
    case Action::release_undone:
    case Action::release_done: return {};
  }
  return {};
}

/// What the databases went through, as the events say it.
struct Path {
  Flip flip;
  std::string log;
  bool may_be_decided = false;  // decide was sent and its outcome was not "failed".
  bool decided = false;         // Known: done, or the old primary said mirror.
};

void explore(const Path& path, int depth, std::size_t& ended) {
  INFO(path.log);
  const auto action = path.flip.action();
  if (path.flip.over()) {
    ++ended;
    // The gate opens on the new primary exactly when the flip was decided.
    REQUIRE((action == Action::release_done) == path.decided);
    return;
  }
  if (path.decided) {
    REQUIRE(action == Action::promote);
    REQUIRE(path.flip.decided());
  }
  if (action == Action::undo) REQUIRE_FALSE(path.may_be_decided);
  if (path.may_be_decided && !path.decided) REQUIRE(path.flip.in_doubt());
  if (depth == 0) return;
  for (const auto event : answers(action)) {
    auto next = path;
    if (action == Action::decide) {
      next.may_be_decided = event != Event::failed;
      next.decided = event == Event::done;
    }
    if (action == Action::ask && event == Event::old_is_mirror) next.decided = true;
    if (action == Action::ask && event == Event::old_is_primary) next.may_be_decided = false;
    next.log +=
        std::string{to_string(action)} + " " + std::to_string(static_cast<int>(event)) + "; ";
    const auto returned = next.flip.resume(event);
    REQUIRE(returned == next.flip.action());
    explore(next, depth - 1, ended);
  }
}

Flip at(Action action) {
  Flip flip;
  while (flip.action() != action) {
    if (flip.action() == Action::decide && action == Action::ask) {
      flip.resume(Event::lost);
    } else {
      flip.resume(Event::done);
    }
  }
  return flip;
}

}  // namespace

TEST_CASE("a flip without trouble", "[router][flip]") {
  Flip flip;
  for (const auto next : {Action::bar, Action::drain, Action::ready, Action::decide,
                          Action::promote, Action::release_done}) {
    CHECK_FALSE(flip.over());
    CHECK(flip.resume(Event::done) == next);
  }
  CHECK(flip.over());
  CHECK(flip.decided());
}

TEST_CASE("every event at every step: no undo after the decision, no release in doubt",
          "[router][flip]") {
  std::size_t ended = 0;
  explore(Path{}, 12, ended);
  CHECK(ended > 20);
}

TEST_CASE("trouble before the decision is undone", "[router][flip]") {
  for (const auto step :
       {Action::hold, Action::bar, Action::drain, Action::ready, Action::decide}) {
    auto flip = at(step);
    CHECK(flip.resume(Event::failed) == Action::undo);
    CHECK(flip.resume(Event::lost) == Action::release_undone);
    CHECK_FALSE(flip.decided());
  }
}

TEST_CASE("a lost reply to the fence is in doubt, never undone", "[router][flip]") {
  auto flip = at(Action::ask);
  CHECK(flip.in_doubt());
  for (int i = 0; i < 100; ++i) {
    CHECK(flip.resume(i % 2 == 0 ? Event::lost : Event::failed) == Action::ask);
    CHECK(flip.in_doubt());
  }
  auto decided = flip;
  CHECK(decided.resume(Event::old_is_mirror) == Action::promote);
  CHECK(decided.decided());
  CHECK(flip.resume(Event::old_is_primary) == Action::undo);
  CHECK_FALSE(flip.decided());
}

TEST_CASE("the promotion is tried until it is done", "[router][flip]") {
  auto flip = at(Action::promote);
  for (int i = 0; i < 100; ++i) {
    CHECK(flip.resume(i % 2 == 0 ? Event::lost : Event::failed) == Action::promote);
  }
  CHECK(flip.resume(Event::done) == Action::release_done);
}

TEST_CASE("every action has a name", "[router][flip]") {
  for (auto action = static_cast<int>(Action::hold);
       action <= static_cast<int>(Action::release_done); ++action) {
    CHECK_FALSE(to_string(static_cast<Action>(action)).empty());
  }
}
