#pragma once
// What a verification found: kept in pgjanus.differences, and a bounded part of it in memory.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"

namespace pgjanus::verify {

/// One difference, as seen from the mirror. Without a key it is about the object itself: a table,
/// some of its columns, or a sequence that is missing, extra or changed.
struct Difference {
  int table_id = 0;                               // 0 for a sequence or an unknown table
  std::string table;                              // schema.table for people
  std::string kind;                               // missing, extra, changed
  nlohmann::json key = nlohmann::json::object();  // column: text, or null
  std::vector<std::string> columns;               // Of `changed`.
  std::int64_t weight = 0;  // Rows without key: how many the mirror lacks (+) or has too many (-).
};

/// Streams differences into pgjanus.differences on the primary over a connection of its own, so
/// that any number of them is listed; the document shows the first `shown_max`.
class Findings {
 public:
  static constexpr std::size_t shown_max = 100'000;
  explicit Findings(pg::Connection& primary) : primary_{primary} {}

  /// Removes what the last run left.
  boost::asio::awaitable<void> begin();
  boost::asio::awaitable<void> add(Difference difference);
  /// Writes what is still in memory only.
  boost::asio::awaitable<void> flush();
  /// Takes back what was said about the rows of one table, which are compared again.
  boost::asio::awaitable<void> forget_rows(int table_id);

  [[nodiscard]] std::int64_t total() const noexcept { return total_; }
  [[nodiscard]] std::int64_t of_table(int table_id) const;
  /// Differences that REPAIR can heal: those of rows.
  [[nodiscard]] const std::map<int, std::int64_t>& rows_by_table() const noexcept { return rows_; }
  /// The contract's `differences`.
  [[nodiscard]] nlohmann::json document() const;

 private:
  pg::Connection& primary_;
  std::vector<Difference> shown_, unwritten_;
  std::map<int, std::int64_t> rows_, objects_;  // By table.
  std::int64_t total_ = 0;
};

}  // namespace pgjanus::verify
