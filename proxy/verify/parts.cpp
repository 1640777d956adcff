#include "proxy/verify/parts.hpp"

#include <algorithm>
#include <array>

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

using pg::quote_literal;
using pg::quote_name;

// Whole numbers and times: built in, one order everywhere. Texts hang on collations, and floats
// have -0.
constexpr std::array ordered_types{"smallint", "integer", "bigint", "date",
                                   "timestamp without time zone", "timestamp with time zone"};
constexpr std::int64_t sampled_pages_a_part = 20, sampled_pages_max = 10'000;
constexpr pg::Duration sample_limit{600'000};
// Reading all ranges may touch so many pages twice, as a share of the table.
constexpr double pages_again_most = 1;

std::string sample(const TableInfo& table, std::int64_t parts) {
  const auto pages = std::max<std::int64_t>(table.relations.front().pages, 1);
  const auto wanted = std::min(parts * sampled_pages_a_part, sampled_pages_max);
  const auto percent = std::min(100.0, 100.0 * static_cast<double>(wanted) /
                                           static_cast<double>(pages));
  return table.sql_rows() + " AS t TABLESAMPLE SYSTEM (" + std::to_string(percent) + ")";
}

// How much of the key's order one page spans, on the average: next to nothing where rows lie in
// that order, also in pieces (as loads leave them, which statistics would call unordered); 1 where
// they lie anywhere.
asio::awaitable<double> spread(pg::Connection& side, TableInfo table, std::int64_t parts) {
  const auto key = quote_name(table.key.front().name);
  const auto rows = co_await side.run(
      "SELECT coalesce(avg(hi - lo + 1) / nullif(max(c), 0), 1)::float8 FROM ("
      "SELECT min(n) AS lo, max(n) AS hi, max(c) AS c FROM ("
      "SELECT (t.ctid::text::point)[0] AS page, row_number() OVER (ORDER BY t." + key +
          ") AS n, count(*) OVER () AS c FROM " + sample(table, parts) +
          ") s GROUP BY page) pages",
      sample_limit);
  co_return std::stod(rows.str(0, 0));
}

const ColumnInfo* column(const TableInfo& table, const std::string& name) {
  const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const ColumnInfo& c) { return c.name == name; });
  return found == table.columns.end() ? nullptr : &*found;
}

}  // namespace

bool may_be_cut(const SidesOfTable& table) {
  if (!table.primary.keyed() || table.primary.kind != 'r' || table.mirror.kind != 'r') return false;
  const auto& name = table.primary.key.front().name;
  const auto* here = column(table.primary, name);
  const auto* there = column(table.mirror, name);
  return here != nullptr && there != nullptr && here->not_null && there->not_null &&
         here->type == there->type &&
         std::find(ordered_types.begin(), ordered_types.end(), here->plain_type) !=
             ordered_types.end();
}

std::string condition_of(const TableInfo& table, const Part& part) {
  if (!part.low && !part.high) return {};
  const auto& name = table.key.front().name;
  const auto* key = column(table, name);
  std::string condition;
  const auto add = [&](const char* comparison, const std::string& bound) {
    if (!condition.empty()) condition += " AND ";
    condition += "t." + quote_name(name) + " OPERATOR(pg_catalog." + comparison + ") " +
                 quote_literal(bound) + "::pg_catalog." +
                 (key->plain_type.starts_with("timestamp")
                      ? std::string{key->plain_type == "timestamp with time zone" ? "timestamptz"
                                                                                   : "timestamp"}
                  : key->plain_type == "integer"  ? std::string{"int4"}
                  : key->plain_type == "bigint"   ? std::string{"int8"}
                  : key->plain_type == "smallint" ? std::string{"int2"}
                                                  : std::string{"date"});
  };
  if (part.low) add(">=", *part.low);
  if (part.high) add("<", *part.high);
  return condition;
}

std::vector<Part> parts_between(const std::vector<std::string>& bounds, std::int64_t bytes) {
  std::vector<Part> parts(bounds.size() + 1);
  const auto count = static_cast<std::int64_t>(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts[i].number = static_cast<int>(i);
    parts[i].bytes = bytes / count + (i == 0 ? bytes % count : 0);
    if (i > 0) parts[i].low = bounds[i - 1];
    if (i < bounds.size()) parts[i].high = bounds[i];
  }
  return parts;
}

asio::awaitable<std::vector<Part>> plan_parts(pg::Connection& primary, pg::Connection& mirror,
                                              SidesOfTable table, std::int64_t bytes,
                                              PartLimits limits) {
  std::vector<std::string> bounds;
  const auto wanted = std::min<std::int64_t>(bytes / std::max<std::int64_t>(limits.part_bytes, 1),
                                             1'000'000);
  bool cut = bytes >= limits.table_bytes && wanted > 1 && may_be_cut(table);
  if (cut) {
    const auto here = co_await spread(primary, table.primary, wanted);
    const auto there = co_await spread(mirror, table.mirror, wanted);
    cut = static_cast<double>(wanted) * std::max(here, there) <= pages_again_most;
  }
  if (cut) {
    const auto key = quote_name(table.primary.key.front().name);
    const auto rows = co_await primary.run(
        "SELECT DISTINCT k FROM (SELECT t." + key + " AS k, row_number() OVER (ORDER BY t." + key +
            ") AS n, count(*) OVER () AS c FROM " + sample(table.primary, wanted) + ") s "
            "WHERE n % greatest(c / " + std::to_string(wanted) + ", 1) = 0 ORDER BY k",
        sample_limit);
    for (int row = 0; row < rows.size(); ++row) bounds.push_back(rows.str(row, 0));
  }
  co_return parts_between(bounds, bytes);
}

}  // namespace pgjanus::verify
