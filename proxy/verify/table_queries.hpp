#pragma once
// The queries that compare one table. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "proxy/schema/table.hpp"

namespace pgjanus::verify {

/// How texts become comparable bytes: servers of different encodings hash them as UTF-8. `quick`
/// takes hashtextextended() for sums, where both servers answer the same to `probe_sql`.
enum class Hashing : std::uint8_t { quick, same_encoding, as_utf8 };

/// Hashes of texts of all lengths, by the function of Hashing::quick: one value.
extern const char* const probe_sql;

/// What is compared of a table: columns by name, in the primary's order, as both sides have them.
struct Compared {
  std::vector<std::string> columns, key;  // No key: whole rows are counted.
  [[nodiscard]] bool keyed() const noexcept { return !key.empty(); }
};

/// A power of two: a few hundred rows a bucket, at most 65,536 buckets.
[[nodiscard]] std::uint32_t buckets_for(std::int64_t pages) noexcept;

/// One scan: (rows, sum of 64 bits of each row's hash). `condition` is on alias t; empty: all rows.
[[nodiscard]] std::string sum_sql(const TableInfo& table, const Compared& compared,
                                  const std::string& condition, Hashing hashing);

/// One scan: (bucket, rows, sum of 64 bits of each row's md5). A row's bucket hangs on the text of
/// its key alone (of the row, without a key), so it is the same whatever a row holds.
[[nodiscard]] std::string buckets_sql(const TableInfo& table, const Compared& compared,
                                      std::uint32_t buckets, const std::string& condition,
                                      Hashing hashing);

/// The rows of some buckets (all, when none is given), ordered by the first column, bytewise:
/// with a key:  (md5 of the key, md5 of the row, 16 hex digits a column, the key's columns…)
/// without one: (md5 of the row, how often it is there, its columns…)
[[nodiscard]] std::string rows_sql(const TableInfo& table, const Compared& compared,
                                   std::uint32_t buckets, const std::vector<std::int32_t>& chosen,
                                   const std::string& condition, Hashing hashing);

/// Names of the columns whose hashes differ; 16 digits a column.
[[nodiscard]] std::vector<std::string> columns_that_differ(const Compared& compared,
                                                           std::string_view primary,
                                                           std::string_view mirror);

}  // namespace pgjanus::verify
