#include "router/recovery.hpp"

#include <string_view>
#include <utility>

namespace pgjanus {

namespace {

using Action = Recovery::Action;

std::string_view url_of(Side side) {
  return side == Side::source ? "SOURCE_DATABASE_URL" : "TARGET_DATABASE_URL";
}

std::string text(std::string_view part) { return std::string{part}; }

Recovery refuse(std::string why) { return {Action::refuse, std::nullopt, {}, std::move(why)}; }

Recovery serve(Side primary, Epoch epoch, std::string why = {}) {
  return {Action::serve, primary, epoch, std::move(why)};
}

Recovery wait(std::string why) { return {Action::wait, std::nullopt, {}, std::move(why)}; }

Recovery idle(std::string why = {}) { return {Action::idle, Side::source, {}, std::move(why)}; }

/// Whether each stored side is the side whose URL led there; otherwise which URL is wrong.
std::optional<Recovery> misplaced(const PerSide<SideReport>& sides) {
  const auto wrong = [&sides](Side side) {
    return sides[side].state && sides[side].state->side != side;
  };
  if (wrong(Side::source) && wrong(Side::target)) {
    return refuse(
        "the two URLs are swapped: SOURCE_DATABASE_URL leads to the target of migration " +
        sides[Side::source].state->migration + " and TARGET_DATABASE_URL to its source");
  }
  for (const auto side : {Side::source, Side::target}) {
    if (!wrong(side)) continue;
    return refuse(
        text(url_of(side)) + " leads to the " + text(to_string(other(side))) + " of migration " +
        sides[side].state->migration +
        (sides[other(side)].state
             ? ", as the other URL does: both lead to the same database or to a copy of it"
             : ": are the two URLs swapped?"));
  }
  return std::nullopt;
}

/// One side answered. Its word "primary" is believed (see the header); "mirror" leaves open
/// whether the other side is the primary or waits, fenced, for this one's promotion.
Recovery recover_one(Side side, const SideReport& report) {
  const auto missing = text(to_string(other(side)));
  if (!report.state) {
    // `prepare` writes the target's state before the source's, so a source without it was never
    // prepared, or has been given up (abort, DROP SCHEMA): the app's database in each case.
    if (side == Side::source) return idle("the target cannot be reached");
    return wait("the source cannot be reached, and the target knows of no migration");
  }
  if (report.state->role == Role::primary) {
    return serve(side, report.state->epoch, "the mirror (" + missing + ") cannot be reached");
  }
  return wait("the " + text(to_string(side)) + " is the mirror, and the " + missing +
              ", which knows the rest, cannot be reached");
}

/// Both answered and one of them has no state.
Recovery recover_half(Side with, const StoredState& state) {
  if (state.role == Role::primary) {
    return serve(with, state.epoch,
                 "the " + text(to_string(other(with))) +
                     " has no pgjanus schema: it was dropped there or the database was replaced");
  }
  if (with == Side::target) {
    return idle(state.phase == "prepared"
                    ? "an interrupted prepare or abort left pgjanus on the target only"
                    : "the source has no pgjanus schema any more: mirroring has ended");
  }
  return refuse(
      "the source is fenced as the mirror of migration " + state.migration +
      ", but the target has no pgjanus schema: it was dropped there, or TARGET_DATABASE_URL leads "
      "to another database. Say with --primary which of the two the app has been using");
}

Recovery recover_two_mirrors(const StoredState& source, const StoredState& target) {
  const auto& fenced = source.epoch > target.epoch ? source : target;
  const auto& waiting = source.epoch > target.epoch ? target : source;
  if (fenced.epoch.value != waiting.epoch.value + 1) {
    return refuse("both databases are mirrors, at epochs " + std::to_string(source.epoch.value) +
                  " (source) and " + std::to_string(target.epoch.value) +
                  " (target), which no flip leaves behind: one of them went back in time "
                  "(a restore, or a failover to an asynchronous follower)");
  }
  return {Action::finish_promotion, waiting.side, fenced.epoch,
          "a flip to the " + text(to_string(waiting.side)) +
              " was decided and not finished: its promotion is finished now"};
}

Recovery recover_two_primaries(const StoredState& source, const StoredState& target) {
  if (source.epoch == target.epoch) {
    return refuse("ALARM: both databases say that they are the primary at epoch " +
                  std::to_string(source.epoch.value) +
                  ". Nothing is served until one of them is fenced by hand: both may hold writes "
                  "that the other lacks");
  }
  const auto& primary = source.epoch > target.epoch ? source : target;
  const auto& lower = source.epoch > target.epoch ? target : source;
  return {Action::fence, primary.side, primary.epoch,
          "ALARM: the " + text(to_string(lower.side)) + " has lost its fence (primary at epoch " +
              std::to_string(lower.epoch.value) + ", the " + text(to_string(primary.side)) +
              " at " + std::to_string(primary.epoch.value) +
              "), as after a failover to an asynchronous follower: it is fenced again, and may "
              "hold writes made there meanwhile"};
}

Recovery recover_both(const StoredState& source, const StoredState& target) {
  if (source.migration != target.migration) {
    return refuse("the two databases belong to different migrations: source " + source.migration +
                  ", target " + target.migration);
  }
  if (source.role == Role::mirror && target.role == Role::mirror) {
    return recover_two_mirrors(source, target);
  }
  if (source.role == Role::primary && target.role == Role::primary) {
    return recover_two_primaries(source, target);
  }
  const auto& primary = source.role == Role::primary ? source : target;
  const auto& mirror = source.role == Role::primary ? target : source;
  if (primary.epoch < mirror.epoch) {
    // The fence carries the new epoch, so the mirror knows of a promotion that the primary forgot.
    return refuse("ALARM: the " + text(to_string(primary.side)) + " says primary at epoch " +
                  std::to_string(primary.epoch.value) + ", but the mirror knows epoch " +
                  std::to_string(mirror.epoch.value) +
                  ": the primary went back in time (a restore, or a failover to an asynchronous "
                  "follower)");
  }
  if (mirror.epoch < primary.epoch) {
    return serve(primary.side, primary.epoch,
                 "the mirror is at an older epoch: it went back in time and must be loaded again");
  }
  return serve(primary.side, primary.epoch);
}

}  // namespace

Recovery recover(const PerSide<SideReport>& sides) {
  const auto& source = sides[Side::source];
  const auto& target = sides[Side::target];
  if (auto refusal = misplaced(sides)) return std::move(*refusal);
  if (!source.reachable && !target.reachable) return wait("neither database can be reached");
  if (!target.reachable) return recover_one(Side::source, source);
  if (!source.reachable) return recover_one(Side::target, target);
  if (!source.state && !target.state) return idle();
  if (!target.state) return recover_half(Side::source, *source.state);
  if (!source.state) return recover_half(Side::target, *target.state);
  return recover_both(*source.state, *target.state);
}

}  // namespace pgjanus
