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

/// All that a run found: counted, and the first `shown_max` for the document.
class Findings {
 public:
  static constexpr std::size_t shown_max = 100'000;

  /// Of an object: without a key.
  void add(Difference difference);
  /// Differences of a table's rows; show() says which.
  void count_rows(int table_id, std::int64_t rows);
  void show(Difference difference);
  /// Takes back what was said about the rows of one table.
  void forget_rows(int table_id);

  [[nodiscard]] std::int64_t total() const noexcept { return total_; }
  [[nodiscard]] std::int64_t of_table(int table_id) const;
  /// Differences that REPAIR can heal: those of rows.
  [[nodiscard]] const std::map<int, std::int64_t>& rows_by_table() const noexcept { return rows_; }
  /// The contract's `differences`.
  [[nodiscard]] nlohmann::json document() const;

 private:
  std::vector<Difference> shown_;
  std::map<int, std::int64_t> rows_, objects_;  // By table.
  std::int64_t total_ = 0;
};

/// Streams differences into pgjanus.differences on the primary, any number of them. What is found in
/// a group of parts is one transaction, together with the note that they are done; one part's
/// differences can be taken back. Its connection belongs to it alone.
class Record {
 public:
  Record(pg::Connection& primary, Findings& findings) : primary_{primary}, findings_{findings} {}

  boost::asio::awaitable<void> add(Difference difference);
  /// The part is compared: its differences stay.
  boost::asio::awaitable<void> keep_part();
  /// It is to be compared again, or given up.
  boost::asio::awaitable<void> drop_part();
  /// Commits what was kept together with `note`, a statement with parameters.
  boost::asio::awaitable<void> commit(std::string note, pg::Parameters parameters);
  /// Of the present part.
  [[nodiscard]] std::int64_t found() const noexcept { return found_; }

 private:
  boost::asio::awaitable<void> flush();
  boost::asio::awaitable<void> open();

  pg::Connection& primary_;
  Findings& findings_;
  std::vector<Difference> unwritten_, shown_;
  std::int64_t found_ = 0;
  bool open_ = false, part_open_ = false;  // A transaction; a savepoint in it.
};

/// Writes differences at once, outside of any part: those of objects.
boost::asio::awaitable<void> write_differences(pg::Connection& primary,
                                               std::vector<Difference> differences);

}  // namespace pgjanus::verify
