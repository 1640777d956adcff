#pragma once
// One table on both sides under twin snapshots.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>

#include "proxy/mirror/mirror.hpp"
#include "proxy/verify/findings.hpp"
#include "proxy/verify/table_queries.hpp"

namespace pgjanus::verify {

struct SidesOfTable {
  TableInfo primary, mirror;
};

struct TableResult {
  std::optional<std::int64_t> rows;  // On the primary; nothing when the keys cannot be compared.
};

/// Compares rows and reports to `findings`. `guard` is another connection to the primary: it looks
/// whether our locks keep somebody waiting, and then ends the comparison. Throws pg::Error; with
/// sqlstate "PGJ03" (files or partitions changed under the snapshot), 55P03 (locked by the app) or
/// 57014 (made way) the table must be compared again, under other snapshots: `twins` are then
/// useless.
boost::asio::awaitable<TableResult> compare_table(TwinSnapshots& twins, const SidesOfTable& table,
                                                  Hashing hashing, Findings& findings,
                                                  pg::Connection& guard);

/// Columns that are compared, and what is to be said about the others (missing, extra, another
/// type). Pure.
struct ColumnPairs {
  Compared compared;
  std::vector<Difference> differences;
};
[[nodiscard]] ColumnPairs pair_columns(const SidesOfTable& table);

}  // namespace pgjanus::verify
