#pragma once
// Metrics as values: whoever knows the numbers fills families at each scrape, so nothing here is
// shared between threads and nothing is counted twice.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace pgjanus::metrics {

using Labels = std::vector<std::pair<std::string, std::string>>;

struct Bucket {
  double upper_bound = 0;        // Inclusive; the last one is infinity.
  std::uint64_t cumulative = 0;  // Observations up to the bound.
};

/// One series. Counters and gauges use `value`, histograms `buckets` and `sum`.
struct Sample {
  Labels labels;
  double value = 0;
  std::vector<Bucket> buckets;
  double sum = 0;
};

enum class Type : std::uint8_t { counter, gauge, histogram };

struct Family {
  std::string name, help;
  Type type = Type::gauge;
  std::vector<Sample> samples;
};

/// The text format of Prometheus, version 0.0.4 ("Exposition formats"). Families without samples
/// are left out. Any thread.
[[nodiscard]] std::string render(const std::vector<Family>& families);
inline constexpr const char* text_format = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace pgjanus::metrics
