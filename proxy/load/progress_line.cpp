#include "proxy/load/progress_line.hpp"

#include <cmath>
#include <cstdio>

namespace pgjanus {
namespace {

std::string size_text(double bytes) {
  static constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
  return text;
}

std::string left_text(double seconds) {
  char text[48];
  if (seconds < 90) {
    std::snprintf(text, sizeof text, "%.0f s left", std::ceil(seconds));
  } else if (seconds < 5400) {
    std::snprintf(text, sizeof text, "%.0f min left", std::ceil(seconds / 60));
  } else {
    std::snprintf(text, sizeof text, "%.1f h left", seconds / 3600);
  }
  return text;
}

}  // namespace

std::string load_progress_line(const LoadProgress& load) {
  std::string line;
  const auto done = static_cast<double>(load.bytes_done);
  const auto total = static_cast<double>(load.bytes_total.value_or(0));
  if (total > 0) line = std::to_string(static_cast<int>(100 * std::min(1.0, done / total))) + "%, ";
  line += std::to_string(load.rows_done) + " rows, " + size_text(done);
  if (total > 0) line += " of " + size_text(total);
  line += ", " + std::to_string(static_cast<long long>(load.rows_per_second)) + " rows/s";
  if (total > done && load.bytes_per_second > 0) {
    line += ", " + left_text((total - done) / load.bytes_per_second);
  }
  if (!load.limit.empty()) line += ", limited by " + load.limit;
  if (!load.step.empty()) line += ", " + load.step;
  if (!load.waiting.empty()) line += "; waits for " + load.waiting;
  return line;
}

}  // namespace pgjanus
