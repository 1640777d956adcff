// What a load will meet: how much there is, how long it may take, whether the target has room for it,
// and whether it knows the types and collations.

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "proxy/check/findings.hpp"
#include "sql_texts.hpp"

namespace pgjanus::check {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t megabyte = 1 << 20, gigabyte = 1 << 30;
constexpr std::int64_t sample_pages = 1024;
constexpr pg::Duration sample_limit{10'000};
// Files are larger while indexes are built and WAL waits to be recycled.
constexpr std::int64_t room_percent = 120;
// Of a new table, its TOAST table and that one's index, in the transaction that makes the schema.
constexpr std::int64_t locks_a_table = 3;

struct Sizes {
  std::int64_t tables = 0, row_bytes = 0, bytes = 0;
  std::string largest;
  std::string sampled;  // For SQL: the largest plain table.
  std::int64_t sampled_bytes = 0, sampled_pages = 0;
};

std::string size_text(std::int64_t bytes) {
  const auto tenths = [](std::int64_t number, std::int64_t unit) {
    const auto value = number * 10 / unit;
    return std::to_string(value / 10) + "." + std::to_string(value % 10);
  };
  return bytes >= gigabyte ? tenths(bytes, gigabyte) + " GB" : tenths(bytes, megabyte) + " MB";
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole < 120) return std::to_string(std::max<std::int64_t>(whole, 1)) + " s";
  if (whole < 7200) return std::to_string((whole + 30) / 60) + " min";
  return std::to_string((whole + 1800) / 3600) + " h";
}

boost::asio::awaitable<Sizes> read_sizes(pg::Connection& source) {
  co_await source.run("BEGIN READ ONLY; SET LOCAL lock_timeout = '300ms'");
  std::optional<pg::Error> failure;
  Sizes sizes;
  try {
    const pg::Rows row = co_await source.run(std::string{sql::check_sizes}, pg::Duration{60'000});
    sizes = {row.integer(0, 0), row.integer(0, 1), row.integer(0, 2), row.str(0, 3), row.str(0, 4), 0, 0};
    if (!row.null(0, 4)) sizes.sampled_bytes = row.integer(0, 5);
    if (!row.null(0, 4)) sizes.sampled_pages = row.integer(0, 6);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure && failure->lost) throw *failure;
  co_await source.run("ROLLBACK");
  if (failure) throw *failure;
  co_return sizes;
}

class Pipe {
 public:
  explicit Pipe(pg::Connection& target) : target_{target} {}
  pg::Connection::Sink sink() {
    return [this](std::string_view parcel) { return target_.copy_in_put(parcel, sample_limit); };
  }

 private:
  pg::Connection& target_;
};

/// Some pages of the largest table through us into a temporary table: seconds.
boost::asio::awaitable<double> sample(pg::Connection& source, pg::Connection& target, std::string table,
                                      double percent) {
  co_await target.run("BEGIN; CREATE TEMPORARY TABLE pgjanus_sample (line text) ON COMMIT DROP");
  co_await source.run("BEGIN READ ONLY; SET LOCAL lock_timeout = '300ms'; SET LOCAL statement_timeout = '20s'");
  const auto began = Clock::now();
  co_await target.copy_in_begin("COPY pg_temp.pgjanus_sample FROM STDIN");
  Pipe pipe{target};
  auto rows = "COPY (SELECT t::text FROM ONLY " + table + " AS t TABLESAMPLE SYSTEM (" + std::to_string(percent) + ")) TO STDOUT";
  co_await source.copy_out(std::move(rows), pipe.sink(), sample_limit);
  co_await target.copy_in_end();
  const std::chrono::duration<double> took = Clock::now() - began;
  co_await source.run("ROLLBACK");
  co_await target.run("ROLLBACK");
  co_return took.count();
}

/// On connections of its own: what fails half way leaves nothing behind.
boost::asio::awaitable<void> judge_duration(const Databases& databases, Sizes sizes, Findings& findings) {
  const auto pages = std::min(sizes.sampled_pages, sample_pages);
  const auto share = sizes.sampled_pages == 0 ? 0.0 : static_cast<double>(pages) / static_cast<double>(sizes.sampled_pages);
  const auto bytes = static_cast<double>(sizes.sampled_bytes) * share;
  if (bytes < static_cast<double>(megabyte)) {
    findings.pass("duration", "load", "no table is large enough for a sample");
    co_return;
  }
  std::optional<pg::Error> failure;
  double seconds = 0;
  try {
    const auto source = co_await databases.open(Side::source, "check sample");
    const auto target = co_await databases.open(Side::target, "check sample");
    const auto percent = 100 * share;
    seconds = co_await sample(*source, *target, sizes.sampled, percent);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure) {
    findings.warn("duration", "load", "no sample could be taken: " + failure->message,
                  failure->is("42501") ? "GRANT TEMPORARY ON DATABASE on the target to the role, to get an estimate"
                                       : "check again, to get an estimate");
    co_return;
  }
  const auto all = static_cast<double>(sizes.row_bytes) / bytes * seconds;
  findings.pass("duration", "load",
                "the rows take about " + time_text(all) + " over one connection, as a sample of " +
                    size_text(static_cast<std::int64_t>(bytes)) + " of " + sizes.sampled + " went; several workers make it less, indexes more");
}

boost::asio::awaitable<void> judge_disk(pg::Connection& target, std::int64_t bytes, Findings& findings) {
  const auto needed = bytes / 100 * room_percent;
  const auto needs = "about " + size_text(needed) + " are needed";
  const pg::Rows row = co_await target.run(
      "SELECT s.setting FROM pg_settings s WHERE s.name = 'data_directory' AND inet_server_addr() IS NULL");
  std::error_code unknown;
  std::uintmax_t free = 0;
  if (!row.empty() && !row.null(0, 0)) free = std::filesystem::space(row.str(0, 0), unknown).available;
  const bool known = !row.empty() && !row.null(0, 0) && !unknown;
  if (known && static_cast<std::int64_t>(free) < needed) {
    findings.fail("disk", "target", needs + ", " + size_text(static_cast<std::int64_t>(free)) + " are free",
                  "give the server more storage");
  } else if (known) {
    findings.pass("disk", "target", needs + ", " + size_text(static_cast<std::int64_t>(free)) + " are free");
  } else if (needed >= gigabyte) {
    findings.warn("disk", "target", needs + "; how much is free cannot be asked through SQL",
                  "compare it with the storage that the host shows, or let that grow by itself");
  } else {
    findings.pass("disk", "target", needs);
  }
}

boost::asio::awaitable<void> judge_locks(pg::Connection& side, std::string name, std::int64_t needed, Findings& findings) {
  const pg::Rows row = co_await side.run(
      "SELECT current_setting('max_locks_per_transaction')::bigint, "
      // MaxBackends and prepared transactions (NLOCKENTS() in storage/lmgr/lock.c).
      "current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint "
      "+ current_setting('autovacuum_max_workers')::bigint + current_setting('max_worker_processes')::bigint "
      "+ current_setting('max_wal_senders')::bigint + 1");
  const auto held = row.integer(0, 0) * row.integer(0, 1);
  if (needed <= held) co_return;
  const auto detail = "copying the schema locks about " + std::to_string(needed) +
                      " relations at a time, the server has room for about " + std::to_string(held);
  const auto remedy = "max_locks_per_transaction = " + std::to_string(needed / row.integer(0, 1) + 1) +
                      " or more there (needs a restart)";
  // What shared memory is left over holds some more.
  if (needed > held + held / 2) {
    findings.fail("locks", name, detail, remedy);
  } else {
    findings.warn("locks", name, detail, remedy);
  }
}

boost::asio::awaitable<void> judge_types(pg::Connection& source, pg::Connection& target, Findings& findings) {
  const pg::Rows used = co_await source.run(std::string{sql::check_types});
  for (int row = 0; row < used.size(); ++row) {
    const auto kind = used.text(row, 0);
    const auto name = used.str(row, 1);
    if (kind == "b") {
      findings.fail("types", "type " + name, "a base type of its own: only a superuser can make it, from the same C library",
                    "install it on the target and prepare with --no-schema, or make an extension of it");
      continue;
    }
    auto value = pg::params(name);
    std::string known = "SELECT to_regtype($1) IS NOT NULL, ''";
    if (kind == "c") {
      known = "SELECT c.oid IS NOT NULL, coalesce(pg_collation_actual_version(c.oid), '') "
              "FROM (SELECT to_regcollation($1)::oid AS oid) c";
    }
    const pg::Rows there = co_await target.run(std::move(known), std::move(value));
    if (kind == "t" && !there.boolean(0, 0)) {
      findings.fail("types", "type " + name, "the target's version does not have it", "change the columns to a type that both have");
    } else if (kind == "c" && !there.boolean(0, 0)) {
      findings.fail("collations", "collation " + name, "columns use it, and the target does not offer it",
                    "install the locale there and run pg_import_system_collations(), or change the columns");
    } else if (kind == "c" && there.text(0, 1) != used.text(row, 2)) {
      findings.warn("collations", "collation " + name,
                    "version " + used.str(row, 2) + " on the source, " + there.str(0, 1) + " on the target: ORDER BY may differ",
                    "nothing for the data: indexes are built anew; mind code that relies on the order");
    }
  }
  if (!findings.has("types")) findings.pass("types", "target", "knows every type of the columns");
  if (!findings.has("collations")) findings.pass("collations", "target", "offers every collation of the columns");
}

}  // namespace

boost::asio::awaitable<void> look_at_load(const Databases& databases, pg::Connection& source,
                                          pg::Connection& target, Findings& findings) {
  co_await judge_types(source, target, findings);
  std::optional<pg::Error> failure;
  Sizes sizes;
  try {
    sizes = co_await read_sizes(source);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (failure && failure->lost) throw *failure;
  if (failure) {
    findings.warn("size", "source", "sizes could not be read: " + failure->message, "check again: somebody held a table's lock");
    co_return;
  }
  const auto tables = std::to_string(sizes.tables) + (sizes.tables == 1 ? " table" : " tables");
  findings.pass("size", "source", tables + ", " + size_text(sizes.bytes) + " with indexes" +
                                      (sizes.largest.empty() ? "" : "; the largest: " + sizes.largest));
  co_await judge_disk(target, sizes.bytes, findings);
  co_await judge_locks(source, "source", sizes.tables, findings);
  co_await judge_locks(target, "target", sizes.tables * locks_a_table, findings);
  if (!findings.has("locks")) findings.pass("locks", "both", "room for the locks of the schema's copy");
  co_await judge_duration(databases, std::move(sizes), findings);
}

}  // namespace pgjanus::check
