#include "proxy/mirror/batch.hpp"

#include "proxy/mirror/mirror.hpp"

#include <unordered_set>

namespace pgjanus {

namespace asio = boost::asio;

namespace {

// Keys fetched at once; a batch of any size streams in parts of this many.
constexpr int keys_per_fetch = 2000;
// Rows of one read are bounded by bytes, by what the table's rows weighed so far.
constexpr std::size_t read_bytes_max = 8U << 20;
constexpr std::size_t first_read_rows = 64;
constexpr pg::Duration step_limit{600'000};

const char* const header_sql = R"(
SELECT pg_current_snapshot()::text, coalesce(s.nonce, ''), coalesce(s.previous_nonce, ''), s.role,
       s.epoch, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
FROM pgjanus.state s)";

// Some DDL is not MVCC: under our snapshot a table that was rewritten, truncated or detached after
// it reads as empty. With our locks still held, what the snapshot says of files and partitions
// must be what is there now (design.md section 3, tried there).
const char* const files_sql = R"(
WITH RECURSIVE seen AS (
  SELECT r AS root, r AS oid FROM unnest($1::oid[]) r
  UNION SELECT s.root, i.inhrelid FROM seen s JOIN pg_inherits i ON i.inhparent = s.oid
               JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT DISTINCT s.root::bigint
FROM seen s LEFT JOIN pg_class c ON c.oid = s.oid
WHERE c.oid IS NULL
   OR c.relkind <> 'p' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
   OR c.relkind = 'p' AND (SELECT count(*) FROM pg_partition_tree(c.oid) p WHERE p.level = 1)
        <> (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid)
   OR c.relkind = 'p' AND EXISTS (SELECT FROM pg_partition_tree(c.oid) p WHERE p.level = 1
        AND p.relid NOT IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid)))";

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

std::string joined_key(const std::vector<std::optional<std::string_view>>& values) {
  std::string key;
  for (const auto& value : values) {
    key += std::to_string(value ? value->size() : 0) + ':';
    if (value) key += *value;
  }
  return key;
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
    std::string running;
    for (const auto xid : from ? from->xip : std::vector<FullXid>{}) {
      running += (running.empty() ? "" : ",") + std::to_string(xid.value);
    }
    statements.push_back({selected + "(xid >= $1::xid8 OR xid = ANY ($2::xid8[])) AND "
                          "table_id <> ALL ($3::int[])" + grouped + " LIMIT " +
                              std::to_string(keys_per_fetch),
                          pg::params(std::to_string(from ? from->xmax.value : 0),
                                     "{" + running + "}", "{" + id_list(plan_.left_out) + "}"),
                          true});
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

asio::awaitable<void> Batch::close_empty() { co_await primary_.run("COMMIT"); }

// What opens the mirror's transaction goes ahead of the first work, in the same round trip.
void Batch::prepare_opening(const Boundary& to) {
  opening_.push_back({"BEGIN", {}, true});
  opening_.push_back({apply_marks(false), {}, true});
  opening_.push_back(
      {"UPDATE pgjanus.boundary SET batch = $1, snapshot = $2, nonce = $3, system = nullif($4, ''), "
       "timeline = nullif($5, ''), taken_at = clock_timestamp() WHERE epoch = $6 AND batch = $7",
       {std::to_string(to.batch), to.snapshot, to.nonce, to.system, to.timeline,
        std::to_string(plan_.from.epoch.value), std::to_string(plan_.from.batch)},
       true});
}

/// Runs statements in the mirror's transaction. The index in an error counts from `statements`.
asio::awaitable<void> Batch::on_mirror(std::vector<pg::Statement> statements) {
  const auto ahead = opening_.size();
  auto all = std::move(opening_);
  opening_.clear();
  for (auto& statement : statements) all.push_back(std::move(statement));
  std::vector<pg::Rows> results;
  try {
    results = co_await mirror_.batch(std::move(all), step_limit);
  } catch (pg::Error& error) {
    error.statement -= std::min(error.statement, ahead);
    throw;
  }
  if (ahead > 0 && results[ahead - 1].affected() != 1) {
    pg::Error error{"the mirror's boundary is not batch " + std::to_string(plan_.from.batch) +
                    " of epoch " + std::to_string(plan_.from.epoch.value) +
                    ": another loop moved it"};
    error.message = error.what();
    error.sqlstate = "PGJ02";
    throw error;
  }
}

asio::awaitable<void> Batch::apply(Boundary to, bool keep_snapshot) {
  prepare_opening(to);
  keep_snapshot_ = keep_snapshot;
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
  if (!primary_over_) co_await check_files(!keep_snapshot);
  if (!opening_.empty()) {
    std::vector<pg::Statement> nothing;
    co_await on_mirror(std::move(nothing));
  }
  if (!plan_.own.empty()) {
    std::set<int> joined;
    for (const auto& [id, boundary] : plan_.own) joined.insert(id);
    co_await mirror_.run("UPDATE pgjanus.tables SET boundary = NULL, state = 'mirrored', "
                         "error = NULL WHERE id IN (" + id_list(joined) + ")");
  }
}

asio::awaitable<void> Batch::commit() { co_await mirror_.run("COMMIT", step_limit); }

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
      co_await apply_weights(paired, begin, last);
    } else if (paired.delete_first && !complete) {
      skip_table_ = id;
      co_await apply_two_passes(paired);
    } else {
      const auto known = tables_.row_bytes.find(id);
      auto at_once = known == tables_.row_bytes.end()
                         ? first_read_rows
                         : std::max<std::size_t>(1, read_bytes_max / (known->second + 1));
      // All keys of a delete_first table go in one read here: it is at most one fetch of keys.
      if (paired.delete_first) at_once = keys_per_fetch;
      for (int from = begin; from < last;) {
        const int to = std::min(last, from + static_cast<int>(std::min<std::size_t>(
                                                 at_once, keys_per_fetch)));
        jobs.push_back({&paired, from, to, {}});
        from = to;
      }
    }
    keys_applied_ += static_cast<std::uint64_t>(last - begin);
  }
  co_await run_jobs(std::move(jobs), Pass::both);
}

asio::awaitable<void> Batch::run_jobs(std::vector<Job> jobs, Pass pass) {
  const auto keys = keys_.rows;
  for (std::size_t begin = 0; begin < jobs.size();) {
    // Reads of several tables share a round trip while their rows fit.
    std::size_t end = begin, bytes = 0;
    std::vector<pg::Statement> reads;
    for (; end < jobs.size(); ++end) {
      auto& job = jobs[end];
      const auto known = tables_.row_bytes.find(job.table->id);
      const auto row_bytes = known == tables_.row_bytes.end() ? read_bytes_max / first_read_rows
                                                              : known->second;
      bytes += row_bytes * static_cast<std::size_t>(job.last - job.first);
      if (end > begin && bytes > read_bytes_max) break;
      ColumnArrays arrays{job.table->primary.key.size()};
      for (int row = job.first; row < job.last; ++row) {
        auto key = pg::parse_array(keys.text(row, 1));
        for (std::size_t i = 0; i < key.size() && i < job.table->primary.key.size(); ++i) {
          arrays.append(i, key[i] ? std::optional<std::string_view>{*key[i]} : std::nullopt);
        }
        job.keys.push_back(std::move(key));
      }
      reads.push_back({job.table->read, arrays.parameters(), true});
    }
    std::vector<pg::Rows> results(end - begin);
    if (pass != Pass::deletes) {
      // The only read of a batch keeps its locks until the transaction ends, a round trip later.
      const bool alone = !streams_ && pass == Pass::both && begin == 0 && end == jobs.size();
      const std::size_t before = alone ? 0 : 1;
      std::set<int> ids;
      for (std::size_t i = begin; i < end; ++i) ids.insert(jobs[i].table->id);
      if (alone) {
        // The check of files and the end of the transaction share the round trip.
        unchecked_.insert(ids.begin(), ids.end());
        reads.push_back(files_statement(unchecked_));
        reads.push_back({keep_snapshot_ ? "SELECT 1" : "COMMIT", {}, true});
      } else {
        reads.insert(reads.begin(), {"SAVEPOINT pgjanus_read", {}, true});
        reads.push_back(files_statement(ids));
        reads.push_back({"ROLLBACK TO SAVEPOINT pgjanus_read", {}, true});
      }
      table_at_work_ = jobs[begin].table->id;
      std::vector<pg::Rows> answers;
      try {
        answers = co_await primary_.batch(std::move(reads), step_limit);
      } catch (const pg::Error& error) {
        const auto read = error.statement < before ? 0 : error.statement - before;
        table_at_work_ = jobs[begin + std::min(read, end - begin - 1)].table->id;
        throw;
      }
      refuse_rewritten(answers[answers.size() - 2], alone ? unchecked_ : ids);
      if (alone) {
        unchecked_.clear();
        primary_over_ = !keep_snapshot_;
      }
      for (std::size_t i = 0; i < results.size(); ++i) results[i] = answers[i + before];
    }
    std::vector<pg::Statement> statements;
    std::vector<int> owners;
    for (std::size_t i = begin; i < end; ++i) {
      add_key_work(jobs[i], pass == Pass::deletes ? nullptr : &results[i - begin], pass,
                   statements);
      owners.resize(statements.size(), jobs[i].table->id);
      jobs[i].keys.clear();
    }
    if (!statements.empty()) {
      try {
        co_await on_mirror(std::move(statements));
      } catch (const pg::Error& error) {
        table_at_work_ = owners[std::min(error.statement, owners.size() - 1)];
        throw;
      }
    }
    begin = end;
  }
}

void Batch::add_key_work(const Job& job, const pg::Rows* rows, Pass pass,
                         std::vector<pg::Statement>& statements) {
  auto& paired = *job.table;
  const auto width = paired.primary.columns.size();
  std::unordered_set<std::string> present;
  ColumnArrays inserted{width};
  if (rows != nullptr) {
    std::size_t bytes = 0;
    std::vector<std::optional<std::string_view>> key(paired.key_at.size());
    for (int row = 0; row < rows->size(); ++row) {
      for (std::size_t column = 0; column < width; ++column) {
        const int at = static_cast<int>(column);
        if (rows->null(row, at)) {
          inserted.append(column, std::nullopt);
        } else {
          inserted.append(column, rows->text(row, at));
          bytes += rows->text(row, at).size();
        }
      }
      inserted.end_row();
      for (std::size_t i = 0; i < key.size(); ++i) {
        key[i] = rows->text(row, static_cast<int>(paired.key_at[i]));
      }
      present.insert(joined_key(key));
    }
    if (rows->size() > 0) {
      auto& known = tables_.row_bytes[paired.id];
      known = std::max(known / 2, bytes / static_cast<std::size_t>(rows->size()) + 1);
    }
  }
  if (pass != Pass::inserts) {
    // A key whose text is not among the rows is gone, or a row has an equal key spelt otherwise:
    // then it is deleted here and inserted by the next statement.
    ColumnArrays removed{paired.key_at.size()};
    std::vector<std::optional<std::string_view>> key(paired.key_at.size());
    for (const auto& values : job.keys) {
      for (std::size_t i = 0; i < key.size(); ++i) {
        // Not `values[i] ? *values[i] : ""`: that makes a string, and a view of it dangles.
        key[i] = values[i] ? std::string_view{*values[i]} : std::string_view{};
      }
      if (!paired.delete_first && present.contains(joined_key(key))) continue;
      for (std::size_t i = 0; i < key.size(); ++i) removed.append(i, key[i]);
      removed.end_row();
    }
    if (removed.rows() > 0) statements.push_back({paired.remove, removed.parameters(), true});
  }
  if (pass != Pass::deletes && inserted.rows() > 0) {
    statements.push_back({paired.delete_first ? paired.insert : paired.upsert,
                          inserted.parameters(), true});
  }
}

pg::Statement Batch::files_statement(const std::set<int>& ids) {
  std::string oids;
  for (const int id : ids) {
    oids += (oids.empty() ? "{" : ",") + std::to_string(table(id).primary.oid);
  }
  return {files_sql, {oids + "}"}, true};
}

void Batch::refuse_rewritten(const pg::Rows& roots, const std::set<int>& ids) {
  if (roots.empty()) return;
  std::string names;
  for (int row = 0; row < roots.size(); ++row) {
    for (const int id : ids) {
      const auto& paired = table(id);
      if (static_cast<std::int64_t>(paired.primary.oid) != roots.integer(row, 0)) continue;
      rewritten_.insert(id);
      names += (names.empty() ? "" : ", ") + paired.primary.display();
    }
  }
  pg::Error error{names + ": rewritten, truncated, attached or detached while it was read"};
  error.message = error.what();
  error.sqlstate = "PGJ01";
  throw error;
}

asio::awaitable<void> Batch::check_files(bool end_transaction) {
  std::vector<pg::Statement> statements;
  if (!unchecked_.empty()) statements.push_back(files_statement(unchecked_));
  if (end_transaction) statements.push_back({"COMMIT", {}, true});
  if (statements.empty()) co_return;
  auto results = co_await primary_.batch(std::move(statements), step_limit);
  if (!unchecked_.empty()) refuse_rewritten(results[0], unchecked_);
}

}  // namespace pgjanus
