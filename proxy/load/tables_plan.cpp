// A table's plan: its chunks, stored on the mirror before any of them is copied.

#include <algorithm>

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

/// Pages and bytes of each relation that holds rows. pg_relation_size() waits for ACCESS EXCLUSIVE
/// locks, hence inside a transaction with a lock limit.
asio::awaitable<std::vector<Extent>> extents_of(pg::Connection& primary, const TableInfo& table) {
  std::vector<Extent> extents;
  for (const auto& relation : table.relations) {
    if (relation.kind != 'r') continue;
    const auto rows = co_await primary.run(
        "SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint, pg_table_size(c.oid), "
        "format('%I.%I', n.nspname, c.relname) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        pg::params(std::to_string(relation.oid)));
    if (rows.empty() || rows.null(0, 0)) throw FileChanged{};  // Dropped or detached: look again.
    // The name of this snapshot, as in files_of(): what a chunk is read by.
    extents.push_back({rows.str(0, 2), rows.integer(0, 0), rows.integer(0, 1)});
  }
  co_return extents;
}

pg::Statement insert_chunk(const std::string& table_id, const Chunk& chunk) {
  const auto end = chunk.end_page ? std::optional{std::to_string(*chunk.end_page)} : std::nullopt;
  return {
      "INSERT INTO pgjanus.chunks (table_id, part, relation, first_page, end_page, bytes) "
      "VALUES ($1::int, $2::int, $3, $4::bigint, $5::bigint, $6::bigint)",
      {table_id, std::to_string(chunk.part), chunk.relation, std::to_string(chunk.first_page), end,
       std::to_string(chunk.bytes)},
      true};
}

asio::awaitable<std::string> own_boundary(pg::Connection& mirror, int id) {
  const auto rows = co_await mirror.run("SELECT boundary FROM pgjanus.tables WHERE id = $1::int",
                                        pg::params(std::to_string(id)));
  co_return rows.empty() ? std::string{} : rows.str(0, 0);
}

}  // namespace

asio::awaitable<void> Loader::Impl::plan(Pair& pair, TableLoad& table) {
  if (table.restart) {
    log_event(LogLevel::warn, "load_table_restarted",
              {{"table", table.progress.name}, {"restarts", table.restarts + 1}});
    co_await forget(pair, table);
    ++table.restarts;
    // A newer boundary than before, so that a TRUNCATE that made us begin again is not new any
    // more.
    co_await control.catch_up(pg::Duration{60'000});
    std::vector<int> ids(1, table.info.id);
    co_await control.detach(std::move(ids), TableState::loading, pg::Duration{60'000});
    table.boundary = co_await own_boundary(*pair.mirror, table.info.id);
    auto infos = co_await stored_tables(*pair.primary);
    co_await refuse_mistaken(*pair.primary, infos);
    // Gone on a side by now, or from its list, which replaying beside us follows: looking again finds nothing else.
    const auto info = std::find_if(infos.begin(), infos.end(), [&](const TableInfo& one) {
      return one.id == table.info.id && one.oid != 0;
    });
    if (info == infos.end()) throw behind(table.progress.name + " is not on the primary any more");
    table.info = std::move(*info);
    std::vector<int> own(1, table.info.id);
    auto twins = co_await stored_tables(*pair.mirror, std::move(own));
    if (twins.empty() || twins.front().oid == 0) throw behind(table.progress.name + " is not on the mirror");
    table.there = std::move(twins.front());
    table.restart = false;
  }
  co_await pair.primary->run(std::string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "} +
                             lock_limit);
  const auto extents = co_await extents_of(*pair.primary, table.info);
  const auto files = co_await files_of(*pair.primary, table.info.oid);
  co_await pair.primary->run("COMMIT");
  if (!files.current) throw FileChanged{};

  auto& mirror = *pair.mirror;
  const auto id = std::to_string(table.info.id);
  const auto name = table.there.sql_name();
  co_await mirror.run("BEGIN; " + apply_marks(replica_role));
  const auto planned = co_await mirror.run(
      "SELECT EXISTS (SELECT FROM pgjanus.chunks c WHERE c.table_id = t.id) "
      "FROM pgjanus.tables t WHERE t.id = $1::int FOR UPDATE",
      pg::params(id));
  if (!planned.empty() && planned.boolean(0, 0)) {  // A commit that was in doubt had happened.
    co_await mirror.run("ROLLBACK");
    co_await read_again(pair, table);
    co_return;
  }
  const auto looked = co_await mirror.run(
      "SELECT (SELECT NOT EXISTS (SELECT FROM " + table.there.sql_rows() +
      ")), EXISTS ("
      "WITH RECURSIVE tree AS (SELECT " +
      pg::quote_literal(name) +
      "::regclass::oid AS oid UNION ALL "
      "SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid) "
      "SELECT FROM tree t JOIN pg_index i ON i.indrelid = t.oid "
      "WHERE i.indisunique OR i.indisexclusion), "
      "(SELECT file IS NOT NULL FROM pgjanus.tables WHERE id = " +
      id + ")");
  const bool empty = looked.boolean(0, 0), indexed = looked.boolean(0, 1);
  const bool ours = looked.boolean(0, 2);
  co_await require_name(mirror, table.there);
  table.indexed = indexed;
  // Chunks may hold a row twice, which a unique index refuses; a whole row has no key to be
  // removed by; an unlogged table is empty after a crash without its file telling.
  const bool whole = !empty || indexed || !table.info.keyed() || table.info.unlogged ||
                     table.restarts >= restarts_max;
  if (!empty && !ours) {
    pg::Error error{"the table holds rows on the mirror that pgjanus did not put there"};
    error.message = error.what();
    error.sqlstate = "55000";
    throw error;
  }
  table.file = whole ? std::string{whole_file} : files.text;
  const auto limits = pace.limits();
  PlanLimits cut{limits.workers, primary_version >= 140000, 0};
  if (limits.bytes_per_second > 0) {
    const auto each = limits.bytes_per_second / limits.workers * chunk_seconds;
    cut.chunk_bytes = static_cast<std::int64_t>(std::max<std::uint64_t>(each, 1U << 20));
  }
  table.chunks = plan_chunks(extents, cut);
  if (whole) {
    Chunk all;
    all.relation = table.info.sql_rows();
    for (const auto& chunk : table.chunks) all.bytes += chunk.bytes;
    table.chunks.assign(1, std::move(all));
  }
  std::int64_t total = 0;
  std::vector<pg::Statement> statements;
  for (const auto& chunk : table.chunks) {
    total += chunk.bytes;
    statements.push_back(insert_chunk(id, chunk));
  }
  pg::Statement update;
  update.sql = "UPDATE pgjanus.tables SET file = $2, state = 'loading' WHERE id = $1::int";
  update.parameters = pg::params(id, table.file);
  statements.push_back(std::move(update));
  co_await mirror.batch(std::move(statements), pg::Duration{120'000});
  co_await mirror.run("COMMIT");
  table.progress.bytes_total = total;
  table.stage = Stage::copy;
  log_event(LogLevel::info, "load_table_planned",
            {{"table", table.progress.name},
             {"chunks", table.chunks.size()},
             {"bytes", total},
             {"whole", whole ? "yes" : "no"}});
}

}  // namespace pgjanus
