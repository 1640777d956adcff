// The work of tables with a key: which keys share a read, the read, and what it means on the mirror.

#include <unordered_set>

#include "proxy/mirror/batch.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

// Rows of one read are bounded by bytes, by what the table's rows weighed so far.
constexpr std::size_t read_bytes_max = 8U << 20;
constexpr std::size_t first_read_rows = 64;
constexpr pg::Duration step_limit{600'000};

// Some DDL is not MVCC: under our snapshot a table that was rewritten, truncated or detached after
// it reads as empty. With our locks still held, what the snapshot says of files and partitions
// must be what is there now (design.md section 3, tried there). And the names by which was read must be
// those tables' now, whose locks we hold: under another name was read what is another table's. Rows of a partition
// that nobody has described would go to the mirror's default one, and stay there should it be gone when somebody looks.
const char* const files_sql = R"(
WITH RECURSIVE wanted AS (SELECT * FROM unnest($1::oid[], $2::text[], $3::bigint[]) w (oid, name, members)), seen AS (
  SELECT w.oid AS root, w.oid, to_regclass(w.name) IS DISTINCT FROM w.oid AS renamed FROM wanted w
  UNION SELECT s.root, i.inhrelid, false FROM seen s JOIN pg_inherits i ON i.inhparent = s.oid
               JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT s.root::bigint, bool_or(s.renamed OR c.oid IS NULL)
FROM seen s LEFT JOIN pg_class c ON c.oid = s.oid
WHERE s.renamed OR c.oid IS NULL
   OR c.relkind <> 'p' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
   OR c.relkind = 'p' AND (SELECT count(*) FROM pg_partition_tree(c.oid) p WHERE p.level = 1)
        <> (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid)
   OR c.relkind = 'p' AND EXISTS (SELECT FROM pg_partition_tree(c.oid) p WHERE p.level = 1
        AND p.relid NOT IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid))
GROUP BY 1
UNION SELECT w.oid::bigint, true
FROM wanted w JOIN (SELECT s.root, sum(c.oid::bigint) AS members FROM seen s JOIN pg_class c ON c.oid = s.oid AND c.relkind IN ('r', 'p')
                    GROUP BY s.root) now ON now.root = w.oid
WHERE now.members <> w.members)";

// The same where no table has partitions: a third of the cost, in every batch.
const char* const plain_files_sql = R"(
SELECT w.oid::bigint, c.oid IS NULL OR to_regclass(w.name) IS DISTINCT FROM w.oid
FROM unnest($1::oid[], $2::text[]) w (oid, name) LEFT JOIN pg_class c ON c.oid = w.oid
WHERE c.oid IS NULL OR c.relfilenode IS DISTINCT FROM pg_relation_filenode(w.oid)
   OR to_regclass(w.name) IS DISTINCT FROM w.oid)";

std::string joined_key(const std::vector<std::optional<std::string_view>>& values) {
  std::string key;
  for (const auto& value : values) {
    key += std::to_string(value ? value->size() : 0) + ':';
    if (value) key += *value;
  }
  return key;
}

}  // namespace

bool Batch::plain() const {
  if (begun_) return false;
  if (!plan_.own.empty() || !tables_.whole.empty() || keys_.rows.size() >= keys_per_fetch) return false;
  for (int row = 0; row < keys_.rows.size(); ++row) {
    const auto found = tables_.by_id.find(static_cast<int>(keys_.rows.integer(row, 0)));
    if (found == tables_.by_id.end() || keys_.rows.null(row, 1)) return false;
  }
  return true;
}

void Batch::add_jobs(PairedTable& paired, int begin, int end, std::vector<Job>& jobs) const {
  const auto known = tables_.row_bytes.find(paired.id);
  auto at_once = known == tables_.row_bytes.end()
                     ? first_read_rows
                     : std::max<std::size_t>(1, read_bytes_max / (known->second + 1));
  // All keys of a delete_first table go in one read here: it is at most one fetch of keys.
  if (paired.delete_first) at_once = keys_per_fetch;
  for (int from = begin; from < end;) {
    const int to =
        std::min(end, from + static_cast<int>(std::min<std::size_t>(at_once, keys_per_fetch)));
    jobs.push_back({&paired, from, to, {}});
    from = to;
  }
}

// Rows that the journal holds whole are not read; which partitions there are is asked all the same.
void Batch::check_members(const PairedTable& paired) {
  if (!primary_over_ && paired.primary.kind != 'r') unchecked_.insert(paired.id);
}

asio::awaitable<void> Batch::read() {
  if (primary_over_ || !plain()) co_return;
  std::vector<Job> jobs;
  for (int first = 0; first < keys_.rows.size();) {
    auto& paired = table(static_cast<int>(keys_.rows.integer(first, 0)));
    const int last = end_of_table(first);
    if (paired.keyed()) add_jobs(paired, first, last, jobs);
    else check_members(paired);
    first = last;
  }
  std::vector<pg::Statement> reads;
  if (gather_reads(jobs, 0, reads) < jobs.size()) co_return;
  if (jobs.empty()) {
    co_await end_primary();
  } else {
    rows_ = co_await read_rows(jobs, 0, jobs.size(), std::move(reads), true);
  }
  jobs_ = std::move(jobs);
  read_ = true;
}

asio::awaitable<void> Batch::run_jobs(std::vector<Job> jobs, Pass pass) {
  for (std::size_t begin = 0; begin < jobs.size();) {
    std::vector<pg::Statement> reads;
    const auto end = gather_reads(jobs, begin, reads);
    std::vector<pg::Rows> results(end - begin);
    if (pass != Pass::deletes) {
      // The only read of a batch keeps its locks until the transaction ends, a round trip later.
      const bool alone = !streams_ && pass == Pass::both && begin == 0 && end == jobs.size();
      results = co_await read_rows(jobs, begin, end, std::move(reads), alone);
    }
    add_rows_work(jobs, begin, end, results, pass);
    co_await write_behind();
    begin = end;
  }
}

/// Parses the keys of the jobs from `begin` on whose reads share a round trip while their rows
/// fit, and makes the reads. Returns the end of these jobs.
std::size_t Batch::gather_reads(std::vector<Job>& jobs, std::size_t begin,
                                std::vector<pg::Statement>& reads) const {
  std::size_t end = begin, bytes = 0;
  for (; end < jobs.size(); ++end) {
    auto& job = jobs[end];
    const auto known = tables_.row_bytes.find(job.table->id);
    const auto row_bytes =
        known == tables_.row_bytes.end() ? read_bytes_max / first_read_rows : known->second;
    bytes += row_bytes * static_cast<std::size_t>(job.last - job.first);
    if (end > begin && bytes > read_bytes_max) break;
    ColumnArrays arrays{job.table->primary.key.size()};
    for (int row = job.first; row < job.last; ++row) {
      auto key = pg::parse_array(keys_.rows.text(row, 1));
      for (std::size_t i = 0; i < key.size() && i < job.table->primary.key.size(); ++i) {
        arrays.append(i, key[i] ? std::optional<std::string_view>{*key[i]} : std::nullopt);
      }
      job.keys.push_back(std::move(key));
    }
    reads.push_back({job.table->read, arrays.parameters(), true});
  }
  return end;
}

/// The rows of keys_ are sorted by table: where the next one begins.
int Batch::end_of_table(int first) const {
  int last = first + 1;
  while (last < keys_.rows.size() && keys_.rows.text(last, 0) == keys_.rows.text(first, 0)) ++last;
  return last;
}

asio::awaitable<std::vector<pg::Rows>> Batch::read_rows(const std::vector<Job>& jobs,
                                                        std::size_t begin, std::size_t end,
                                                        std::vector<pg::Statement> reads,
                                                        bool alone) {
  const std::size_t before = alone ? 0 : 1;
  std::set<int> ids;
  for (std::size_t i = begin; i < end; ++i) ids.insert(jobs[i].table->id);
  if (alone) {
    // The check of files and the end of the transaction share the round trip.
    unchecked_.insert(ids.begin(), ids.end());
    reads.push_back(files_statement(unchecked_));
    add_ending(reads);
  } else {
    reads.insert(reads.begin(), {"SAVEPOINT pgjanus_read", {}, true});
    reads.push_back(files_statement(ids));
    reads.push_back({"ROLLBACK TO SAVEPOINT pgjanus_read", {}, true});
  }
  table_at_work_ = jobs[begin].table->id;
  const std::size_t files_at = before + end - begin;
  std::vector<pg::Rows> answers;
  try {
    answers = co_await primary_.batch(std::move(reads), step_limit);
  } catch (const pg::Error& error) {
    const auto read = error.statement < before ? 0 : error.statement - before;
    table_at_work_ = error.statement > files_at
                         ? 0
                         : jobs[begin + std::min(read, end - begin - 1)].table->id;
    throw;
  }
  refuse_rewritten(answers[files_at], alone ? unchecked_ : ids);
  if (alone) {
    unchecked_.clear();
    ended(answers.back());
  }
  std::vector<pg::Rows> results(end - begin);
  for (std::size_t i = 0; i < results.size(); ++i) {
    results[i] = answers[i + before];
    require_columns(jobs[begin + i].table->primary, results[i]);
  }
  co_return results;
}

void Batch::add_rows_work(std::vector<Job>& jobs, std::size_t begin, std::size_t end,
                          const std::vector<pg::Rows>& results, Pass pass) {
  for (std::size_t i = begin; i < end; ++i) {
    add_key_work(jobs[i], pass == Pass::deletes ? nullptr : &results[i - begin], pass);
    jobs[i].keys.clear();
  }
}

void Batch::add_key_work(const Job& job, const pg::Rows* rows, Pass pass) {
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
    if (removed.rows() > 0) add_work(paired.id, paired.remove, removed);
  }
  if (pass != Pass::deletes && inserted.rows() > 0) {
    add_work(paired.id, paired.delete_first ? paired.insert : paired.upsert, inserted);
  }
}

pg::Statement Batch::files_statement(const std::set<int>& ids) {
  std::string oids;
  std::vector<std::string> names;
  std::string members;  // By the sum of their oids.
  bool plain = true;
  for (const int id : ids) {
    const auto& paired = table(id);
    std::int64_t sum = 0;
    for (const auto& relation : paired.primary.relations) sum += static_cast<std::int64_t>(relation.oid);
    members += (members.empty() ? "{" : ",") + std::to_string(sum);
    oids += (oids.empty() ? "{" : ",") + std::to_string(paired.primary.oid);
    names.push_back(paired.primary.sql_name());
    plain = plain && paired.primary.kind == 'r';
  }
  const std::vector<std::optional<std::string_view>> read_by{names.begin(), names.end()};
  auto read = pg::array_literal(read_by);
  if (plain) return {plain_files_sql, {oids + "}", std::move(read)}, true};
  return {files_sql, {oids + "}", std::move(read), members + "}"}, true};
}

std::string Batch::note_rewritten(const pg::Rows& roots, const std::set<int>& ids) {
  std::map<std::int64_t, int> of;
  for (const int id : ids) of.emplace(static_cast<std::int64_t>(table(id).primary.oid), id);
  std::string names;
  for (int row = 0; row < roots.size(); ++row) {
    const auto found = of.find(roots.integer(row, 0));
    if (found == of.end()) continue;
    const bool told = !rewritten_.insert(found->second).second;  // Two reasons, two rows.
    if (!told) names += (names.empty() ? "" : ", ") + table(found->second).primary.display();
  }
  return names;
}

void Batch::refuse_rewritten(const pg::Rows& roots, const std::set<int>& ids) {
  if (roots.empty()) return;
  bool renamed = false;
  for (int row = 0; row < roots.size(); ++row) renamed = renamed || roots.boolean(row, 1);
  pg::Error error{note_rewritten(roots, ids) + ": rewritten, truncated, renamed, attached or detached while it was read"};
  error.message = error.what();
  error.sqlstate = renamed ? "42P01" : "PGJ01";  // Which tables there are has to be read again.
  throw error;
}

/// After a table was found rewritten: the others that were, too, or the next batches would meet them one by one.
asio::awaitable<void> Batch::find_rewritten() {
  if (rewritten_.empty() || !primary_.usable() || !primary_.in_transaction()) co_return;
  std::set<int> ids;
  for (const auto& [id, pair] : tables_.by_id) {
    if (!plan_.left_out.contains(id)) ids.insert(id);
  }
  try {
    std::vector<pg::Statement> asked{files_statement(ids)};
    const auto answers = co_await primary_.batch(std::move(asked), step_limit);
    note_rewritten(answers[0], ids);
  } catch (const pg::Error&) {
    // The first failure is the one that counts.
  }
}

// Rows are read by names, which the server looks up as they are now, whatever the snapshot shows: of columns that have exchanged theirs
// since the table was described the values are each other's. The rows' own description tells (manual: RowDescription).
void Batch::require_columns(const TableInfo& table, const pg::Rows& rows) {
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto& column = table.columns[i];
    if (column.number == 0 || rows.number(static_cast<int>(i)) == column.number) continue;
    pg::Error error{"column " + column.name + " of " + table.display() + " is another one by now"};
    error.message = error.what();
    error.sqlstate = "42703";  // As where the name is gone.
    throw error;
  }
}

asio::awaitable<void> Batch::end_primary() {
  std::vector<pg::Statement> statements;
  if (!unchecked_.empty()) statements.push_back(files_statement(unchecked_));
  add_ending(statements);
  auto results = co_await primary_.batch(std::move(statements), step_limit);
  if (!unchecked_.empty()) refuse_rewritten(results[0], unchecked_);
  ended(results.back());
}

}  // namespace pgjanus
