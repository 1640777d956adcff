// What a table needs before it counts as mirrored: indexes and constraints, triggers, capture,
// statistics. Definitions come from pg_dump's post-data section.

#include <algorithm>

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

// Tags as pg_dump prints them (pg_dump.c), line feeds replaced as it does; and whose they are.
constexpr const char* owners_sql = R"(
SELECT n.nspname, translate(x.tag, E'\n\r', '  '), x.relation::bigint, x.ours, x.key,
       pg_get_indexdef(x.index),
       CASE WHEN x.index IS NOT NULL THEN format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s USING INDEX %I%s%s',
         x.relation::regclass, x.name, CASE WHEN x.key THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, x.name,
         CASE WHEN x.deferrable THEN ' DEFERRABLE' END, CASE WHEN x.deferred THEN ' INITIALLY DEFERRED' END) END,
       n.nspname, r.relname
FROM (
  SELECT ic.relnamespace AS namespace, ic.relname::text AS tag, i.indrelid AS relation,
         false AS ours, false AS key, NULL::oid AS index, NULL::name AS name,
         false AS deferrable, false AS deferred
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || k.conname, k.conrelid, false, k.contype = 'p',
         CASE WHEN k.contype IN ('p', 'u') AND c.relkind = 'r' AND i.relname = k.conname THEN k.conindid END,
         k.conname, k.condeferrable, k.condeferred
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  LEFT JOIN pg_class i ON i.oid = k.conindid
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || t.tgname, t.tgrelid,
         (SELECT p.pronamespace FROM pg_proc p WHERE p.oid = t.tgfoid) = 'pgjanus'::regnamespace,
         false, NULL, NULL, false, false
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || r.rulename, r.ev_class, false, false,
         NULL, NULL, false, false
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
  UNION ALL
  SELECT s.stxnamespace, 'STATISTICS ' || s.stxname, s.stxrelid, false, false, NULL, NULL, false, false FROM pg_statistic_ext s
  UNION ALL
  SELECT c.relnamespace, concat('POLICY ', c.relname, ' ', p.polname), p.polrelid, false, false, NULL, NULL, false, false
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
) x JOIN pg_namespace n ON n.oid = x.namespace JOIN pg_class r ON r.oid = x.relation)";

// Whatever the post-data section says changes one of these rows. Ours are left out: triggers of ours
// come and go, but what the tables' own rows say of that changes nothing in the dump but a dump more.
constexpr const char* shape_sql = R"(
SELECT coalesce(md5(string_agg(x.line, ',' ORDER BY x.line)), '') FROM (
  SELECT 'c' || c.oid || ':' || c.xmin FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('pgjanus', 'information_schema')
  UNION ALL SELECT 'i' || indexrelid || ':' || xmin FROM pg_index
  UNION ALL SELECT 'k' || oid || ':' || xmin FROM pg_constraint
  UNION ALL SELECT 't' || oid || ':' || xmin FROM pg_trigger
  UNION ALL SELECT 'r' || oid || ':' || xmin FROM pg_rewrite
  UNION ALL SELECT 'p' || oid || ':' || xmin FROM pg_policy
  UNION ALL SELECT 's' || oid || ':' || xmin FROM pg_statistic_ext
  UNION ALL SELECT 'e' || oid || ':' || xmin FROM pg_event_trigger
  UNION ALL SELECT 'd' || objoid || ':' || classoid || ':' || objsubid || ':' || xmin FROM pg_description
    WHERE objoid >= 16384
) x (line))";

pg::Error moved(const std::string& why) {
  pg::Error error{why};
  error.message = why;
  error.sqlstate = "PGJ10";
  return error;
}

std::map<std::uint32_t, std::vector<std::pair<std::string, std::string>>> numbered(const pg::Rows& columns) {
  std::map<std::uint32_t, std::vector<std::pair<std::string, std::string>>> by_relation;
  for (int row = 0; row < columns.size(); ++row)
    by_relation[static_cast<std::uint32_t>(columns.integer(row, 0))].emplace_back(columns.str(row, 1), columns.str(row, 2));
  return by_relation;
}

bool one_of(const std::string& type, std::initializer_list<std::string_view> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

}  // namespace

namespace load {

asio::awaitable<std::string> catalog_of_dump(pg::Connection& primary) {
  const auto shape = co_await primary.run(shape_sql);
  co_return shape.str(0, 0);
}

}  // namespace load

asio::awaitable<void> Loader::Impl::read_entries(Pair& pair) {
  const auto shape = co_await pair.primary->run(shape_sql);
  const auto before = co_await versions_of_columns(*pair.primary);
  auto columns = co_await columns_of_tables(*pair.primary);
  if (have_entries && shape.text(0, 0) == entries_shape && numbered(columns) == entries_columns) co_return;
  auto dumped = co_await take_early_dump(*pair.primary);
  if (!dumped) dumped = co_await dump_post_data(databases.parameters(primary_side));
  if (!dumped->ok()) {
    // Locks that the app holds, connections that break: all of it may pass.
    throw moved(dumped->describe("pg_dump"));
  }
  // Its texts go by names.
  std::vector<const TableInfo*> named;
  for (const auto& table : tables) named.push_back(&table.info);
  co_await require_names(*pair.primary, std::move(named));
  const auto after = co_await versions_of_columns(*pair.primary);
  if (changed(before, after)) throw moved("columns were changed while pg_dump ran");
  auto read = split_post_data(dumped->out);
  const auto rows = co_await pair.primary->run(owners_sql);
  const auto steps = co_await pair.mirror->run("SELECT step FROM pgjanus.steps");
  entries = std::move(read);
  entries_columns = numbered(columns);
  owners.clear();
  for (int row = 0; row < rows.size(); ++row) {
    auto& owned = owners[{rows.str(row, 0), rows.str(row, 1)}];
    owned.relation = static_cast<std::uint32_t>(rows.integer(row, 2));
    owned.table = {rows.str(row, 7), rows.str(row, 8)};
    owned.ours = rows.boolean(row, 3);
    owned.key = owned.key || rows.boolean(row, 4);
    if (!rows.null(row, 5)) {
      owned.index_sql = rows.str(row, 5);
      owned.using_sql = rows.str(row, 6);
    }
  }
  steps_done.clear();
  for (int row = 0; row < steps.size(); ++row) steps_done.insert(steps.str(row, 0));
  std::erase_if(entries, [&](const Entry& entry) {
    const auto owned = owners.find({entry.schema, entry.name});
    return entry.schema == "pgjanus" || (owned != owners.end() && owned->second.ours);
  });
  adapt_entries();
  entries_of.clear();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto owned = owners.find({entries[i].schema, entries[i].name});
    if (owned != owners.end()) entries_of[owned->second.relation].push_back(i);
  }
  entries_shape = shape.str(0, 0);
  have_entries = true;
}

// Reads them once, however many workers ask at a time.
asio::awaitable<void> Loader::Impl::need_entries(Pair& pair) {
  while (!have_entries) {
    require_running();
    if (reading_entries) {
      co_await pause(std::chrono::milliseconds{20});
      continue;
    }
    reading_entries = true;
    std::exception_ptr failure;
    try {
      co_await read_entries(pair);
    } catch (...) {
      failure = std::current_exception();
    }
    reading_entries = false;
    if (failure) std::rethrow_exception(failure);
  }
}

// Which entries a table waits for. Indexes first; what hangs together by them, and what would act
// on the mirror's own statements (triggers, rules), must stand before the mirror loop goes on.
void Loader::Impl::sort_entries(TableLoad& table) {
  table.indexes.clear();
  table.rest.clear();
  table.using_index.clear();
  std::size_t keys = 0;
  std::vector<std::size_t> own;
  for (const auto& relation : table.info.relations) {
    const auto found = entries_of.find(relation.oid);
    if (found != entries_of.end()) own.insert(own.end(), found->second.begin(), found->second.end());
  }
  std::sort(own.begin(), own.end());
  for (const auto i : own) {
    const auto& entry = entries[i];
    if (steps_done.contains(entry.step())) continue;
    const auto owned = owners.find({entry.schema, entry.name});
    if (one_of(entry.type, {"INDEX", "CONSTRAINT"})) {
      const bool key = owned->second.key;
      if (!owned->second.index_sql.empty()) table.using_index.insert(i);
      table.indexes.insert(
          table.indexes.begin() + static_cast<std::ptrdiff_t>(key ? keys++ : table.indexes.size()),
          i);
    } else if (one_of(entry.type, {"INDEX ATTACH", "TRIGGER", "RULE"})) {
      table.rest.push_back(i);
    }
  }
  // One index alone needs no second step; on a prepared target it would stand beside the one that is there.
  if (table.indexes.size() < 2 || table.indexed) table.using_index.clear();
  table.sorted = true;
}

// `index` no_entry: find out what there is to do, and do what comes after the indexes when those
// are done. Otherwise: this one index.
asio::awaitable<void> Loader::Impl::build(Pair& pair, TableLoad& table, std::size_t index) {
  if (index != no_entry) {
    if (table.using_index.contains(index)) {
      co_await make_index(*pair.mirror, index);
      table.rest.insert(table.rest.begin(), index);
    } else {
      co_await run_entry(*pair.mirror, index);
    }
    std::erase(table.indexes, index);
    co_return;
  }
  co_await need_entries(pair);
  if (!table.sorted) sort_entries(table);
  if (!table.indexes.empty()) {
    for (auto at = table.indexes.rbegin(); at != table.indexes.rend(); ++at) {
      add(JobKind::build, table, *at);
    }
    co_return;
  }
  while (!table.rest.empty()) {
    const auto next = table.rest.front();
    auto sql = entries.at(next).sql;
    if (table.using_index.contains(next)) {
      // On a prepared target it stands already.
      const bool there = co_await constraint_stands(*pair.mirror, next);
      sql = there ? std::string{"SELECT 1"} : sql_using_index(next);
    }
    co_await run_entry(*pair.mirror, next, std::move(sql));
    table.rest.erase(table.rest.begin());
  }
  table.stage = Stage::finish;
}

asio::awaitable<bool> Loader::Impl::constraint_stands(pg::Connection& mirror, std::size_t index) {
  const auto there = co_await mirror.run(
      "SELECT EXISTS (SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
      "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND "
      "translate(c.relname || ' ' || k.conname, E'\\n\\r', '  ') = $2)",
      pg::params(entries.at(index).on_mirror().first, entries.at(index).on_mirror().second));
  co_return there.boolean(0, 0);
}

// The index of a constraint, as SHARE lock work: others of the table are built beside it.
asio::awaitable<void> Loader::Impl::make_index(pg::Connection& mirror, std::size_t index) {
  const auto& entry = entries.at(index);
  const auto sql = owners.at({entry.schema, entry.name}).index_sql;
  state.step = entry.display();
  std::optional<pg::Error> failure;
  try {
    co_await mirror.run("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '10min'");
    co_await mirror.run(sql, work_limit);
    co_await require_owner(mirror, index);
    co_await mirror.run("COMMIT");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  if (!failure->is("42P07")) {
    failure->message = entry.display() + ": " + failure->message;
    throw *failure;
  }
  co_await mirror.run("ROLLBACK");  // From an earlier try.
}

// The entry with its first statement, which adds the constraint, replaced; what follows it (CLUSTER
// ON, comments) stays.
std::string Loader::Impl::sql_using_index(std::size_t index) const {
  const auto& entry = entries.at(index);
  char quote = 0;
  std::size_t end = 0;
  for (; end < entry.sql.size(); ++end) {
    const char c = entry.sql[end];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == ';') {
      break;
    }
  }
  return owners.at({entry.schema, entry.name}).using_sql + entry.sql.substr(end);
}

asio::awaitable<void> Loader::Impl::run_entry(pg::Connection& mirror, std::size_t index) {
  co_await run_entry(mirror, index, entries.at(index).sql);
}

// One entry and its note in one transaction. What exists already counts as done: a schema that
// was there before us, or a step whose note belongs to an older text.
asio::awaitable<void> Loader::Impl::run_entry(pg::Connection& mirror, std::size_t index,
                                              std::string sql) {
  const auto entry = entries.at(index);
  state.step = entry.display();
  const bool whole = sql == entry.sql;
  const auto note = "INSERT INTO pgjanus.steps (step) VALUES (" + pg::quote_literal(entry.step()) +
                    ") ON CONFLICT DO NOTHING";
  std::optional<pg::Error> failure;
  try {
    co_await mirror.run(
        "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL check_function_bodies "
        "= off; SET LOCAL lock_timeout = '10min'");
    co_await mirror.run(std::move(sql), work_limit);
    if (entry.type == "TRIGGER" || entry.type == "RULE") co_await keep_triggers(mirror, entry);
    co_await require_owner(mirror, index);
    co_await mirror.run(note + "; COMMIT");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) {
    steps_done.insert(entry.step());
    co_return;
  }
  // The partition has left, or joined another index, since the dump was read.
  if (failure->is("55000") && entry.type == "INDEX ATTACH") throw behind(entry.display() + ": " + failure->message);
  // 42P16 also says that partitions are not as a key needs them: replaying sees to that.
  const bool another_key = failure->is("42P16") && failure->message.find("multiple primary keys") != std::string::npos;
  const bool exists = failure->is("42P07") || failure->is("42710") || another_key;
  const bool tolerated = tolerates(entry, *failure);
  if (!exists && !tolerated) {
    failure->message = entry.display() + ": " + failure->message;
    throw *failure;
  }
  co_await mirror.run("ROLLBACK");
  // What exists may be the index alone, from a load that was killed before the constraint came to it.
  if (exists && entry.type == "CONSTRAINT" && !failure->is("42P16")) {
    const bool there = co_await constraint_stands(mirror, index);
    const auto owned = owners.find({entry.schema, entry.name});
    const bool can = whole && owned != owners.end() && !owned->second.using_sql.empty();
    if (!there && !can) {
      failure->message = entry.display() + ": " + failure->message;
      throw *failure;
    }
    if (!there) {
      auto second = sql_using_index(index);
      co_await run_entry(mirror, index, std::move(second));
      co_return;
    }
  }
  if (tolerated && !exists) {
    state.warnings.push_back(entry.display() + " was left out: " + failure->message);
    co_return;
  }
  co_await mirror.run(note);
  steps_done.insert(entry.step());
}

// Capture for the way back, statistics, and then the mirror loop takes over: what changed since
// the table's own boundary comes with its next batch.
asio::awaitable<void> Loader::Impl::finish(Pair& pair, TableLoad& table) {
  auto& mirror = *pair.mirror;
  state.step = "handing over " + table.progress.name;
  co_await put_capture(mirror, table.info.id);
  // Before it counts: the first queries on it must not be planned blind.
  co_await mirror.run("ANALYZE " + table.there.sql_name(), work_limit);
  if (!table.info.unlogged) {
    ready_to_attach(table);
    co_return;
  }
  // A crash of either server since its copy emptied it, and nothing tells: read anew. The loop may
  // stand in a long batch.
  std::vector<int> ids(1, table.info.id);
  co_await control.reload(std::move(ids), attach_limit);
  table.stage = Stage::done;
  table.progress.state = TableState::mirrored;
}

void Loader::Impl::ready_to_attach(TableLoad& table) {
  table.stage = Stage::attach;
  ready.push_back(&table);
}

void Loader::Impl::take_ready(Job& job) {
  job.pack.swap(ready);
  for (auto* table : job.pack) ++table->running;
}

// The loop describes all its tables anew at each attach: many tables come together.
asio::awaitable<void> Loader::Impl::attach(Job& job) {
  if (job.pack.empty()) take_ready(job);
  std::vector<int> ids;
  for (const auto* table : job.pack) ids.push_back(table->info.id);
  if (ids.empty()) co_return;
  state.step = "handing over " + std::to_string(ids.size()) + " tables";
  co_await control.attach(std::move(ids), attach_limit);
  for (auto* table : job.pack) {
    table->stage = Stage::done;
    table->progress.state = TableState::mirrored;
    log_event(LogLevel::info, "load_table_done",
              {{"table", table->progress.name}, {"rows", table->progress.rows_done}});
  }
}

}  // namespace pgjanus
