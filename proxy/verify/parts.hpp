#pragma once
// Cutting a big table into ranges of its key that are compared one by one, each under snapshots of
// its own.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/schema/table.hpp"

namespace pgjanus::verify {

struct SidesOfTable {
  TableInfo primary, mirror;
};

/// Rows whose key's first column is in [low, high), both as text; without one, open at that end.
struct Part {
  int number = 0;
  std::optional<std::string> low, high;
  std::int64_t bytes = 0;  // Share of the table's bytes: weight and progress.
  bool done = false, running = false;
  int attempts = 0;
  bool looked_at = false;  // Together with others, which found nothing out.
  std::optional<std::int64_t> rows;  // On the primary.
  std::int64_t differences = 0;
};

/// How big parts are.
struct PartLimits {
  std::int64_t table_bytes = 1LL << 30;   // Tables below this are one part.
  std::int64_t part_bytes = 256LL << 20;
};

/// Whether both sides order the key's first column the same way, whatever their collations and
/// versions, and no row can be without it. Pure.
[[nodiscard]] bool may_be_cut(const SidesOfTable& table);

/// The condition on alias t that picks a part's rows; empty for all. Pure.
[[nodiscard]] std::string condition_of(const TableInfo& table, const Part& part);

/// Parts between the given bounds (ascending, without doubles), numbered from 0: every value is in
/// exactly one. Pure.
[[nodiscard]] std::vector<Part> parts_between(const std::vector<std::string>& bounds,
                                              std::int64_t bytes);

/// One part, or several where rows lie on disk in the order of the key's first column on both
/// sides, so that a range reads few pages of others. Bounds come from a sample of the primary's pages.
boost::asio::awaitable<std::vector<Part>> plan_parts(pg::Connection& primary,
                                                     pg::Connection& mirror, SidesOfTable table,
                                                     std::int64_t bytes, PartLimits limits);

}  // namespace pgjanus::verify
