#pragma once
// One comparison of some tables: what is to be done, what was done, and what it says.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/verify/compare.hpp"

namespace pgjanus::verify {

/// One table's way through a pass.
struct Work {
  SidesOfTable table;
  int attempts = 0;
  bool done = false;
  bool failed = false;
  std::optional<std::int64_t> rows;
  std::string left_out;  // Why it was not compared, or the error that ended it.
};

/// What a pass compares.
struct Scope {
  std::vector<std::string> patterns;  // Empty: all tables.
  std::vector<std::string> exclude;
  std::optional<std::set<int>> only;  // Tables compared again after a repair.
  [[nodiscard]] bool takes(const TableInfo& table) const;
};

struct Pass {
  pg::ConnectionPtr primary, guard, mirror;
  std::vector<Work> work;
  std::unique_ptr<Findings> findings;
  Hashing hashing = Hashing::same_encoding;
  std::string boundary;              // Of the last snapshots.
  std::vector<std::string> unknown;  // Patterns that no table matches.
  std::int64_t pages_done = 0, pages_total = 0;

  [[nodiscard]] std::size_t left_out() const;
  [[nodiscard]] std::size_t compared() const { return work.size() - left_out(); }
  [[nodiscard]] std::int64_t rows() const;
  [[nodiscard]] bool failed() const;
  /// "12 tables and 3400 rows compared: no difference".
  [[nodiscard]] std::string summary(std::int64_t differences) const;
  /// "; left out: a (loading)"; empty when nothing was.
  [[nodiscard]] std::string what_was_left_out() const;
  /// The contract's `tables`; of those that `later` compared again, what it says.
  [[nodiscard]] nlohmann::json tables(const Pass* later) const;
  /// The contract's document.
  [[nodiscard]] nlohmann::json document() const;
};

[[nodiscard]] std::int64_t pages_of(const TableInfo& table);
[[nodiscard]] std::string plural(std::int64_t count, const std::string& noun);
/// "no difference", "1 difference", "2 differences".
[[nodiscard]] std::string differences_text(std::int64_t count);

}  // namespace pgjanus::verify
