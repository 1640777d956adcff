#pragma once
// One part of a table on both sides under twin snapshots.

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "proxy/mirror/mirror.hpp"
#include "proxy/verify/findings.hpp"
#include "proxy/verify/parts.hpp"
#include "proxy/verify/table_queries.hpp"

namespace pgjanus::verify {

/// Notes what was read and waits as the limits want it.
using Rest = std::function<boost::asio::awaitable<void>(
    std::int64_t rows, std::int64_t bytes, std::chrono::steady_clock::duration took)>;

/// How a part is compared.
struct Manner {
  Hashing hashing = Hashing::same_encoding;
  std::int64_t slice_pages = 0;  // A table of one part: this many pages a scan, with a rest after
  Rest rest;                     // each. 0: one scan, and whoever calls rests.
};

struct PartResult {
  std::optional<std::int64_t> rows;  // On the primary; nothing when the keys cannot be compared.
  bool rested = false;
};

/// Compares rows and reports them to `record`. Throws pg::Error; with sqlstate "PGJ03" (files or
/// partitions changed under the snapshot), 55P03 (locked by the app) or 57014 (cancelled, to make
/// way) the part must be compared again, under other snapshots: `twins` are then useless.
boost::asio::awaitable<PartResult> compare_part(TwinSnapshots& twins, const SidesOfTable& table,
                                                const Part& part, const Manner& manner,
                                                Record& record);

struct PartOfTable {
  const SidesOfTable* table;
  const Part* part;
};

/// One round trip a side for many small parts: the rows of each that is equal on both sides, nothing
/// for those that must be compared one by one. Throws as compare_part().
boost::asio::awaitable<std::vector<std::optional<std::int64_t>>> look_at_many(
    TwinSnapshots& twins, std::vector<PartOfTable> parts, Hashing hashing);

/// Columns that both sides have by name, and how those differ that they do not share.
struct ColumnPairs {
  Compared compared;
  std::vector<Difference> differences;
};
[[nodiscard]] ColumnPairs pair_columns(const SidesOfTable& table);

}  // namespace pgjanus::verify
