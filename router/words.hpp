#pragma once
// The words of the design as types: sides, roles, epochs, transaction ids, snapshots.

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgjanus {

/// Which of the two databases; fixed for the life of a migration.
enum class Side : std::uint8_t { source, target };

/// What a side is at the moment; a flip swaps the roles.
enum class Role : std::uint8_t { primary, mirror };

[[nodiscard]] constexpr Side other(Side side) noexcept {
  return side == Side::source ? Side::target : Side::source;
}
[[nodiscard]] std::string_view to_string(Side side) noexcept;
[[nodiscard]] std::string_view to_string(Role role) noexcept;
/// Empty when the text is neither name.
[[nodiscard]] std::optional<Side> side_from(std::string_view text) noexcept;
[[nodiscard]] std::optional<Role> role_from(std::string_view text) noexcept;

/// One value per side; no index can miss.
template <class T>
class PerSide {
 public:
  PerSide() = default;
  PerSide(T source, T target) : values_{std::move(source), std::move(target)} {}
  friend bool operator==(const PerSide&, const PerSide&) = default;
  T& operator[](Side side) noexcept { return values_[static_cast<std::size_t>(side)]; }
  const T& operator[](Side side) const noexcept { return values_[static_cast<std::size_t>(side)]; }

 private:
  std::array<T, 2> values_{};
};

/// Counts flips. Stored on both sides; a proxy whose epoch is old must not write.
struct Epoch {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(Epoch, Epoch) = default;
};

/// 64-bit transaction id, epoch included (SQL xid8): totally ordered.
struct FullXid {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(FullXid, FullXid) = default;
};

/// pg_current_snapshot(): every xid below xmin has ended; none at or above xmax is visible;
/// xip lists those between that were still running (PostgreSQL manual, "Snapshot Components").
struct Snapshot {
  FullXid xmin, xmax;
  std::vector<FullXid> xip;  // Sorted, unique, all within [xmin, xmax).
  friend bool operator==(const Snapshot&, const Snapshot&) = default;

  /// Whether a transaction with this id had ended when the snapshot was taken.
  [[nodiscard]] bool sees(FullXid xid) const noexcept;
};

/// Parses the text form `xmin:xmax:xip,…`; empty when it is not one or breaks the invariants.
[[nodiscard]] std::optional<Snapshot> parse_snapshot(std::string_view text);
[[nodiscard]] std::string to_string(const Snapshot& snapshot);

/// "Everything in the journal is new": below every ordinary transaction id (the first is 3).
inline constexpr std::string_view snapshot_of_nothing = "3:3:";

}  // namespace pgjanus
