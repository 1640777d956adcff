#pragma once
// Cutting tables into chunks: ranges of pages that are copied one by one.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgjanus::load {

/// What the planner knows of one relation that holds rows.
struct Extent {
  std::string relation;    // For SQL, on the primary.
  std::int64_t pages = 0;  // Of its main fork.
  std::int64_t bytes = 0;  // With its TOAST table.
};

/// Pages [first_page, end_page) of a relation; without end_page to wherever it ends by then.
struct Chunk {
  int part = 0;
  std::string relation;
  std::int64_t first_page = 0;
  std::optional<std::int64_t> end_page;
  std::int64_t bytes = 0;  // Share of the relation's bytes: weight and progress.
  bool done = false;
  std::int64_t rows = 0;
};

struct PlanLimits {
  unsigned workers = 4;
  bool ranges = true;  // TID range scans: servers from version 14 on; else a relation is one chunk.
  std::int64_t chunk_bytes = 0;  // Not above this; 0: only chunk_bytes_max.
};

// A chunk's transaction holds ACCESS SHARE and a snapshot: about a second of copying at most.
inline constexpr std::int64_t chunk_bytes_max = 128LL << 20;
// Below this the round trips of a chunk cost more than another worker gains.
inline constexpr std::int64_t chunk_bytes_min = 8LL << 20;

// Of a load whose bytes are limited: how long a chunk's snapshot is to be held.
inline constexpr std::uint64_t chunk_seconds = 20;

/// The chunks of one table, numbered from 0. Each page of each relation is in exactly one chunk,
/// and the last chunk of a relation has no end, so that pages added later are in it. Never empty
/// for a relation, also when it has no pages yet.
[[nodiscard]] std::vector<Chunk> plan_chunks(const std::vector<Extent>& extents,
                                             const PlanLimits& limits);

/// `ctid >= '(a,0)'::tid AND ctid < '(b,0)'::tid`, with operators by schema; "true" for all pages.
[[nodiscard]] std::string pages_condition(const Chunk& chunk);

}  // namespace pgjanus::load
