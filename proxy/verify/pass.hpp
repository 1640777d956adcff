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
#include "proxy/verify/findings.hpp"

namespace pgjanus::verify {

/// One table's way through a pass.
struct Work {
  SidesOfTable table;
  std::string mark;          // Which table this was: of stored parts, whether they still count.
  std::int64_t bytes = 0;    // On the primary, with TOAST.
  std::vector<Part> parts;   // Sorted; never empty.
  bool stored = false;       // The parts are in pgjanus.verified_parts.
  bool failed = false;
  std::string left_out;      // Why it was not compared, or the error that ended it.

  [[nodiscard]] bool done() const;
  [[nodiscard]] bool given_up() const { return !left_out.empty(); }
  /// On the primary; nothing when the keys cannot be compared, or not yet.
  [[nodiscard]] std::optional<std::int64_t> rows() const;
};

/// What a pass compares.
struct Scope {
  std::vector<std::string> patterns;  // Empty: all tables.
  std::vector<std::string> exclude;
  std::optional<std::set<int>> only;  // Tables compared again after a repair.
  [[nodiscard]] bool takes(const TableInfo& table) const;
};

struct Pass {
  pg::ConnectionPtr primary, mirror;
  std::vector<Work> work;
  Findings findings;
  Hashing hashing = Hashing::same_encoding;
  std::string boundary;              // Of the last snapshots.
  std::vector<std::string> unknown;  // Patterns that no table matches.
  std::int64_t resumed = 0;          // Parts that an earlier, interrupted run had compared.
  std::int64_t rows_compared = 0;    // Now, without those.

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

[[nodiscard]] std::string plural(std::int64_t count, const std::string& noun);
/// "no difference", "1 difference", "2 differences".
[[nodiscard]] std::string differences_text(std::int64_t count);

}  // namespace pgjanus::verify
