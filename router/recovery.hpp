#pragma once
// What the stored state of the two databases means: the crash table of the flip, as a function.

#include <optional>
#include <string>

#include "router/words.hpp"

namespace pgjanus {

/// The part of pgjanus.state that recovery needs; absent when a side has no state.
struct StoredState {
  std::string migration;  // The migration's id, equal on both sides.
  Side side = Side::source;
  Role role = Role::primary;
  Epoch epoch;
  std::string phase;
  friend bool operator==(const StoredState&, const StoredState&) = default;
};

/// What could be read of one side.
struct SideReport {
  bool reachable = false;
  std::optional<StoredState> state;
};

/// What to do about it. `primary` is set when it is certain.
struct Recovery {
  enum class Action : std::uint8_t {
    idle,             // Neither side has state: the source serves, nothing is mirrored.
    serve,            // One primary, one mirror (or the mirror is unreachable: degraded).
    finish_promotion, // Two mirrors: the flip was decided; promote `primary`, idempotently.
    fence,            // Two primaries: the other side's epoch is lower; fence it at once, alarm.
    wait,             // The primary is not known until the unreachable side answers.
    refuse,           // The pair does not belong together; `why` says it.
  };
  Action action = Action::wait;
  std::optional<Side> primary;
  Epoch epoch;
  std::string why;
};

/// The crash table of design.md section 9. Pure: same reports, same answer. Why a lone "primary"
/// is believed: the fence on the old primary commits before the new primary is promoted, so a
/// side that still says primary was not fenced.
[[nodiscard]] Recovery recover(const PerSide<SideReport>& sides);

}  // namespace pgjanus
