// What a table needs before it counts as mirrored: indexes and constraints, triggers, capture,
// statistics. Definitions come from pg_dump's post-data section.

#include <algorithm>

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"
#include "proxy/pg/subprocess.hpp"

namespace pgjanus {

using namespace load;

namespace {

// Tags as pg_dump prints them (pg_dump.c), line feeds replaced as it does; and whose they are.
constexpr const char* owners_sql = R"(
SELECT n.nspname, translate(x.tag, E'\n\r', '  '), x.relation::bigint, x.ours, x.key
FROM (
  SELECT ic.relnamespace AS namespace, ic.relname::text AS tag, i.indrelid AS relation,
         false AS ours, false AS key
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || k.conname, k.conrelid, false, k.contype = 'p'
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || t.tgname, t.tgrelid,
         (SELECT p.pronamespace FROM pg_proc p WHERE p.oid = t.tgfoid) = 'pgjanus'::regnamespace,
         false
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
  UNION ALL
  SELECT c.relnamespace, c.relname || ' ' || r.rulename, r.ev_class, false, false
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
) x JOIN pg_namespace n ON n.oid = x.namespace)";

std::vector<std::string> dump_command(const std::string& dbname) {
  return {"pg_dump",
          "--section=post-data",
          "--no-publications",
          "--no-subscriptions",
          "--no-security-labels",
          "--no-tablespaces",
          "--no-owner",
          "--exclude-schema=pgjanus",
          "--lock-wait-timeout=500",
          "--dbname=" + dbname};
}

bool one_of(const std::string& type, std::initializer_list<std::string_view> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

}  // namespace

asio::awaitable<void> Loader::Impl::read_entries(Pair& pair) {
  const auto program = pg::for_program(databases.parameters(primary_side));
  auto command = dump_command(program.dbname);
  const auto dumped = co_await pg::run_program(std::move(command), program.environment, {},
                                               pg::Duration{10 * 60'000});
  if (!dumped.ok()) {
    // Locks that the app holds, connections that break: all of it may pass.
    pg::Error error{dumped.describe("pg_dump")};
    error.message = error.what();
    error.sqlstate = "PGJ10";
    throw error;
  }
  auto read = split_post_data(dumped.out);
  const auto rows = co_await pair.primary->run(owners_sql);
  const auto steps = co_await pair.mirror->run("SELECT step FROM pgjanus.steps");
  entries = std::move(read);
  owners.clear();
  for (int row = 0; row < rows.size(); ++row) {
    auto& owned = owners[{rows.str(row, 0), rows.str(row, 1)}];
    owned.relation = static_cast<std::uint32_t>(rows.integer(row, 2));
    owned.ours = rows.boolean(row, 3);
    owned.key = owned.key || rows.boolean(row, 4);
  }
  steps_done.clear();
  for (int row = 0; row < steps.size(); ++row) steps_done.insert(steps.str(row, 0));
  std::erase_if(entries, [&](const Entry& entry) {
    const auto owned = owners.find({entry.schema, entry.name});
    return entry.schema == "pgjanus" || (owned != owners.end() && owned->second.ours);
  });
  have_entries = true;
}

// Which entries a table waits for. Indexes first; what hangs together by them, and what would act
// on the mirror's own statements (triggers, rules), must stand before the mirror loop goes on.
void Loader::Impl::sort_entries(TableLoad& table) {
  table.indexes.clear();
  table.rest.clear();
  std::size_t keys = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& entry = entries[i];
    if (steps_done.contains(entry.step())) continue;
    const auto owned = owners.find({entry.schema, entry.name});
    if (owned == owners.end()) continue;
    const auto& relations = table.info.relations;
    if (std::none_of(relations.begin(), relations.end(), [&](const RelationInfo& relation) {
          return relation.oid == owned->second.relation;
        })) {
      continue;
    }
    if (one_of(entry.type, {"INDEX", "CONSTRAINT"})) {
      const bool key = owned->second.key;
      table.indexes.insert(
          table.indexes.begin() + static_cast<std::ptrdiff_t>(key ? keys++ : table.indexes.size()),
          i);
    } else if (one_of(entry.type, {"INDEX ATTACH", "TRIGGER", "RULE"})) {
      table.rest.push_back(i);
    }
  }
  table.sorted = true;
}

// `index` no_entry: find out what there is to do, and do what comes after the indexes when those
// are done. Otherwise: this one index.
asio::awaitable<void> Loader::Impl::build(Pair& pair, TableLoad& table, std::size_t index) {
  if (index != no_entry) {
    co_await run_entry(*pair.mirror, index);
    std::erase(table.indexes, index);
    co_return;
  }
  if (!have_entries) co_await read_entries(pair);
  if (!table.sorted) sort_entries(table);
  if (!table.indexes.empty()) {
    for (auto at = table.indexes.rbegin(); at != table.indexes.rend(); ++at) {
      add(JobKind::build, table, *at);
    }
    co_return;
  }
  while (!table.rest.empty()) {
    co_await run_entry(*pair.mirror, table.rest.front());
    table.rest.erase(table.rest.begin());
  }
  table.stage = Stage::finish;
}

// One entry and its note in one transaction. What exists already counts as done: a schema that
// was there before us, or a step whose note belongs to an older text.
asio::awaitable<void> Loader::Impl::run_entry(pg::Connection& mirror, std::size_t index) {
  const auto entry = entries.at(index);
  state.step = entry.display();
  const auto note = "INSERT INTO pgjanus.steps (step) VALUES (" + pg::quote_literal(entry.step()) +
                    ") ON CONFLICT DO NOTHING";
  std::optional<pg::Error> failure;
  try {
    co_await mirror.run(
        "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL check_function_bodies "
        "= off; SET LOCAL lock_timeout = '10min'");
    co_await mirror.run(entry.sql, work_limit);
    if (entry.type == "TRIGGER" || entry.type == "RULE") co_await keep_triggers(mirror, entry);
    co_await mirror.run(note + "; COMMIT");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) {
    steps_done.insert(entry.step());
    co_return;
  }
  const bool exists = failure->is("42P07") || failure->is("42710") || failure->is("42P16");
  const bool tolerated = entry.type == "EVENT TRIGGER" && failure->is("42501");
  if (!exists && !tolerated) {
    failure->message = entry.display() + ": " + failure->message;
    throw *failure;
  }
  co_await mirror.run("ROLLBACK");
  if (tolerated) {
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
  const auto infos = co_await stored_tables(mirror);
  const auto found = std::find_if(infos.begin(), infos.end(), [&](const TableInfo& info) {
    return info.id == table.info.id && info.oid != 0;
  });
  if (found == infos.end()) throw std::runtime_error{"the table does not exist on the mirror"};
  co_await mirror.run(capture::functions_sql(*found));
  auto steps = co_await capture::capture_steps(mirror, *found);
  co_await capture::run_steps(mirror, std::move(steps), pg::Duration{5 * 60'000},
                              [this](const std::string& relation, const std::string& holder) {
                                state.waiting = "a lock on " + relation + ", held by " + holder;
                              });
  // Before it counts: the first queries on it must not be planned blind.
  co_await mirror.run("ANALYZE " + table.info.sql_name(), work_limit);
  // The loop may stand in a long batch.
  std::vector<int> ids(1, table.info.id);
  if (table.info.unlogged) {
    // A crash of either server since its copy emptied it, and nothing tells: read anew.
    co_await control.reload(std::move(ids), pg::Duration{30 * 60'000});
  } else {
    co_await control.attach(std::move(ids), pg::Duration{30 * 60'000});
  }
  table.stage = Stage::done;
  table.progress.state = TableState::mirrored;
  log_event(LogLevel::info, "load_table_done",
            {{"table", table.progress.name}, {"rows", table.progress.rows_done}});
}

}  // namespace pgjanus
