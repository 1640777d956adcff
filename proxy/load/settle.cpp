// After the last chunk: keys that changed since the table's boundary leave the mirror's table, so
// that what stays is there exactly once (README.md).

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

using namespace load;

namespace load {

std::string new_since(int table_id, const std::string& boundary) {
  return "table_id = " + std::to_string(table_id) + " AND " + pgjanus::new_since(boundary);
}

}  // namespace load

namespace {

std::string key_columns(const TableInfo& table) {
  std::string columns;
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    if (i > 0) columns += ", ";
    columns += "(key[" + std::to_string(i + 1) + "])::" + table.key[i].plain_type +
               table.key[i].collate + " AS c" + std::to_string(i);
  }
  return columns;
}

/// Rows whose key changed, as a hash join: the table has no index yet.
std::string remove_sql(const TableInfo& table, const TableInfo& there) {
  std::string matches;
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    if (i > 0) matches += " AND ";
    matches += "t." + pg::quote_name(table.key[i].name) + " " + table.key[i].equals + " k.c" +
               std::to_string(i);
  }
  return "DELETE FROM " + there.sql_rows() + " AS t USING (SELECT DISTINCT " + key_columns(table) +
         " FROM pg_temp.pgjanus_changed) k WHERE " + matches;
}

/// "1:10,2:20" without what follows the colons.
std::string relations_in(std::string_view files) {
  std::string relations;
  bool in_file = false;
  for (const char c : files) {
    if (c == ':') in_file = true;
    if (c == ',') in_file = false;
    if (!in_file) relations += c;
  }
  return relations;
}

class KeyPipe {
 public:
  explicit KeyPipe(pg::Connection& mirror) : mirror_{mirror} {}
  pg::Connection::Sink sink() {
    return [this](std::string_view parcel) { return mirror_.copy_in_put(parcel, copy_idle_limit); };
  }

 private:
  pg::Connection& mirror_;
};

}  // namespace

asio::awaitable<void> Loader::Impl::settle(Pair& pair, TableLoad& table) {
  const auto id = std::to_string(table.info.id);
  if (table.file != whole_file) {
    const auto changed = new_since(table.info.id, table.boundary);
    auto& primary = *pair.primary;
    auto& mirror = *pair.mirror;
    // This snapshot is newer than that of every chunk: it sees whatever one of them saw.
    co_await primary.run(std::string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "} +
                         lock_limit);
    const auto emptied = co_await primary.run(
        "SELECT EXISTS (SELECT FROM pgjanus.journal WHERE key IS NULL AND " + changed + ")",
        copy_idle_limit);
    const auto files = co_await files_of(primary, table.info.oid);
    // Every row changed (TRUNCATE, a capture that could not tell), or partitions came and went. A
    // rewrite after the last chunk does no harm: the rows are the same.
    if (emptied.boolean(0, 0) || relations_in(files.text) != relations_in(table.file)) {
      throw FileChanged{};
    }

    co_await mirror.run("BEGIN; " + apply_marks(replica_role) +
                        "; SET LOCAL lock_timeout = '60s'; "
                        "CREATE TEMPORARY TABLE pgjanus_changed (key text[]) ON COMMIT DROP");
    const auto stored = co_await mirror.run(
        "SELECT FROM pgjanus.tables t, pgjanus.state s WHERE t.id = $1::int AND t.boundary = $2 "
        "AND t.file = $3 AND s.role = 'mirror' AND NOT EXISTS (SELECT FROM pgjanus.chunks c "
        "WHERE c.table_id = t.id AND NOT c.done) FOR UPDATE OF t",
        pg::params(id, table.boundary, table.file));
    if (stored.empty()) {
      pg::Error error{"somebody else changed the load of this table, or the sides were swapped"};
      error.message = error.what();
      error.sqlstate = "55000";
      throw error;
    }
    co_await mirror.copy_in_begin("COPY pg_temp.pgjanus_changed FROM STDIN");
    KeyPipe pipe{mirror};
    co_await primary.copy_out(
        "COPY (SELECT DISTINCT key FROM pgjanus.journal WHERE " + changed + ") TO STDOUT",
        pipe.sink(), work_limit);
    const auto keys = co_await mirror.copy_in_end();
    co_await primary.run("COMMIT");
    // A key that a crash of the primary could still forget must not take its row away.
    co_await make_durable(primary);
    std::uint64_t removed = 0;
    if (keys > 0) {
      co_await mirror.run("ANALYZE pg_temp.pgjanus_changed");
      const auto result = co_await mirror.run(remove_sql(table.info, table.there), work_limit);
      removed = result.affected();
      co_await require_name(mirror, table.there);
    }
    co_await mirror.run("UPDATE pgjanus.tables SET state = 'indexing' WHERE id = $1::int",
                        pg::params(id));
    co_await mirror.run("COMMIT", work_limit);
    log_event(LogLevel::info, "load_table_settled",
              {{"table", table.progress.name}, {"changed_keys", keys}, {"rows_removed", removed}});
  }
  table.stage = Stage::build;
  table.progress.state = TableState::indexing;
}

}  // namespace pgjanus
