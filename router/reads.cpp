#include "router/reads.hpp"

#include <charconv>

namespace pgjanus {

std::optional<ReadsPolicy> parse_reads(std::string_view text) {
  using Kind = ReadsPolicy::Kind;
  if (text == "primary") return ReadsPolicy{Kind::primary};
  if (text == "mirror") return ReadsPolicy{Kind::mirror};
  if (text == "source") return ReadsPolicy{Kind::source};
  if (text == "target") return ReadsPolicy{Kind::target};
  if (text.empty() || text.back() != '%') return std::nullopt;
  text.remove_suffix(1);
  std::uint8_t percent = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, percent);
  if (text.empty() || error != std::errc{} || rest != end || percent > 100) return std::nullopt;
  return ReadsPolicy{Kind::percent, percent};
}

std::string to_string(ReadsPolicy policy) {
  switch (policy.kind) {
    case ReadsPolicy::Kind::primary: return "primary";
    case ReadsPolicy::Kind::mirror: return "mirror";
    case ReadsPolicy::Kind::source: return "source";
    case ReadsPolicy::Kind::target: return "target";
    case ReadsPolicy::Kind::percent: return std::to_string(policy.target_percent) + '%';
  }
  return {};
}

std::uint8_t target_percent(ReadsPolicy policy, Side primary) noexcept {
  const auto all_on = [](Side side) -> std::uint8_t { return side == Side::target ? 100 : 0; };
  switch (policy.kind) {
    case ReadsPolicy::Kind::primary: return all_on(primary);
    case ReadsPolicy::Kind::mirror: return all_on(other(primary));
    case ReadsPolicy::Kind::source: return all_on(Side::source);
    case ReadsPolicy::Kind::target: return all_on(Side::target);
    case ReadsPolicy::Kind::percent: return policy.target_percent;
  }
  return all_on(primary);
}

Side route(StatementClass statement, const ReadContext& context) noexcept {
  if (statement.kind != StatementKind::read || statement.touches_session) return context.primary;
  if (!context.mirror_in_sync || !context.own_writes_mirrored || !context.movable) {
    return context.primary;
  }
  // dice < percent: 0 never goes to the target, 100 always (dice is at most 99).
  return context.dice < target_percent(context.policy, context.primary) ? Side::target
                                                                        : Side::source;
}

}  // namespace pgjanus
