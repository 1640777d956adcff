// Small tables, many at once: the same steps as for one, each a transaction for all of them. Whatever
// fails here, the tables go on one by one from where the databases say they stand.

#include <algorithm>

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

// Of plain tables only: sizes; how many files and names are those by which was read.
constexpr const char* sizes_sql =
    "SELECT w.n, coalesce(pg_table_size(c.oid), 0) FROM unnest($1::oid[]) WITH ORDINALITY w (oid, n) JOIN pg_class c ON c.oid = w.oid ORDER BY w.n";

constexpr const char* files_sql =
    "SELECT count(*) FROM unnest($1::oid[], $2::text[]) w (oid, name) JOIN pg_class c ON c.oid = w.oid "
    "WHERE pg_relation_filenode(c.oid) IS NOT DISTINCT FROM c.relfilenode "
    "AND to_regclass(w.name) IS NOT DISTINCT FROM w.oid";

constexpr const char* claim_sql =
    "SELECT t.id FROM unnest($1::int[], $2::text[]) w (id, boundary) "
    "JOIN pgjanus.tables t ON t.id = w.id AND t.boundary = w.boundary, pgjanus.state s "
    "WHERE s.role = 'mirror' AND t.state = 'loading' "
    "AND NOT EXISTS (SELECT FROM pgjanus.chunks c WHERE c.table_id = t.id) FOR UPDATE OF t";

constexpr const char* copied_sql =
    "WITH w AS (SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[]) "
    "w (id, relation, bytes, rows)), chunk AS ("
    "INSERT INTO pgjanus.chunks (table_id, part, relation, first_page, done, rows, bytes) "
    "SELECT id, 0, relation, 0, true, rows, bytes FROM w) "
    "UPDATE pgjanus.tables t SET file = $5, boundary = $6, state = 'indexing', rows = w.rows "
    "FROM w WHERE t.id = w.id";

template <class Value>
std::string list_of(const std::vector<TableLoad*>& pack, Value value) {
  std::vector<std::string> texts;
  for (const auto* table : pack) texts.push_back(value(*table));
  const std::vector<std::optional<std::string_view>> views{texts.begin(), texts.end()};
  return pg::array_literal(views);
}

std::vector<TableLoad*> at_stage(const std::vector<TableLoad*>& pack, Stage stage) {
  std::vector<TableLoad*> some;
  for (auto* table : pack) {
    if (table->stage == stage && !table->restart) some.push_back(table);
  }
  return some;
}

}  // namespace

asio::awaitable<void> Loader::Impl::load_pack(Pair& pair, std::vector<TableLoad*> pack) {
  const auto to_copy = at_stage(pack, Stage::plan).size();
  co_await copy_pack(pair, at_stage(pack, Stage::plan));
  if (at_stage(pack, Stage::plan).size() < to_copy && build_later(pack)) co_return;
  co_await build_pack(pair, at_stage(pack, Stage::build));
  co_await finish_pack(pair, at_stage(pack, Stage::finish));
}

// While pg_dump still works on what there is to build, the rows of other packs come first.
bool Loader::Impl::build_later(const std::vector<TableLoad*>& pack) {
  const auto last = std::find_if(jobs.rbegin(), jobs.rend(),
                                 [](const Job& job) { return job.kind == JobKind::pack; });
  const bool others = std::any_of(jobs.begin(), jobs.end(), [](const Job& job) {
    return job.kind == JobKind::pack && !at_stage(job.pack, Stage::plan).empty();
  });
  if (have_entries || !others) return false;
  Job later{JobKind::pack};
  later.pack = pack;
  for (auto* table : pack) ++table->running;
  jobs.insert(last.base(), std::move(later));
  return true;
}

// Opens both transactions; `labels`: as begin_copy() says. Tables that turned out to be big, and such as hold rows, are not in the
// result: they go their own way.
asio::awaitable<std::vector<TableLoad*>> Loader::Impl::claim_pack(Pair& pair,
                                                                  std::vector<TableLoad*> pack, std::string& labels) {
  const auto ids = list_of(pack, [](const TableLoad& t) { return std::to_string(t.info.id); });
  const auto boundaries = list_of(pack, [](const TableLoad& t) { return t.boundary; });
  const auto oids = list_of(pack, [](const TableLoad& t) { return std::to_string(t.info.oid); });
  co_await pair.mirror->run("BEGIN; " + apply_marks(replica_role) +
                            "; SET LOCAL lock_timeout = '20s'");
  const auto claimed = co_await pair.mirror->run(claim_sql, pg::params(ids, boundaries));
  std::set<int> ours;
  for (int row = 0; row < claimed.size(); ++row) {
    ours.insert(static_cast<int>(claimed.integer(row, 0)));
  }
  std::string filled = "SELECT ARRAY[";
  for (std::size_t i = 0; i < pack.size(); ++i) {
    filled += (i > 0 ? ", " : "") + ("EXISTS (SELECT FROM " + pack[i]->there.sql_rows() + ")");
  }
  const auto filled_rows = co_await pair.mirror->run(filled + "]");
  const auto holds_rows = pg::parse_array(filled_rows.text(0, 0));

  labels = co_await begin_copy(*pair.primary);
  const auto sizes = co_await pair.primary->run(sizes_sql, pg::params(oids));
  std::vector<TableLoad*> chosen;
  for (int row = 0; row < sizes.size(); ++row) {
    const auto n = static_cast<std::size_t>(sizes.integer(row, 0) - 1);
    auto* table = pack[n];
    const auto bytes = sizes.integer(row, 1);
    if (!ours.contains(table->info.id) || holds_rows[n] != "f" || bytes > pack_table_bytes_max) {
      continue;
    }
    Chunk chunk;
    chunk.relation = table->info.sql_rows();
    chunk.bytes = bytes;
    table->chunks.assign(1, std::move(chunk));
    chosen.push_back(table);
  }
  co_return chosen;
}

asio::awaitable<void> Loader::Impl::copy_pack(Pair& pair, std::vector<TableLoad*> pack) {
  if (pack.empty()) co_return;
  std::string labels;
  const auto chosen = co_await claim_pack(pair, pack, labels);
  const auto formats = co_await formats_of(pair, chosen);
  const auto current = co_await pair.primary->run("SELECT pg_current_snapshot()::text");
  const auto snapshot = current.str(0, 0);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    auto& table = *chosen[i];
    table.file = whole_file;
    const auto chunk = table.chunks.front();
    const auto rows = co_await copy_rows(pair, table, chunk, formats[i]);
    table.chunks.front().rows = static_cast<std::int64_t>(rows);
  }
  // With the locks of all COPYs held, as in copy_chunk().
  const auto oids = list_of(chosen, [](const TableLoad& t) { return std::to_string(t.info.oid); });
  const auto names = list_of(chosen, [](const TableLoad& t) { return t.info.sql_name(); });
  const auto same = co_await pair.primary->run(files_sql, pg::params(oids, names));
  if (same.integer(0, 0) != static_cast<std::int64_t>(chosen.size())) throw FileChanged{};
  std::vector<const TableInfo*> written;
  for (const auto* table : chosen) written.push_back(&table->there);
  co_await require_names(*pair.mirror, std::move(written));
  std::vector<const TableInfo*> read;
  for (const auto* table : chosen) read.push_back(&table->info);
  co_await end_copy(pair, read, std::move(labels));
  co_await make_durable(*pair.primary);
  auto values = pg::params(
      list_of(chosen, [](const TableLoad& t) { return std::to_string(t.info.id); }),
      list_of(chosen, [](const TableLoad& t) { return t.chunks.front().relation; }),
      list_of(chosen, [](const TableLoad& t) { return std::to_string(t.chunks.front().bytes); }),
      list_of(chosen, [](const TableLoad& t) { return std::to_string(t.chunks.front().rows); }),
      std::string{whole_file}, snapshot);
  co_await pair.mirror->run(copied_sql, std::move(values));
  co_await pair.mirror->run("COMMIT", work_limit);
  for (auto* table : chosen) {
    auto& chunk = table->chunks.front();
    chunk.done = true;
    table->boundary = snapshot;
    table->progress.rows_done = chunk.rows;
    table->progress.bytes_done = chunk.bytes;
    table->progress.bytes_total = chunk.bytes;
    table->progress.state = TableState::indexing;
    table->stage = Stage::build;
  }
}

// All indexes of all tables in one transaction. Triggers and rules take looks of their own: tables
// that have some go on one by one.
asio::awaitable<void> Loader::Impl::build_pack(Pair& pair, std::vector<TableLoad*> pack) {
  if (pack.empty()) co_return;
  co_await need_entries(pair);
  std::string sql =
      "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL check_function_bodies = off; "
      "SET LOCAL lock_timeout = '10min';\n";
  std::vector<std::string> notes;
  const auto add_entry = [&](std::size_t index) {
    sql += entries[index].sql + "\n;\n";
    notes.push_back(entries[index].step());
  };
  for (auto* table : pack) {
    if (!table->sorted) sort_entries(*table);
    for (const auto index : table->indexes) add_entry(index);
    const bool triggers = std::any_of(table->rest.begin(), table->rest.end(), [&](std::size_t i) {
      return entries[i].type == "TRIGGER" || entries[i].type == "RULE";
    });
    if (triggers) continue;
    for (const auto index : table->rest) add_entry(index);
  }
  if (!notes.empty()) {
    sql += "INSERT INTO pgjanus.steps (step) VALUES ";
    for (std::size_t i = 0; i < notes.size(); ++i) {
      sql += (i > 0 ? ", (" : "(") + pg::quote_literal(notes[i]) + ")";
    }
    sql += " ON CONFLICT DO NOTHING";
    state.step = "indexes of " + std::to_string(pack.size()) + " small tables";
    co_await pair.mirror->run(std::move(sql), work_limit);
    std::vector<const TableInfo*> built;
    std::set<std::uint32_t> relations;
    for (const auto* table : pack) {
      built.push_back(&table->there);
      relations.insert(table->info.oid);
    }
    co_await require_names(*pair.mirror, std::move(built));
    co_await require_entry_columns(*pair.mirror, std::move(relations));
    co_await pair.mirror->run("COMMIT");
  }
  steps_done.insert(notes.begin(), notes.end());
  for (auto* table : pack) {
    table->indexes.clear();
    std::erase_if(table->rest, [&](std::size_t i) { return steps_done.contains(entries[i].step()); });
    if (table->rest.empty()) table->stage = Stage::finish;
  }
}

asio::awaitable<void> Loader::Impl::finish_pack(Pair& pair, std::vector<TableLoad*> pack) {
  if (pack.empty()) co_return;
  auto& mirror = *pair.mirror;
  std::string names;
  std::vector<int> ids;
  for (const auto* table : pack) {
    ids.push_back(table->info.id);
    names += (names.empty() ? "" : ", ") + table->there.sql_name();
  }
  state.step = "handing over " + std::to_string(pack.size()) + " small tables";
  co_await mirror.run("BEGIN; SET LOCAL synchronous_commit = on");
  const auto infos = co_await hold_listed(mirror, std::move(ids));
  co_await capture::create_functions(mirror, infos);
  const auto steps = co_await capture::capture_steps(mirror, infos);
  std::string sql;
  for (const auto& step : steps) sql += step.sql + ";\n";
  if (!sql.empty()) co_await mirror.run(std::move(sql), work_limit);
  co_await mirror.run("ANALYZE " + names, work_limit);
  co_await mirror.run("COMMIT", work_limit);
  for (auto* table : pack) ready_to_attach(*table);
}

}  // namespace pgjanus
