// Which tables are to be loaded, and where an earlier run left them.

#include <algorithm>

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

std::int64_t pages_of(const TableInfo& table) {
  std::int64_t pages = 0;
  for (const auto& relation : table.relations) pages += relation.pages;
  return pages;
}

}  // namespace

namespace load {

std::int64_t TableLoad::pages() const { return pages_of(info); }

std::string column_list(const TableInfo& table) {
  std::string list;
  for (const auto& column : table.columns) {
    if (!list.empty()) list += ", ";
    list += pg::quote_name(column.name);
  }
  return list;
}

asio::awaitable<Files> files_of(pg::Connection& primary, std::uint32_t root) {
  // pg_inherits and pg_class are read under the transaction's snapshot, pg_relation_filenode() and
  // to_regclass() answer from the catalog as it is now.
  const auto rows = co_await primary.run(
      "WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION ALL "
      "SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid "
      "JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition) "
      "SELECT coalesce(string_agg(c.oid::text || ':' || c.relfilenode::text || ':' || md5(n.name), ',' "
      "ORDER BY c.oid), ''), "
      "coalesce(bool_and(pg_relation_filenode(c.oid) IS NOT DISTINCT FROM c.relfilenode "
      "AND to_regclass(n.name) IS NOT DISTINCT FROM c.oid), false) "
      "FROM tree t JOIN pg_class c ON c.oid = t.oid, LATERAL (SELECT format('%I.%I', s.nspname, c.relname) "
      "FROM pg_namespace s WHERE s.oid = c.relnamespace) n (name) WHERE c.relkind = 'r'",
      pg::params(std::to_string(root)));
  Files files;
  files.text = rows.str(0, 0);
  files.current = rows.boolean(0, 1) || files.text.empty();  // A root without partitions: no file.
  co_return files;
}

asio::awaitable<void> make_durable(pg::Connection& primary) {
  // A transaction that wrote WAL (a message is the least) flushes all WAL before its own commit;
  // that of everybody whom an earlier snapshot saw is before it (xact.c, RecordTransactionCommit).
  co_await primary.run(
      "BEGIN; SET LOCAL synchronous_commit = on; "
      "SELECT pg_logical_emit_message(true, 'pgjanus', 'load'); COMMIT");
}

}  // namespace load

// Fills `tables` with what is to be done, each at the stage where an earlier run left it.
asio::awaitable<void> Loader::Impl::choose(Pair& pair, std::vector<int> ids) {
  tables.clear();
  jobs.clear();
  primary_version = pair.primary->server_version();
  replica_role = co_await may_set_replica_role(*pair.mirror);
  const auto shape = co_await pair.mirror->run("SELECT to_regclass('pgjanus.shape') IS NOT NULL");
  shape_kept = shape.boolean(0, 0);
  co_await read_names(pair);
  if (!described) co_await describe_both(pair);
  auto [infos, twins] = *std::exchange(described, std::nullopt);
  co_await refuse_mistaken(*pair.primary, infos);
  std::map<int, TableInfo> on_mirror;
  for (auto& twin : twins) on_mirror.emplace(twin.id, std::move(twin));
  for (const auto& info : infos) {
    if (primary_side == Side::source || !differences.partitioned.contains(info.by_source())) continue;
    for (const auto& relation : info.relations)
      if (relation.oid != info.oid) own_partitions.insert(relation.oid);
  }
  std::stable_sort(infos.begin(), infos.end(), [](const TableInfo& a, const TableInfo& b) {
    return pages_of(a) > pages_of(b);
  });
  const auto stored = co_await pair.mirror->run(
      "SELECT id, state, coalesce(boundary, ''), coalesce(file, '') FROM pgjanus.tables");
  std::map<int, int> row_of;
  for (int row = 0; row < stored.size(); ++row) {
    row_of[static_cast<int>(stored.integer(row, 0))] = row;
  }
  for (auto& info : infos) {
    const bool named = std::find(ids.begin(), ids.end(), info.id) != ids.end();
    const auto found = row_of.find(info.id);
    if (found == row_of.end() || (!ids.empty() && !named)) continue;
    const auto was = table_state_from(stored.text(found->second, 1)).value_or(TableState::fresh);
    const bool fine = was == TableState::mirrored || was == TableState::held_up;
    if (was == TableState::excluded || (fine && !named)) continue;
    auto& table = tables.emplace_back();
    table.progress.id = info.id;
    table.progress.name = info.display();
    table.info = std::move(info);
    if (const auto twin = on_mirror.find(table.info.id); twin != on_mirror.end()) table.there = twin->second;
    table.boundary = stored.str(found->second, 2);
    table.file = stored.str(found->second, 3);
    if (fine || was == TableState::capture_lost) {
      table.reload = true;
      table.boundary.clear();
    }
    if (table.info.oid == 0) {
      table.sqlstate = table_left_behind;  // Replaying sees to the list: dropped, or renamed while its name is a partition's.
      fail_table(table, "the table does not exist on the primary any more");
    } else if (table.there.oid == 0) {
      table.sqlstate = table_left_behind;  // Replaying brings it, if it came after the schema was copied.
      fail_table(table, "the table does not exist on the mirror");
    } else if (!table.boundary.empty()) {
      table.stage = was == TableState::indexing ? Stage::build : Stage::copy;
      co_await read_chunks(pair, table);
    }
  }
}

// Parts that an earlier run planned. None: it was not planned, or emptied to be planned anew.
asio::awaitable<void> Loader::Impl::read_chunks(Pair& pair, TableLoad& table) {
  const auto rows = co_await pair.mirror->run(
      "SELECT part, relation, first_page, end_page, done, rows, bytes FROM pgjanus.chunks "
      "WHERE table_id = $1::int ORDER BY part",
      pg::params(std::to_string(table.info.id)));
  table.chunks.clear();
  table.progress.rows_done = table.progress.bytes_done = 0;
  std::int64_t total = 0;
  for (int row = 0; row < rows.size(); ++row) {
    Chunk chunk;
    chunk.part = static_cast<int>(rows.integer(row, 0));
    chunk.relation = rows.str(row, 1);
    chunk.first_page = rows.integer(row, 2);
    if (!rows.null(row, 3)) chunk.end_page = rows.integer(row, 3);
    chunk.done = rows.boolean(row, 4);
    chunk.rows = rows.integer(row, 5);
    chunk.bytes = rows.integer(row, 6);
    total += chunk.bytes;
    if (chunk.done) {
      table.progress.rows_done += chunk.rows;
      table.progress.bytes_done += chunk.bytes;
    }
    table.chunks.push_back(std::move(chunk));
  }
  if (!table.chunks.empty()) table.progress.bytes_total = total;
  // An error in the last stage of an earlier run hides it: the chunks tell. Whole tables go to
  // their indexes in the transaction of their only chunk.
  if (table.stage == Stage::copy && table.chunks.empty()) table.stage = Stage::plan;
  table.progress.state = table.stage == Stage::build ? TableState::indexing : TableState::loading;
}

// Where the databases say that a table stands: of a step whose outcome is not known, or that
// failed half way.
asio::awaitable<void> Loader::Impl::read_again(Pair& pair, TableLoad& table) {
  const auto rows = co_await pair.mirror->run(
      "SELECT state, coalesce(boundary, ''), coalesce(file, '') FROM pgjanus.tables "
      "WHERE id = $1::int",
      pg::params(std::to_string(table.info.id)));
  if (rows.empty()) throw std::runtime_error{"the table is not listed on the mirror any more"};
  table.boundary = rows.str(0, 1);
  table.file = rows.str(0, 2);
  table.sorted = false;
  table.stage = rows.text(0, 0) == "indexing" ? Stage::build : Stage::copy;
  co_await read_chunks(pair, table);
}

// Tables without a boundary of their own begin anew: first what an earlier load left is forgotten,
// then they get the common boundary. The other order would, after a crash in between, take old
// chunks for ones that are newer than the new boundary.
asio::awaitable<void> Loader::Impl::begin_anew(Pair& pair) {
  std::vector<int> ids;
  std::vector<TableInfo> infos;
  for (const auto& table : tables) {
    if (table.stage != Stage::failed && !table.reload) infos.push_back(table.info);
  }
  if (guide.strict) {
    // Under the name that is listed it may be another table than the mirror has, and nobody noted its rows: dropped and made
    // anew on the mirror at the load's end, it would lose what was copied.
    const auto missing = co_await capture::capture_steps(*pair.primary, infos);
    if (!missing.empty()) throw behind(missing.front().relation + " is not captured");
  }
  infos.clear();
  std::string untouched = "{";
  for (auto& table : tables) {
    if (table.stage == Stage::failed || !table.boundary.empty()) continue;
    ids.push_back(table.info.id);
    infos.push_back(table.info);
    if (table.reload || !table.file.empty()) {
      co_await forget(pair, table);
    } else {  // Nothing was copied into it yet.
      untouched += (untouched.size() > 1 ? "," : "") + std::to_string(table.info.id);
      table.stage = Stage::plan;
    }
    if (table.reload) co_await pair.primary->run(capture::functions_sql(table.info));
  }
  if (untouched.size() > 1) {
    co_await pair.mirror->run(
        "UPDATE pgjanus.tables SET state = 'loading', rows = NULL WHERE id = ANY ($1::int[])",
        pg::params(untouched + "}"));
  }
  // Every chunk's snapshot is later than this: capture has to stand before them. It does already,
  // unless it was lost, or prepare was killed between two relations.
  auto steps = co_await capture::capture_steps(*pair.primary, infos);
  co_await capture::run_steps(*pair.primary, std::move(steps), pg::Duration{5 * 60'000},
                              [this](const std::string& relation, const std::string& holder) {
                                state.waiting = "a lock on " + relation + ", held by " + holder;
                              });
  if (!ids.empty()) co_await control.detach(ids, TableState::loading, pg::Duration{10 * 60'000});
  // As stored: detach() says which, and errors of an earlier run are over.
  const auto stored = co_await pair.mirror->run("SELECT id, boundary FROM pgjanus.tables");
  std::map<std::int64_t, std::string> boundaries;
  for (int row = 0; row < stored.size(); ++row) {
    boundaries[stored.integer(row, 0)] = stored.str(row, 1);
  }
  std::vector<std::string> loading, indexing;
  for (auto& table : tables) {
    if (table.stage == Stage::failed) continue;
    table.boundary = boundaries[table.info.id];
    auto& list = table.progress.state == TableState::indexing ? indexing : loading;
    list.push_back(std::to_string(table.info.id));
    if (table.boundary.empty()) {
      fail_table(table, "the mirror gave the table no boundary of its own");
    }
  }
  for (const auto* list : {&loading, &indexing}) {
    const std::vector<std::optional<std::string_view>> values{list->begin(), list->end()};
    const std::string now{list == &loading ? "loading" : "indexing"};
    co_await pair.mirror->run(
        "UPDATE pgjanus.tables SET state = $2, error = NULL WHERE id = ANY ($1::int[]) "
        "AND (state <> $2 OR error IS NOT NULL)",
        pg::params(pg::array_literal(values), now));
  }
}

// What chunks there are does not count any more, nor does the boundary that they are newer than.
// Rows of a load go with them; a table that was mirrored keeps its rows until the transaction that
// copies it whole, but is not mirrored from here on.
asio::awaitable<void> Loader::Impl::forget(Pair& pair, TableLoad& table) {
  table.chunks.clear();
  table.stage = Stage::plan;
  table.progress.state = TableState::loading;
  table.progress.rows_done = table.progress.bytes_done = 0;
  table.progress.bytes_total.reset();
  const auto id = std::to_string(table.info.id);
  co_await pair.mirror->run("BEGIN; " + apply_marks(replica_role));
  const auto planned = co_await pair.mirror->run(
      "SELECT file IS NOT NULL FROM pgjanus.tables WHERE id = $1::int FOR UPDATE", pg::params(id));
  if (!planned.empty() && planned.boolean(0, 0) && !table.reload) {
    co_await empty_table(*pair.mirror, table.there);
    co_await require_name(*pair.mirror, table.there);
  }
  co_await pair.mirror->run("DELETE FROM pgjanus.chunks WHERE table_id = $1::int", pg::params(id));
  // A reload keeps a boundary that it has: the loop may still be applying to the table.
  std::string sql =
      table.reload ? "UPDATE pgjanus.tables SET state = 'loading', rows = NULL, file = $2 "
                     "WHERE id = $1::int"
                   : "UPDATE pgjanus.tables SET state = 'loading', rows = NULL, boundary = NULL, "
                     "file = nullif($2, $2) WHERE id = $1::int";
  co_await pair.mirror->run(std::move(sql), pg::params(id, std::string{whole_file}));
  co_await pair.mirror->run("COMMIT");
}

// `attached`: the mirror loop may have the table in its batches already, and must let go of it.
asio::awaitable<void> Loader::Impl::store_error(Pair& pair, TableLoad& table, std::string why,
                                                bool attached) {
  // The worker's failure is known already; what fails here is only its note.
  try {
    co_await connect(pair);
    co_await pair.mirror->run(
        "UPDATE pgjanus.tables SET state = 'error', error = $2 WHERE id = $1::int",
        pg::params(std::to_string(table.info.id), why));
    std::vector<int> ids(1, table.info.id);
    if (attached) {
      co_await control.detach(std::move(ids), TableState::error, pg::Duration{60'000});
    }
  } catch (const std::exception& error) {
    log_event(LogLevel::warn, "load_error_not_stored",
              {{"table", table.progress.name}, {"error", error.what()}});
    pair.close();
  }
}

}  // namespace pgjanus
