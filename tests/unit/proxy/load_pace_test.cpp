#include <catch2/catch.hpp>

#include "proxy/load/pace.hpp"

using namespace pgjanus;
using namespace pgjanus::load;
using namespace std::chrono_literals;

namespace {

constexpr Pace::Time start{};

/// Adds `count` queries of about `seconds` each.
void add(HistogramCounts& counts, double seconds, std::uint64_t count) {
  std::size_t i = 0;
  while (i < std::size(HistogramCounts::bounds) && seconds > HistogramCounts::bounds[i]) ++i;
  counts.buckets[i] += count;
}

/// Seconds that `parcels` of so many rows and bytes take, if each passes in no time.
double seconds_for(Pace& pace, int parcels, std::uint64_t rows, std::uint64_t bytes) {
  auto now = start + 1h;
  const auto begun = now;
  for (int i = 0; i < parcels; ++i) now += pace.passed(rows, bytes, 0ms, now);
  return std::chrono::duration<double>(now - begun).count();
}

}  // namespace

TEST_CASE("without limits nobody waits", "[load][pace]") {
  Pace pace;
  CHECK(seconds_for(pace, 1000, 1000, 65536) == 0);
  CHECK(pace.acting(start + 1h).empty());
}

TEST_CASE("a limit of rows or bytes is kept on the average and is named", "[load][pace]") {
  Pace pace;
  pace.set({4, 10'000, 0, true});
  CHECK(seconds_for(pace, 1000, 100, 65536) == Approx(10).margin(0.2));
  CHECK(pace.acting(start + 1h + 11s) == "load.rows_per_second = 10000");
  pace.set({4, 0, 1 << 20, true});
  CHECK(seconds_for(pace, 160, 100, 65536) == Approx(10).margin(0.2));
  CHECK(pace.acting(start + 1h + 11s) == "load.bytes_per_second = 1048576");
  CHECK(pace.acting(start + 2h).empty());
}

TEST_CASE("the load gives way while the app is slow and comes back", "[load][pace]") {
  Pace pace;
  HistogramCounts queries;
  add(queries, 0.002, 1000);
  pace.observe(queries);
  CHECK(pace.share() == 1);
  for (int i = 0; i < 2; ++i) {
    add(queries, 0.02, 100);
    pace.observe(queries);
  }
  CHECK(pace.share() == Approx(0.25));
  CHECK(pace.workers() == 2);
  CHECK(pace.passed(1, 1, 10ms, start + 1h) == 30ms);
  CHECK(pace.acting(start).find("the app's latency") == 0);
  for (int i = 0; i < 10; ++i) {
    add(queries, 0.002, 100);
    pace.observe(queries);
  }
  CHECK(pace.share() == 1);
}

TEST_CASE("an app that is slow by itself does not hold the load up for ever", "[load][pace]") {
  Pace pace;
  HistogramCounts queries;
  add(queries, 0.002, 1000);
  pace.observe(queries);
  for (int i = 0; i < 60; ++i) {
    add(queries, 0.02, 100);
    pace.observe(queries);
    CHECK(pace.share() >= 1.0 / 16);
  }
  CHECK(pace.share() == 1);
}

TEST_CASE("few queries say nothing, none say that nobody is disturbed", "[load][pace]") {
  Pace pace;
  HistogramCounts queries;
  add(queries, 0.002, 1000);
  pace.observe(queries);
  add(queries, 2, 3);
  pace.observe(queries);
  CHECK(pace.share() == 1);
  pace.set({4, 0, 0, false});
  add(queries, 2, 300);
  pace.observe(queries);
  CHECK(pace.share() == 1);  // It is not asked to yield.
}
