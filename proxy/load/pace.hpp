#pragma once
// How fast a load may go: limits that the operator gave, and the app's own latency.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "proxy/session/control.hpp"

namespace pgjanus::load {

/// What [load] says; may change at any time.
struct Limits {
  unsigned workers = 4;
  std::uint64_t rows_per_second = 0, bytes_per_second = 0;  // 0: no limit. Bytes of COPY data.
  bool yield = true;                                        // To the app, when its queries slow down.
  friend bool operator==(const Limits&, const Limits&) = default;
};

/// Pure arithmetic for all workers together: time comes in as arguments. Control thread.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  using Duration = Clock::duration;

  void set(const Limits& limits) noexcept {
    if (limits != limits_) rows_paid_ = bytes_paid_ = {};
    limits_ = limits;
  }
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }
  /// How many workers may work now: fewer than allowed while the app is slow.
  [[nodiscard]] unsigned workers() const noexcept;

  /// Notes what passed and how long that took; returns how long its worker waits before it goes on.
  [[nodiscard]] Duration passed(std::uint64_t rows, std::uint64_t bytes, Duration took, Time now);

  /// A look at the app's queries on the primary, counted since the start of the proxy, a few times
  /// a second. The first one is taken as what the app was like before.
  void observe(const HistogramCounts& queries);
  /// The part of the time that a worker may work: 1 unless the app is slow.
  [[nodiscard]] double share() const noexcept { return limits_.yield ? share_ : 1; }

  /// Which limit slowed the load in the last seconds; empty: none.
  [[nodiscard]] std::string acting(Time now) const;

 private:
  Duration due(Time& paid_until, double seconds, Time now) const;
  Limits limits_;
  Time rows_paid_{}, bytes_paid_{};  // A limit's time is used up until then.
  std::optional<Time> rows_acted_, bytes_acted_;
  std::optional<HistogramCounts> seen_;
  std::optional<double> usual_;  // Seconds, as of the app when we do not disturb it.
  double latest_ = 0;
  double share_ = 1;
};

/// The value that three quarters of the counts are below, interpolated; nothing for few counts.
[[nodiscard]] std::optional<double> upper_quartile(const HistogramCounts& counts,
                                                   std::uint64_t least);

}  // namespace pgjanus::load
