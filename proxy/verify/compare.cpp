#include "proxy/verify/compare.hpp"

#include <algorithm>
#include <map>

#include "proxy/verify/both.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t fetch_bytes = 4U << 20;

// Not MVCC: a table that was rewritten, truncated or detached after our snapshot reads as empty.
// pg_class and pg_inherits are read under the snapshot, pg_relation_filenode() and
// pg_partition_tree() look at the present, which our locks hold still.
const char* const files_sql = R"(
WITH RECURSIVE tree AS (
  SELECT $1::oid AS oid
  UNION ALL SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
            JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT count(*) FILTER (WHERE c.relkind <> 'p'
                        AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)),
       array_agg(t.oid ORDER BY t.oid) IS DISTINCT FROM
         coalesce((SELECT array_agg(p.relid::oid ORDER BY p.relid::oid) FROM pg_partition_tree($1::oid::regclass) p),
                  ARRAY[$1::oid])
FROM tree t LEFT JOIN pg_class c ON c.oid = t.oid)";

/// Rows of a cursor, a few megabytes at a time.
class Stream {
 public:
  Stream(pg::Connection& connection, int rows_at_once)
      : connection_{connection}, at_once_{rows_at_once} {}

  asio::awaitable<void> open(std::string sql) {
    co_await connection_.run("DECLARE pgjanus_verify NO SCROLL CURSOR FOR " + sql, scan_limit);
    co_await fetch();
  }
  asio::awaitable<void> close() { co_await connection_.run("CLOSE pgjanus_verify"); }
  [[nodiscard]] bool at_end() const { return row_ >= rows_.size(); }
  asio::awaitable<void> next() {
    if (++row_ >= rows_.size()) co_await fetch();
  }
  [[nodiscard]] std::string_view text(int column) const { return rows_.text(row_, column); }
  [[nodiscard]] std::int64_t integer(int column) const { return rows_.integer(row_, column); }
  [[nodiscard]] nlohmann::json named(const std::vector<std::string>& names, int first) const {
    auto values = nlohmann::json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto value = rows_.value(row_, first + static_cast<int>(i));
      values[names[i]] = value ? nlohmann::json(*value) : nlohmann::json(nullptr);
    }
    return values;
  }

 private:
  asio::awaitable<void> fetch() {
    rows_ = co_await connection_.run("FETCH " + std::to_string(at_once_) + " FROM pgjanus_verify",
                                     scan_limit);
    row_ = 0;
    if (rows_.empty()) co_return;
    std::size_t bytes = 1;
    for (int row = 0; row < rows_.size(); ++row) {
      for (int column = 0; column < rows_.columns(); ++column)
        bytes += rows_.text(row, column).size();
    }
    const auto average = bytes / static_cast<std::size_t>(rows_.size()) + 1;
    at_once_ = static_cast<int>(std::clamp<std::size_t>(fetch_bytes / average, 1, 2000));
  }

  pg::Connection& connection_;
  pg::Rows rows_;
  int row_ = 0, at_once_;
};

/// Buckets by number: rows and sum, as text.
using Buckets = std::map<std::int32_t, std::pair<std::int64_t, std::string>>;

Buckets read_buckets(const pg::Rows& rows) {
  Buckets buckets;
  for (int i = 0; i < rows.size(); ++i) {
    buckets[static_cast<std::int32_t>(rows.integer(i, 0))] = {rows.integer(i, 1), rows.str(i, 2)};
  }
  return buckets;
}

std::vector<std::int32_t> buckets_that_differ(const Buckets& primary, const Buckets& mirror) {
  std::vector<std::int32_t> numbers;
  for (const auto& [number, content] : primary) {
    const auto other = mirror.find(number);
    if (other == mirror.end() || other->second != content) numbers.push_back(number);
  }
  for (const auto& [number, content] : mirror) {
    if (!primary.contains(number)) numbers.push_back(number);
  }
  return numbers;
}

/// Walks two ordered streams side by side: any number of differences in bounded memory.
class Merge {
 public:
  Merge(const SidesOfTable& table, const Compared& compared, Record& record)
      : table_{table}, compared_{compared}, record_{record} {}

  asio::awaitable<void> run(Stream& primary, Stream& mirror) {
    while (!primary.at_end() || !mirror.at_end()) {
      int order = primary.at_end() ? 1 : mirror.at_end() ? -1 : 0;
      if (order == 0) order = primary.text(0).compare(mirror.text(0));
      if (order < 0) {
        co_await report_one(primary, "missing", 1);
        co_await primary.next();
      } else if (order > 0) {
        co_await report_one(mirror, "extra", -1);
        co_await mirror.next();
      } else {
        co_await report_pair(primary, mirror);
        co_await primary.next();
        co_await mirror.next();
      }
    }
  }

 private:
  [[nodiscard]] Difference difference(std::string kind) const {
    Difference found;
    found.table_id = table_.primary.id;
    found.table = table_.primary.display();
    found.kind = std::move(kind);
    return found;
  }

  asio::awaitable<void> report_one(const Stream& side, std::string kind, int sign) {
    auto found = difference(std::move(kind));
    found.key = compared_.keyed() ? side.named(compared_.key, 3) : side.named(compared_.columns, 2);
    if (!compared_.keyed()) found.weight = sign * side.integer(1);
    co_await record_.add(std::move(found));
  }

  asio::awaitable<void> report_pair(const Stream& primary, const Stream& mirror) {
    if (primary.text(1) == mirror.text(1)) co_return;
    if (compared_.keyed()) {
      auto found = difference("changed");
      found.key = primary.named(compared_.key, 3);
      found.columns = columns_that_differ(compared_, primary.text(2), mirror.text(2));
      co_await record_.add(std::move(found));
      co_return;
    }
    const auto lacking = primary.integer(1) - mirror.integer(1);
    auto found = difference(lacking > 0 ? "missing" : "extra");
    found.key = primary.named(compared_.columns, 2);
    found.weight = lacking;
    co_await record_.add(std::move(found));
  }

  const SidesOfTable& table_;
  const Compared& compared_;
  Record& record_;
};

asio::awaitable<void> check_files(pg::Connection& side, const TableInfo& table) {
  const auto rows = co_await side.run(files_sql, pg::params(std::to_string(table.oid)));
  if (rows.integer(0, 0) == 0 && !rows.boolean(0, 1)) co_return;
  pg::Error error{"the files or partitions of " + table.display() + " changed meanwhile"};
  error.message = error.what();
  error.sqlstate = "PGJ03";
  throw error;
}

// Names that tables have exchanged past the proxy come to the list, and to the mirror, within a second. Until
// then what is read by one name on both sides is two tables.
asio::awaitable<void> require_own_capture(pg::Connection& primary, const TableInfo& table) {
  const auto other = co_await primary.run(
      "SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname ~ '^capture_[0-9]+_insert$' "
      "JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'pgjanus' "
      "JOIN pgjanus.tables l ON p.proname = 'capture_' || l.id || '_insert' "
      "WHERE t.tgname = 'pgjanus_insert' AND t.tgrelid = to_regclass($1) AND t.tgrelid IS DISTINCT FROM "
      "to_regclass(format('%I.%I', coalesce(to_jsonb(l) ->> 'local_schema', l.schema_name), "
      "coalesce(to_jsonb(l) ->> 'local_name', l.table_name)))",
      pg::params(table.sql_name()));
  if (other.empty()) co_return;
  pg::Error error{table.display() + " is the name of another table now"};
  error.message = error.what();
  error.sqlstate = "PGJ03";
  throw error;
}

/// Rows and the sum of their hashes; sums of parts add up, modulo 2^64.
struct Sum {
  std::int64_t rows = 0;
  std::uint64_t hashes = 0;
  friend bool operator==(const Sum&, const Sum&) = default;

  void add(const pg::Rows& answer) {
    rows += answer.integer(0, 0);
    std::uint64_t value = 0;
    const auto digits = answer.text(0, 1);
    const bool negative = digits.starts_with('-');
    for (const char digit : digits.substr(negative ? 1 : 0)) {
      value = value * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    hashes += negative ? 0 - value : value;
  }
};

struct Sums {
  Sum primary, mirror;
};

/// Pages [first, first + slice) of a table, without an end for the last; empty conditions past it.
std::string slice_condition(const TableInfo& table, std::int64_t first, std::int64_t slice) {
  const auto page = [](std::int64_t number) {
    return "'(" + std::to_string(number) + ",0)'::pg_catalog.tid";
  };
  std::string condition = "t.ctid OPERATOR(pg_catalog.>=) " + page(first);
  if (first + slice < table.relations.front().pages) {
    condition += " AND t.ctid OPERATOR(pg_catalog.<) " + page(first + slice);
  }
  return condition;
}

// Sums do not hang on the order of rows, so that each side may be cut where its own pages end.
asio::awaitable<Sums> sums_by_slices(TwinSnapshots& twins, const SidesOfTable& table,
                                     const Compared& compared, const Manner& manner) {
  Sums sums;
  const auto pages_here = table.primary.relations.front().pages;
  const auto pages = std::max<std::int64_t>({pages_here, table.mirror.relations.front().pages, 1});
  for (std::int64_t first = 0; first < pages; first += manner.slice_pages) {
    const auto began = std::chrono::steady_clock::now();
    const auto sql_of = [&](const TableInfo& side) {
      if (first > 0 && first >= side.relations.front().pages) return std::string{"SELECT 0, 0"};
      return sum_sql(side, compared, slice_condition(side, first, manner.slice_pages),
                     manner.hashing);
    };
    auto sql_here = sql_of(table.primary), sql_there = sql_of(table.mirror);
    const auto both = co_await run_both(twins, std::move(sql_here), std::move(sql_there));
    sums.primary.add(both.primary);
    sums.mirror.add(both.mirror);
    const auto bytes = std::min(manner.slice_pages, std::max<std::int64_t>(pages_here - first, 0)) *
                       8192;
    co_await manner.rest(both.primary.integer(0, 0), bytes,
                         std::chrono::steady_clock::now() - began);
  }
  co_return sums;
}

bool by_slices(TwinSnapshots& twins, const SidesOfTable& table, const Part& part,
               const Manner& manner) {
  constexpr int tid_range_scans = 140'000;
  return manner.slice_pages > 0 && !part.low && !part.high && table.primary.kind == 'r' &&
         table.mirror.kind == 'r' && twins.primary->server_version() >= tid_range_scans &&
         twins.mirror->server_version() >= tid_range_scans &&
         table.primary.relations.front().pages > manner.slice_pages;
}

// The rows of buckets that differ, from both sides, side by side.
asio::awaitable<void> find_rows(TwinSnapshots& twins, const SidesOfTable& table, const Part& part,
                                const Compared& compared, const Manner& manner, Record& record) {
  const auto condition_here = condition_of(table.primary, part);
  const auto condition_there = condition_of(table.mirror, part);
  const auto hashing = manner.hashing;
  const auto buckets = buckets_for(part.bytes / 8192);
  auto sql_here = buckets_sql(table.primary, compared, buckets, condition_here, hashing);
  auto sql_there = buckets_sql(table.mirror, compared, buckets, condition_there, hashing);
  const auto both = co_await run_both(twins, std::move(sql_here), std::move(sql_there));
  const auto primary = read_buckets(both.primary), mirror = read_buckets(both.mirror);
  const auto differing = buckets_that_differ(primary, mirror);
  // An empty list would mean all of them.
  if (differing.empty()) co_return;
  Stream on_primary{*twins.primary, 50}, on_mirror{*twins.mirror, 50};
  co_await on_primary.open(
      rows_sql(table.primary, compared, buckets, differing, condition_here, hashing));
  co_await on_mirror.open(
      rows_sql(table.mirror, compared, buckets, differing, condition_there, hashing));
  Merge merge{table, compared, record};
  co_await merge.run(on_primary, on_mirror);
  co_await on_primary.close();
  co_await on_mirror.close();
}

}  // namespace

ColumnPairs pair_columns(const SidesOfTable& table) {
  ColumnPairs pairs;
  const auto find = [](const TableInfo& side, const std::string& name) {
    return std::find_if(side.columns.begin(), side.columns.end(),
                        [&](const ColumnInfo& column) { return column.name == name; });
  };
  const auto report = [&](std::string kind, const std::string& column) {
    Difference found;
    found.table_id = table.primary.id;
    found.table = table.primary.display();
    found.kind = std::move(kind);
    found.columns = {column};
    pairs.differences.push_back(std::move(found));
  };
  for (const auto& column : table.primary.columns) {
    const auto other = find(table.mirror, column.name);
    if (other == table.mirror.columns.end()) {
      report("missing", column.name);
      continue;
    }
    if (other->type != column.type) report("changed", column.name);
    pairs.compared.columns.push_back(column.name);
  }
  for (const auto& column : table.mirror.columns) {
    if (find(table.primary, column.name) == table.primary.columns.end()) {
      report("extra", column.name);
    }
  }
  for (const auto& key : table.primary.key) pairs.compared.key.push_back(key.name);
  return pairs;
}

asio::awaitable<PartResult> compare_part(TwinSnapshots& twins, const SidesOfTable& table,
                                         const Part& part, const Manner& manner, Record& record) {
  PartResult result;
  const auto pairs = pair_columns(table);
  const auto& compared = pairs.compared;
  for (const auto& key : compared.key) {
    const auto& both = compared.columns;
    if (std::find(both.begin(), both.end(), key) == both.end()) co_return result;
  }
  Sums sums;
  if (by_slices(twins, table, part, manner)) {
    result.rested = true;
    sums = co_await sums_by_slices(twins, table, compared, manner);
  } else {
    auto here = sum_sql(table.primary, compared, condition_of(table.primary, part), manner.hashing);
    auto there = sum_sql(table.mirror, compared, condition_of(table.mirror, part), manner.hashing);
    const auto both = co_await run_both(twins, std::move(here), std::move(there));
    sums.primary.add(both.primary);
    sums.mirror.add(both.mirror);
  }
  co_await check_files(*twins.primary, table.primary);
  co_await check_files(*twins.mirror, table.mirror);
  result.rows = sums.primary.rows;
  if (!(sums.primary == sums.mirror)) {
    co_await require_own_capture(*twins.primary, table.primary);
    co_await find_rows(twins, table, part, compared, manner, record);
  }
  co_return result;
}

}  // namespace pgjanus::verify
