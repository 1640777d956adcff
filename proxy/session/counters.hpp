#pragma once
// Numbers of one worker thread: written by that thread only, read by any.

#include <atomic>
#include <chrono>

#include "proxy/session/control.hpp"

namespace pgjanus {

/// Relaxed and with a single writer, so that counting costs no locked instruction.
class Count {
 public:
  void add(std::uint64_t by = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  void sub(std::uint64_t by = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) - by, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Histogram {
 public:
  void observe(std::chrono::nanoseconds took) noexcept {
    const double seconds = std::chrono::duration<double>(took).count();
    std::size_t bucket = 0;
    while (bucket < std::size(HistogramCounts::bounds) && seconds > HistogramCounts::bounds[bucket])
      ++bucket;
    buckets_[bucket].add();
    nanoseconds_.add(static_cast<std::uint64_t>(took.count()));
  }
  void add_to(HistogramCounts& sum) const noexcept {
    for (std::size_t bucket = 0; bucket < std::size(buckets_); ++bucket)
      sum.buckets[bucket] += buckets_[bucket].get();
    sum.sum += static_cast<double>(nanoseconds_.get()) * 1e-9;
  }

 private:
  Count buckets_[std::size(HistogramCounts::bounds) + 1];
  Count nanoseconds_;
};

struct Counters {
  Count clients, held_clients, waiting_clients, commits_unacknowledged, auth_failures, bytes_in, bytes_out;
  PerSide<Count> servers;
  PerSide<std::array<Count, statement_kinds>> queries;
  PerSide<Histogram> query_seconds;
  Histogram overhead_seconds, commit_wait_seconds;

  void add_to(SessionTotals& totals) const noexcept;
};

}  // namespace pgjanus
