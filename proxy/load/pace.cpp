#include "proxy/load/pace.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace pgjanus::load {

namespace {

using namespace std::chrono_literals;

// A limit may be exceeded for so long after a pause, so that it is reached on the average.
constexpr auto burst = 100ms;
// Shorter waits are added up: a timer for each would cost more than it saves.
constexpr auto shortest_wait = 5ms;
// A limit that acted within this time is the one that is named.
constexpr auto named_for = 3s;
// Fewer queries between two looks say nothing.
constexpr std::uint64_t queries_least = 20;
// Slower than this against the usual: give way. The second counts where queries take microseconds.
constexpr double slow_factor = 2.5, slow_seconds = 0.003;
// As good as usual: take back what was given, slowly.
constexpr double fine_factor = 1.5, fine_seconds = 0.0015;
constexpr double least_share = 1.0 / 16;
// An app that stays slow although we hardly work is slow by itself: that becomes the usual.
constexpr double learning = 1.1;

}  // namespace

std::optional<double> upper_quartile(const HistogramCounts& counts, std::uint64_t least) {
  std::uint64_t total = 0;
  for (const auto count : counts.buckets) total += count;
  if (total < least || total == 0) return std::nullopt;
  const double wanted = 0.75 * static_cast<double>(total);
  double below = 0;
  for (std::size_t i = 0; i < std::size(HistogramCounts::bounds); ++i) {
    const auto inside = static_cast<double>(counts.buckets[i]);
    if (below + inside >= wanted && inside > 0) {
      const double low = i == 0 ? 0 : HistogramCounts::bounds[i - 1];
      return low + (HistogramCounts::bounds[i] - low) * (wanted - below) / inside;
    }
    below += inside;
  }
  return HistogramCounts::bounds[std::size(HistogramCounts::bounds) - 1];
}

unsigned Pace::workers() const noexcept {
  const auto some = std::ceil(static_cast<double>(limits_.workers) * std::sqrt(share()));
  return std::max(1U, static_cast<unsigned>(some));
}

Pace::Duration Pace::due(Time& paid_until, double seconds, Time now) const {
  paid_until = std::max(paid_until, now - burst) +
               std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return paid_until > now + shortest_wait ? paid_until - now : Duration{};
}

Pace::Duration Pace::passed(std::uint64_t rows, std::uint64_t bytes, Duration took, Time now) {
  Duration wait{};
  if (limits_.rows_per_second > 0) {
    const auto cost = static_cast<double>(rows) / static_cast<double>(limits_.rows_per_second);
    wait = due(rows_paid_, cost, now);
    if (wait > Duration{}) rows_acted_ = now + wait;
  }
  if (limits_.bytes_per_second > 0) {
    const auto cost = static_cast<double>(bytes) / static_cast<double>(limits_.bytes_per_second);
    const auto more = due(bytes_paid_, cost, now);
    if (more > Duration{}) bytes_acted_ = now + more;
    wait = std::max(wait, more);
  }
  if (share() < 1) {
    const auto rest = std::chrono::duration<double>(took) * (1 / share() - 1);
    wait = std::max(wait, std::chrono::duration_cast<Duration>(rest));
  }
  return wait;
}

void Pace::observe(const HistogramCounts& queries) {
  if (!seen_) {
    usual_ = upper_quartile(queries, 10 * queries_least);
    seen_ = queries;
    return;
  }
  HistogramCounts since;
  for (std::size_t i = 0; i < std::size(since.buckets); ++i) {
    since.buckets[i] = queries.buckets[i] - seen_->buckets[i];
  }
  const auto now = upper_quartile(since, queries_least);
  if (!now) {
    std::uint64_t any = 0;
    for (const auto count : since.buckets) any += count;
    if (any == 0) share_ = std::min(1.0, share_ * 1.25);  // Nobody is there to be disturbed.
    return;  // Few queries are looked at together with the next.
  }
  seen_ = queries;
  latest_ = *now;
  usual_ = usual_ ? std::min(*usual_, latest_) : latest_;
  if (latest_ < std::max(*usual_ * fine_factor, *usual_ + fine_seconds)) {
    share_ = std::min(1.0, share_ * 1.25);
  } else if (share_ <= least_share) {
    usual_ = *usual_ * learning;
  } else if (latest_ > std::max(*usual_ * slow_factor, *usual_ + slow_seconds)) {
    share_ = std::max(least_share, share_ / 2);
  }
}

std::string Pace::acting(Time now) const {
  const auto lately = [&](const std::optional<Time>& when) {
    return when && now - *when < named_for;
  };
  char text[160];
  if (share() < 1) {
    std::snprintf(text, sizeof text,
                  "the app's latency: %.1f ms instead of %.1f ms, so the load goes at %.0f %%",
                  latest_ * 1000, usual_.value_or(0) * 1000, 100 * share());
    return text;
  }
  if (limits_.rows_per_second > 0 && lately(rows_acted_)) {
    return "load.rows_per_second = " + std::to_string(limits_.rows_per_second);
  }
  if (limits_.bytes_per_second > 0 && lately(bytes_acted_)) {
    return "load.bytes_per_second = " + std::to_string(limits_.bytes_per_second);
  }
  return {};
}

}  // namespace pgjanus::load
