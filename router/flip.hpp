#pragma once
// The flip as a state machine (design.md section 9): feed an event, get the next action. The
// engine carries actions out; tests feed events.

#include <cstdint>
#include <string_view>

#include "router/words.hpp"

namespace pgjanus {

// clang-format off
//  start -> hold --held--> bar --barred--> drain --drained--> ready --readied--> decide --ok--> promote
//            |              |                |                  |                  |              |
//         timeout        timeout           failed             failed           reply lost       ok -> release(done)
//            v              v                v                  v                  v              | lost
//          undo --------> undo ----------> undo ------------> undo               ask            promote again
//            |                                                          (lock, then read role)
//            v                                                    mirror -> promote; primary -> undo
//       release(undone)                                           unreachable -> ask again (in_doubt)
//
// clang-format on
// Durable: the commit of `decide`. Before it nothing happened and undo is only letting locks go;
// after it only forward: `promote` is idempotent and any proxy can finish it.
class Flip {
 public:
  enum class Action : std::uint8_t {
    hold,     // Close the gate; wait until every session is between transactions.
    bar,      // LOCK the journal of the old primary against writers.
    drain,    // Last boundary; sequences stopped; catalogs compared; guards again.
    ready,    // Everything of the promotion up to its COMMIT, on the new primary.
    decide,   // Fence and role on the old primary: COMMIT.
    ask,      // The reply was lost: take a conflicting lock on the old primary, read its role.
    promote,  // COMMIT (or redo) the promotion on the new primary.
    undo,     // Roll back what is open on both sides.
    release_undone,  // Open the gate where it was.
    release_done,    // Open the gate on the new primary.
  };
  enum class Event : std::uint8_t {
    done,           // The action succeeded.
    failed,         // It failed, or its time ran out, and it certainly did not commit.
    lost,           // The connection was lost: it may or may not have committed.
    old_is_mirror,  // Answer to ask: it was decided.
    old_is_primary, // Answer to ask: it was not.
  };

  [[nodiscard]] Action action() const noexcept { return action_; }
  /// Whether the decision may have been made: then a proxy must neither open the gate nor undo.
  [[nodiscard]] bool in_doubt() const noexcept { return action_ == Action::ask; }
  [[nodiscard]] bool decided() const noexcept { return decided_; }
  [[nodiscard]] bool over() const noexcept {
    return action_ == Action::release_undone || action_ == Action::release_done;
  }

  /// Feeds the outcome of the present action and returns the next one. Asserts that the event can
  /// answer the action.
  Action resume(Event event);

 private:
  Action action_ = Action::hold;
  bool decided_ = false;
};

[[nodiscard]] std::string_view to_string(Flip::Action action) noexcept;

}  // namespace pgjanus
