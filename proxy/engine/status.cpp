// The names of the status document (contract.md), both ways.

#include "proxy/engine/status.hpp"

#include "proxy/engine/operations.hpp"

namespace pgjanus {
namespace {

constexpr std::string_view phases[] = {"idle",      "prepared", "loading",
                                       "mirroring", "flipping", "finished"};
constexpr std::string_view mirror_states[] = {"off", "catching_up", "in_sync", "degraded",
                                              "stalled"};
constexpr std::string_view table_states[] = {"new",     "loading",      "indexing", "mirrored",
                                             "held_up", "capture_lost", "excluded", "error"};
constexpr std::string_view held_names[] = {"none", "pause", "flip", "in_doubt"};

template <class Enum, std::size_t N>
std::optional<Enum> find(const std::string_view (&names)[N], std::string_view text) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(Phase phase) noexcept {
  return phases[static_cast<std::size_t>(phase)];
}
std::string_view to_string(MirrorState state) noexcept {
  return mirror_states[static_cast<std::size_t>(state)];
}
std::string_view to_string(TableState state) noexcept {
  return table_states[static_cast<std::size_t>(state)];
}
std::string_view to_string(Held held) noexcept {
  return held_names[static_cast<std::size_t>(held)];
}
std::optional<Phase> phase_from(std::string_view text) noexcept {
  return find<Phase>(phases, text);
}
std::optional<TableState> table_state_from(std::string_view text) noexcept {
  return find<TableState>(table_states, text);
}

std::string_view sqlstate_of(Ended ended) noexcept {
  switch (ended) {
    case Ended::done: return {};
    case Ended::error: return "XX000";
    case Ended::not_ready: return "55000";
    case Ended::differences: return "22000";
    case Ended::refused: return "42501";
    case Ended::timed_out: return "57014";
    case Ended::in_doubt: return "08007";
  }
  return "XX000";
}

}  // namespace pgjanus
