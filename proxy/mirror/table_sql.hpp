#pragma once
// The statements that read one table's rows on the primary and put them on the mirror. Values
// travel as the text of their type's output function, an array a column (README.md).

#include <string>
#include <string_view>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus {

/// One table as both sides show it, with its statements. Column order is the primary's.
struct PairedTable {
  int id = 0;
  TableInfo primary, mirror;
  bool delete_first = false;  // Delete all keys of a batch, then insert: upserts could clash.
  std::vector<std::size_t> key_at;  // Positions of the key's columns in `primary.columns`.

  std::string read;         // primary: rows of given keys. $1… an array a key column
  std::string read_all;     // primary: every row
  std::string remove;       // mirror: delete given keys. $1… an array a key column
  std::string remove_all;   // mirror: delete every row
  std::string insert;       // mirror: insert rows. $1… an array a column
  std::string upsert;       // mirror: the same, replacing rows with these keys
  std::string insert_times; // mirror, no key: $1… an array a column, then how often
  std::string remove_times; // mirror, no key: the same, removing that many equal rows

  [[nodiscard]] bool keyed() const noexcept { return primary.keyed(); }
};

/// Builds the statements. Throws pg::Error (sqlstate 42703) naming a column that the mirror lacks.
[[nodiscard]] PairedTable pair_table(TableInfo primary, TableInfo mirror);

/// Values of a batch turned into one array literal a column. Rows are given as they came from the
/// server; `append` takes a row, `parameters` empties the collector.
class ColumnArrays {
 public:
  explicit ColumnArrays(std::size_t columns) : literals_(columns, "{") {}
  void append(std::size_t column, const std::optional<std::string_view>& value);
  void end_row() noexcept { ++rows_; }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] pg::Parameters parameters() const;

 private:
  std::vector<std::string> literals_;
  std::size_t rows_ = 0;
};

}  // namespace pgjanus
