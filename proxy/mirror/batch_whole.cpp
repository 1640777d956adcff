// The rarer work of a batch: tables without key, whole tables, and deletes before inserts.

#include <algorithm>
#include <charconv>

#include "proxy/mirror/batch.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {
constexpr pg::Duration step_limit{600'000};
constexpr std::size_t insert_bytes_max = 4U << 20;
constexpr int rows_per_fetch = 500;
}  // namespace

std::string apply_marks(bool replica_role) {
  // One statement, so that it is one message of the pipeline; the marks end with the transaction.
  std::string marks =
      "SELECT set_config('pgjanus.apply', 'on', true), set_config('synchronous_commit', 'on', true)";
  if (replica_role) marks += ", set_config('session_replication_role', 'replica', true)";
  return marks;
}

asio::awaitable<bool> may_set_replica_role(pg::Connection& connection) {
  co_await connection.run("BEGIN");
  bool granted = true;
  try {
    co_await connection.run("SET LOCAL session_replication_role = replica");
  } catch (const pg::Error& error) {
    if (error.lost) throw;
    granted = false;
  }
  co_await connection.run("ROLLBACK");
  co_return granted;
}

asio::awaitable<void> Batch::insert_rows(PairedTable& paired, const pg::Rows& rows, bool upsert) {
  const auto width = paired.primary.columns.size();
  for (int row = 0; row < rows.size();) {
    ColumnArrays inserted{std::max<std::size_t>(width, 1)};
    for (; row < rows.size() && inserted.bytes() < insert_bytes_max; ++row) {
      if (width == 0) inserted.append(0, "1");  // Rows without columns are only counted.
      for (std::size_t column = 0; column < width; ++column) {
        const int at = static_cast<int>(column);
        inserted.append(column, rows.null(row, at)
                                    ? std::nullopt
                                    : std::optional<std::string_view>{rows.text(row, at)});
      }
      inserted.end_row();
    }
    add_work(paired.id, upsert ? paired.upsert : paired.insert, inserted);
    co_await write_behind();
  }
}

// "Every row of this table": TRUNCATE, a reload, a capture that could not name its key.
asio::awaitable<void> Batch::apply_whole(PairedTable& paired) {
  std::vector<pg::Statement> clear;
  clear.push_back({paired.remove_all, {}, false});
  co_await write();
  table_at_work_ = paired.id;
  co_await on_mirror(std::move(clear));
  co_await primary_.run("SAVEPOINT pgjanus_read");
  co_await primary_.run("DECLARE pgjanus_rows NO SCROLL CURSOR FOR " + paired.read_all, step_limit);
  for (;;) {
    auto rows = co_await primary_.run(
        "FETCH " + std::to_string(rows_per_fetch) + " FROM pgjanus_rows", step_limit);
    if (rows.empty()) break;
    require_columns(paired.primary, rows);
    keys_applied_ += static_cast<std::uint64_t>(rows.size());
    co_await insert_rows(paired, rows, false);
  }
  // The table's lock goes with the savepoint: a batch may last long after this.
  const std::set<int> ids{paired.id};
  std::vector<pg::Statement> ending;
  ending.push_back(files_statement(ids));
  ending.push_back({"ROLLBACK TO SAVEPOINT pgjanus_read", {}, true});
  const auto answers = co_await primary_.batch(std::move(ending), step_limit);
  refuse_rewritten(answers[0], ids);
}

// Net counts of whole rows: first the removals, then the additions; their order among themselves
// does not matter, since equal rows are interchangeable.
void Batch::add_weights(PairedTable& paired, int first, int last) {
  const auto width = paired.primary.columns.size();
  const auto keys = keys_.rows;
  for (const bool removal : {true, false}) {
    ColumnArrays rows{width + 1};
    for (int row = first; row < last; ++row) {
      const auto weight = keys.integer(row, 2);
      if ((weight < 0) != removal) continue;
      const auto values = pg::parse_array(keys.text(row, 1));
      if (values.size() != width) {
        pg::Error error{"a journaled row of " + paired.primary.display() + " has " +
                        std::to_string(values.size()) + " columns, the table " +
                        std::to_string(width)};
        error.message = error.what();
        error.sqlstate = "42703";
        throw error;
      }
      for (std::size_t i = 0; i < width; ++i) {
        rows.append(i, values[i] ? std::optional<std::string_view>{*values[i]} : std::nullopt);
      }
      rows.append(width, std::to_string(weight < 0 ? -weight : weight));
      rows.end_row();
    }
    if (rows.rows() > 0) add_work(paired.id, removal ? paired.remove_times : paired.insert_times, rows);
  }
}

// More keys than one fetch holds, and an insert may clash with a row whose key comes later: all
// keys are deleted first, in a pass of their own over the same journal rows.
asio::awaitable<void> Batch::apply_two_passes(PairedTable& paired) {
  const auto saved = keys_.rows;
  for (const Pass pass : {Pass::deletes, Pass::inserts}) {
    co_await primary_.run(
        "DECLARE pgjanus_pass NO SCROLL CURSOR FOR SELECT DISTINCT table_id, key FROM "
        "pgjanus.journal WHERE table_id = " + std::to_string(paired.id) + " AND (" +
            journal_condition() + ")", step_limit);
    for (;;) {
      keys_.rows = co_await primary_.run("FETCH 1000 FROM pgjanus_pass", step_limit);
      if (keys_.rows.empty()) break;
      if (pass == Pass::deletes) keys_applied_ += static_cast<std::uint64_t>(keys_.rows.size());
      std::vector<Job> jobs;
      const auto known = tables_.row_bytes.find(paired.id);
      const auto at_once = known == tables_.row_bytes.end()
                               ? 64
                               : static_cast<int>(std::clamp<std::size_t>(
                                     (8U << 20) / (known->second + 1), 1, 1000));
      for (int from = 0; from < keys_.rows.size(); from += at_once) {
        jobs.push_back({&paired, from, std::min(keys_.rows.size(), from + at_once), {}});
      }
      co_await run_jobs(std::move(jobs), pass);
    }
    co_await primary_.run("CLOSE pgjanus_pass");
  }
  keys_.rows = saved;
}

}  // namespace pgjanus
