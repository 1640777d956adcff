#include "proxy/mirror/batch.hpp"

#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration step_limit{600'000};
// A boundary that is not where we think makes no row, and that is an error before any COMMIT.
constexpr const char* division_by_zero = "22012";
// One scan of so many transaction ids is cheaper than looking up the running ones by themselves;
// beside an old transaction it would read the whole journal.
constexpr std::uint64_t short_range = 256;
// Small statements of several tables share a round trip up to this.
constexpr std::size_t write_bytes = 1U << 20;

const char* const header_sql = R"(
SELECT pg_current_snapshot()::text, coalesce(s.nonce, ''), coalesce(s.previous_nonce, ''), s.role,
       s.epoch, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
FROM pgjanus.state s)";

std::string new_since(const std::string& snapshot_text) {
  const auto snapshot = parse_snapshot(snapshot_text);
  if (!snapshot) {
    pg::Error error{"the stored boundary is no snapshot: " + snapshot_text};
    error.message = error.what();
    throw error;
  }
  auto condition = "xid >= '" + std::to_string(snapshot->xmax.value) + "'::xid8";
  if (snapshot->xip.empty()) return condition;
  std::string list;
  for (const auto xid : snapshot->xip) {
    list += (list.empty() ? "{" : ",") + std::to_string(xid.value);
  }
  return "(" + condition + " OR xid = ANY ('" + list + "}'::xid8[]))";
}

std::string id_list(const std::set<int>& ids) {
  std::string list;
  for (const int id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
  return list;
}

}  // namespace

std::string Batch::journal_condition() const {
  std::set<int> special = plan_.left_out;
  std::string condition;
  for (const auto& [id, boundary] : plan_.own) {
    special.insert(id);
    condition += " OR table_id = " + std::to_string(id) + " AND " + new_since(boundary);
  }
  auto common = new_since(plan_.from.snapshot);
  if (!special.empty()) common += " AND table_id NOT IN (" + id_list(special) + ")";
  return common + condition;
}

PairedTable& Batch::table(int id) {
  const auto found = tables_.by_id.find(id);
  if (found == tables_.by_id.end()) {
    pg::Error error{"the journal names table " + std::to_string(id) +
                    ", which pgjanus.tables does not list as mirrored"};
    error.message = error.what();
    error.sqlstate = "42P01";
    throw error;
  }
  return found->second;
}

// The keys of a usual batch come with one prepared statement, in the round trip that takes the
// snapshot: parsing and planning anew would cost more than reading them. Tables with a boundary of
// their own, and batches that one fetch does not hold, take a cursor. Whole-table entries come first
// in each table: they make the table's other keys superfluous.
asio::awaitable<BatchHeader> Batch::open() {
  const std::string selected =
      "SELECT table_id, key, sum(weight)::bigint FROM pgjanus.journal WHERE ";
  const std::string grouped =
      " GROUP BY table_id, key HAVING sum(weight) IS DISTINCT FROM 0 "
      "ORDER BY table_id, key IS NOT NULL";
  std::vector<pg::Statement> statements;
  statements.push_back({"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, true});
  statements.push_back({header_sql, {}, true});
  if (plan_.own.empty()) {
    const auto from = parse_snapshot(plan_.from.snapshot);
    const auto end = from ? from->xmax.value : 0;
    auto lowest = end;
    std::string running;
    for (const auto xid : from ? from->xip : std::vector<FullXid>{}) {
      lowest = std::min(lowest, xid.value);
      running += (running.empty() ? "" : ",") + std::to_string(xid.value);
    }
    auto values = pg::params(std::to_string(end), "{" + running + "}",
                             "{" + id_list(plan_.left_out) + "}");
    std::string within = "(xid >= $1::xid8 OR xid = ANY ($2::xid8[])) AND table_id <> ALL ($3::int[])";
    if (end - lowest < short_range) {
      within = "xid >= $4::xid8 AND " + within;
      values.emplace_back(std::to_string(lowest));
    }
    statements.push_back(
        {selected + within + grouped + " LIMIT " + std::to_string(keys_per_fetch), values, true});
  }
  auto results = co_await primary_.batch(std::move(statements), step_limit);
  const auto& row = results[1];
  if (row.size() != 1) {
    pg::Error error{"pgjanus.state is empty on the primary"};
    error.message = error.what();
    throw error;
  }
  if (results.size() > 2) keys_.rows = results[2];
  if (results.size() == 2 || keys_.rows.size() == keys_per_fetch) {
    std::vector<pg::Statement> cursor;
    cursor.push_back({"DECLARE pgjanus_keys NO SCROLL CURSOR FOR " + selected +
                          journal_condition() + grouped, {}, false});
    cursor.push_back({"FETCH " + std::to_string(keys_per_fetch) + " FROM pgjanus_keys", {}, true});
    auto fetched = co_await primary_.batch(std::move(cursor), step_limit);
    keys_.rows = fetched[1];
  }
  BatchHeader header{row.str(0, 0), row.str(0, 1), row.str(0, 2), row.str(0, 3), row.str(0, 6),
                     row.str(0, 5), Epoch{static_cast<std::uint64_t>(row.integer(0, 4))}};
  co_return header;
}

asio::awaitable<void> Batch::close_empty() {
  if (primary_over_) co_return;
  co_await primary_.run("COMMIT");
  primary_over_ = true;
}

// What opens the mirror's transaction goes ahead of the first work, in the same round trip; moving the
// boundary and the mark that lets our statements pass are one statement.
void Batch::prepare_opening(const Boundary& to) {
  opening_.push_back({"BEGIN", {}, true});
  opening_.push_back(
      {"WITH moved AS (UPDATE pgjanus.boundary SET batch = $1, snapshot = $2, nonce = $3, "
       "system = nullif($4, ''), timeline = nullif($5, ''), taken_at = clock_timestamp() "
       "WHERE epoch = $6 AND batch = $7 RETURNING 1) SELECT 1 / count(*), "
       "set_config('pgjanus.apply', 'on', true) FROM moved",
       {std::to_string(to.batch), to.snapshot, to.nonce, to.system, to.timeline,
        std::to_string(plan_.from.epoch.value), std::to_string(plan_.from.batch)},
       true});
}

/// Sends what was gathered, in one round trip. An error names the table whose statement failed.
asio::awaitable<void> Batch::write() {
  if (work_.empty() && opening_.empty()) co_return;
  auto statements = std::move(work_);
  const auto owners = std::move(owners_);
  work_.clear();
  owners_.clear();
  work_bytes_ = 0;
  try {
    co_await on_mirror(std::move(statements));
  } catch (const pg::Error& error) {
    if (!owners.empty()) table_at_work_ = owners[std::min(error.statement, owners.size() - 1)];
    throw;
  }
}

asio::awaitable<void> Batch::write_when_large() {
  if (work_bytes_ >= write_bytes) co_await write();
}

void Batch::add_work(int id, const std::string& sql, ColumnArrays& rows) {
  work_bytes_ += rows.bytes();
  work_.push_back({sql, rows.parameters(), true});
  owners_.push_back(id);
}

/// Runs statements in the mirror's transaction. The index in an error counts from `statements`.
asio::awaitable<void> Batch::on_mirror(std::vector<pg::Statement> statements) {
  const auto ahead = opening_.size();
  auto all = std::move(opening_);
  opening_.clear();
  for (auto& statement : statements) all.push_back(std::move(statement));
  try {
    co_await mirror_.batch(std::move(all), step_limit);
  } catch (pg::Error& error) {
    if (ahead > 0 && error.statement == ahead - 1 && error.is(division_by_zero)) {
      pg::Error moved{"the mirror's boundary is not batch " + std::to_string(plan_.from.batch) +
                      " of epoch " + std::to_string(plan_.from.epoch.value) +
                      ": another loop moved it"};
      moved.message = moved.what();
      moved.sqlstate = "PGJ02";
      throw moved;
    }
    error.statement -= std::min(error.statement, ahead);
    throw;
  }
}

asio::awaitable<void> Batch::apply(Boundary to) {
  prepare_opening(to);
  streams_ = keys_.rows.size() >= keys_per_fetch;
  for (bool more = !keys_.empty(); more;) {
    const bool last_fetch = keys_.rows.size() < keys_per_fetch;
    co_await apply_fetched(last_fetch);
    more = !last_fetch;
    if (more) {
      std::vector<pg::Statement> fetch;
      fetch.push_back(
          {"FETCH " + std::to_string(keys_per_fetch) + " FROM pgjanus_keys", {}, true});
      auto fetched = co_await primary_.batch(std::move(fetch), step_limit);
      keys_.rows = fetched[0];
      more = !keys_.empty();
    }
  }
  table_at_work_ = 0;
  if (!primary_over_) co_await check_files();
  if (!plan_.own.empty()) {
    std::set<int> joined;
    for (const auto& [id, boundary] : plan_.own) joined.insert(id);
    work_.push_back({"UPDATE pgjanus.tables SET boundary = NULL, state = 'mirrored', error = NULL "
                     "WHERE id IN (" + id_list(joined) + ")", {}, false});
    owners_.push_back(0);
  }
  work_.push_back({"COMMIT", {}, true});
  owners_.push_back(0);
  co_await write();
}

asio::awaitable<void> Batch::apply_fetched(bool last_fetch) {
  const auto rows = keys_.rows;
  std::vector<Job> jobs;
  for (int first = 0; first < rows.size();) {
    const auto id = static_cast<int>(rows.integer(first, 0));
    int last = first + 1;
    while (last < rows.size() && rows.text(last, 0) == rows.text(first, 0)) ++last;
    const int begin = first;
    first = last;
    if (id == skip_table_) continue;
    auto& paired = table(id);
    table_at_work_ = id;
    const bool complete = last_fetch || last < rows.size();
    if (rows.null(begin, 1)) {
      skip_table_ = id;
      co_await apply_whole(paired);
    } else if (!paired.keyed()) {
      add_weights(paired, begin, last);
      co_await write_when_large();
    } else if (paired.delete_first && !complete) {
      skip_table_ = id;
      co_await apply_two_passes(paired);
    } else if (!read_) {
      add_jobs(paired, begin, last, jobs);
    }
    keys_applied_ += static_cast<std::uint64_t>(last - begin);
  }
  if (read_) add_rows_work(jobs_, 0, jobs_.size(), rows_, Pass::both);
  co_await run_jobs(std::move(jobs), Pass::both);
}

}  // namespace pgjanus
