#pragma once
// Where one statement goes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "router/classify.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// The setting `reads`: a role, a side, or the share of reads that goes to the target.
struct ReadsPolicy {
  enum class Kind : std::uint8_t { primary, mirror, source, target, percent };
  Kind kind = Kind::primary;
  std::uint8_t target_percent = 0;  // 0..100, only for Kind::percent.
  friend bool operator==(ReadsPolicy, ReadsPolicy) = default;
};

/// Parses `primary`, `mirror`, `source`, `target` or `25%`; nothing for anything else.
[[nodiscard]] std::optional<ReadsPolicy> parse_reads(std::string_view text);
[[nodiscard]] std::string to_string(ReadsPolicy policy);
/// Percentage of reads that go to the target under this policy.
[[nodiscard]] std::uint8_t target_percent(ReadsPolicy policy, Side primary) noexcept;

/// What the session knows when a statement arrives between transactions.
struct ReadContext {
  Side primary = Side::source;
  ReadsPolicy policy;
  bool mirror_in_sync = false;     // Of the published view.
  bool own_writes_mirrored = true; // The session's last ticket is covered.
  bool movable = true;             // Nothing pins the session's state to the primary's server.
  std::uint32_t dice = 0;          // 0..99, for percentages.
};

/// The side that serves one statement. Anything but a provable autocommit read goes to the primary,
/// and so do reads while the mirror is not in sync or the session's own writes are not there yet.
[[nodiscard]] Side route(StatementClass statement, const ReadContext& context) noexcept;

}  // namespace pgjanus
