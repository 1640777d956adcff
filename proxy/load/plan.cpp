#include "proxy/load/plan.hpp"

#include <algorithm>

namespace pgjanus::load {

std::vector<Chunk> plan_chunks(const std::vector<Extent>& extents, const PlanLimits& limits) {
  std::int64_t total = 0;
  for (const auto& extent : extents) total += extent.bytes;
  // Several chunks for each worker, so that none idles long while another copies the last one.
  std::int64_t aim = std::clamp(total / (4 * std::max<std::int64_t>(limits.workers, 1)),
                                chunk_bytes_min, chunk_bytes_max);
  // A load that goes slowly on purpose shall not hold its snapshots for longer.
  if (limits.chunk_bytes > 0) aim = std::min(aim, limits.chunk_bytes);
  std::vector<Chunk> chunks;
  for (const auto& extent : extents) {
    const auto pieces = limits.ranges && extent.pages > 0
                            ? std::clamp<std::int64_t>(extent.bytes / aim, 1, extent.pages)
                            : 1;
    const auto step = pieces == 1 ? extent.pages : (extent.pages + pieces - 1) / pieces;
    for (std::int64_t first = 0;;) {
      const bool last = pieces == 1 || first + step >= extent.pages;
      Chunk chunk;
      chunk.part = static_cast<int>(chunks.size());
      chunk.relation = extent.relation;
      chunk.first_page = first;
      const auto pages = last ? extent.pages - first : step;
      if (!last) chunk.end_page = first + step;
      chunk.bytes = extent.pages > 0 ? static_cast<std::int64_t>(static_cast<double>(extent.bytes) *
                                                                 static_cast<double>(pages) /
                                                                 static_cast<double>(extent.pages))
                                     : extent.bytes;
      chunks.push_back(std::move(chunk));
      if (last) break;
      first += step;
    }
  }
  return chunks;
}

std::string pages_condition(const Chunk& chunk) {
  std::string condition;
  const auto add = [&](const char* comparison, std::int64_t page) {
    if (!condition.empty()) condition += " AND ";
    condition += std::string{"ctid OPERATOR(pg_catalog."} + comparison + ") '(" +
                 std::to_string(page) + ",0)'::pg_catalog.tid";
  };
  if (chunk.first_page > 0) add(">=", chunk.first_page);
  if (chunk.end_page) add("<", *chunk.end_page);
  return condition.empty() ? "true" : condition;
}

}  // namespace pgjanus::load
