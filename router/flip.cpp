#include "router/flip.hpp"

#include "wire/assert.hpp"

namespace pgjanus {

Flip::Action Flip::resume(Event event) {
  const auto before_the_decision = [event](Action next) {
    PROXY_ASSERT(event == Event::done || event == Event::failed || event == Event::lost);
    // Nothing that these steps do is durable: a lost connection has rolled them back.
    return event == Event::done ? next : Action::undo;
  };
  switch (action_) {
    case Action::hold: return action_ = before_the_decision(Action::bar);
    case Action::bar: return action_ = before_the_decision(Action::drain);
    case Action::drain: return action_ = before_the_decision(Action::ready);
    case Action::ready: return action_ = before_the_decision(Action::decide);
    case Action::decide:
      PROXY_ASSERT(event == Event::done || event == Event::failed || event == Event::lost);
      if (event == Event::failed) return action_ = Action::undo;
      if (event == Event::lost) return action_ = Action::ask;
      decided_ = true;
      return action_ = Action::promote;
    case Action::ask:
      PROXY_ASSERT(event != Event::done);  // An answer is one of the two roles.
      if (event == Event::old_is_primary) return action_ = Action::undo;
      if (event != Event::old_is_mirror) return action_;
      decided_ = true;
      return action_ = Action::promote;
    case Action::promote:
      PROXY_ASSERT(event == Event::done || event == Event::failed || event == Event::lost);
      if (event == Event::done) action_ = Action::release_done;
      return action_;  // Otherwise again: nobody else may be primary now.
    case Action::undo:
      PROXY_ASSERT(event == Event::done || event == Event::failed || event == Event::lost);
      // What could not be rolled back by us is rolled back by its server: the connections are
      // closed, and their idle_in_transaction_session_timeout is short.
      return action_ = Action::release_undone;
    case Action::release_undone:
    case Action::release_done: break;
  }
  constexpr bool the_flip_is_over = true;
  PROXY_ASSERT(!the_flip_is_over);
  return action_;
}

std::string_view to_string(Flip::Action action) noexcept {
  switch (action) {
    case Flip::Action::hold: return "hold";
    case Flip::Action::bar: return "bar";
    case Flip::Action::drain: return "drain";
    case Flip::Action::ready: return "ready";
    case Flip::Action::decide: return "decide";
    case Flip::Action::ask: return "ask";
    case Flip::Action::promote: return "promote";
    case Flip::Action::undo: return "undo";
    case Flip::Action::release_undone: return "release_undone";
    case Flip::Action::release_done: return "release_done";
  }
  return {};
}

}  // namespace pgjanus
