// A batch's snapshot on the primary, the keys that are new under it, and the transaction that makes it a
// boundary.

#include "proxy/mirror/batch.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration step_limit{600'000};
// One scan of so many transaction ids is cheaper than looking up the running ones by themselves;
// beside an old transaction it would read the whole journal.
constexpr std::uint64_t short_range = 256;

const char* const header_sql = R"(
SELECT pg_current_snapshot()::text, coalesce(s.nonce, ''), coalesce(s.previous_nonce, ''), s.role,
       s.epoch, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
FROM pgjanus.state s)";

const char* const selected =
    "SELECT table_id, key, sum(weight)::bigint FROM pgjanus.journal WHERE ";
// Whole-table entries come first in each table: they make the table's other keys superfluous.
const char* const grouped =
    " GROUP BY table_id, key HAVING sum(weight) IS DISTINCT FROM 0 "
    "ORDER BY table_id, key IS NOT NULL";

pg::Error unreadable(const std::string& snapshot_text) {
  pg::Error error{"the stored boundary is no snapshot: " + snapshot_text};
  error.message = error.what();
  return error;
}

std::string id_list(const std::set<int>& ids) {
  std::string list;
  for (const int id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
  return list;
}

BatchHeader header_of(const pg::Rows& row) {
  if (row.size() != 1) {
    pg::Error error{"pgjanus.state is empty on the primary"};
    error.message = error.what();
    throw error;
  }
  return {row.str(0, 0), row.str(0, 1), row.str(0, 2), row.str(0, 3), row.str(0, 6),
          row.str(0, 5), Epoch{static_cast<std::uint64_t>(row.integer(0, 4))}};
}

}  // namespace

std::string new_since(const std::string& snapshot_text) {
  const auto snapshot = parse_snapshot(snapshot_text);
  if (!snapshot) throw unreadable(snapshot_text);
  auto condition = "xid >= '" + std::to_string(snapshot->xmax.value) + "'::xid8";
  if (snapshot->xip.empty()) return condition;
  std::string list;
  for (const auto xid : snapshot->xip) {
    list += (list.empty() ? "{" : ",") + std::to_string(xid.value);
  }
  return "(" + condition + " OR xid = ANY ('" + list + "}'::xid8[]))";
}

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

// The keys of a usual batch come with one prepared statement, in the round trip that takes the
// snapshot: parsing and planning anew would cost more than reading them. Tables with a boundary of
// their own, and batches that one fetch does not hold, take a cursor.
asio::awaitable<BatchHeader> Batch::open() {
  std::vector<pg::Statement> statements;
  statements.push_back({"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, true});
  statements.push_back({header_sql, {}, true});
  if (plan_.own.empty()) statements.push_back(keys_statement());
  auto results = co_await primary_.batch(std::move(statements), step_limit);
  auto header = header_of(results[1]);
  if (results.size() > 2) keys_.rows = results[2];
  if (results.size() == 2 || keys_.rows.size() == keys_per_fetch) {
    std::vector<pg::Statement> cursor;
    cursor.push_back({"DECLARE pgjanus_keys NO SCROLL CURSOR FOR " + (selected + journal_condition()) +
                          grouped, {}, false});
    cursor.push_back({"FETCH " + std::to_string(keys_per_fetch) + " FROM pgjanus_keys", {}, true});
    auto fetched = co_await primary_.batch(std::move(cursor), step_limit);
    keys_.rows = fetched[1];
  }
  to_.snapshot = header.snapshot;
  to_.timeline = header.timeline;
  co_return header;
}

// The new transactions as parameters, so that one prepared statement serves all batches.
pg::Statement Batch::keys_statement() const {
  const auto snapshot = parse_snapshot(plan_.from.snapshot);
  if (!snapshot) throw unreadable(plan_.from.snapshot);
  auto lowest = snapshot->xmax.value;
  std::string running;
  for (const auto xid : snapshot->xip) {
    lowest = std::min(lowest, xid.value);
    running += (running.empty() ? "" : ",") + std::to_string(xid.value);
  }
  auto values = pg::params(std::to_string(snapshot->xmax.value), "{" + running + "}",
                           "{" + id_list(plan_.left_out) + "}");
  std::string within = "(xid >= $1::xid8 OR xid = ANY ($2::xid8[])) AND table_id <> ALL ($3::int[])";
  if (snapshot->xmax.value - lowest < short_range) {
    within = "xid >= $4::xid8 AND " + within;
    values.emplace_back(std::to_string(lowest));
  }
  return {selected + within + grouped + " LIMIT " + std::to_string(keys_per_fetch),
          std::move(values), true};
}

asio::awaitable<void> Batch::close_empty() {
  if (primary_over_) co_return;
  co_await primary_.run("COMMIT");
  primary_over_ = true;
}

// A transaction with an id of its own, begun after the snapshot, durable before the mirror's
// commit: ids above it can come back after a crash, ids below it cannot. It does nothing where the
// header would be refused: what the primary knows of the mirror must not be overwritten then.
void Batch::add_ending(std::vector<pg::Statement>& statements) const {
  statements.push_back({"COMMIT", {}, true});
  const auto before = parse_snapshot(plan_.from.snapshot);
  statements.push_back(
      {"UPDATE pgjanus.state SET batch = $1, nonce = $2, previous_nonce = $3, beat_at = now() "
       "WHERE role = 'primary' AND epoch = $4 AND $3 IN (coalesce(nonce, ''), coalesce(previous_nonce, '')) "
       "AND pg_snapshot_xmax(pg_current_snapshot()) >= $5::xid8",
       {std::to_string(to_.batch), to_.nonce, plan_.from.nonce, std::to_string(to_.epoch.value),
        std::to_string(before ? before->xmax.value : 0)},
       true});
}

void Batch::ended(const pg::Rows& beat) noexcept {
  primary_over_ = true;
  beaten_ = beat.affected() == 1;
}

}  // namespace pgjanus
