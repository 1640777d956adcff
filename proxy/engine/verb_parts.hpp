#pragma once
// What the verbs share, whichever file they stand in.

#include <string>

#include "proxy/capture/capture.hpp"
#include "proxy/engine/operations.hpp"

namespace pgjanus {

/// Who asks for the verifications of [verify] every.
inline constexpr const char* schedule_peer = "schedule";

/// An earlier step is missing; `hint` says which command comes first.
[[nodiscard]] inline Outcome not_ready(std::string message, std::string hint) {
  return {Ended::not_ready, std::move(message), std::move(hint), {}};
}

/// Tells the caller of a verb which lock it waits for. Empty when nobody listens.
[[nodiscard]] inline capture::OnWaiting tell_waiting(const Progress& progress) {
  if (!progress) return {};
  return [progress](const std::string& relation, const std::string& holder) {
    progress("waiting for a lock on " + relation + ", held by " + holder);
  };
}

}  // namespace pgjanus
