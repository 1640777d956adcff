#include "proxy/ddl/listing.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/log.hpp"
#include "proxy/schema/differences.hpp"
#include "router/words.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;
using nlohmann::json;

namespace {

constexpr pg::Duration lock_limit{5'000};
constexpr pg::Duration note_limit{600'000};

// Renaming goes over names that no table has: two tables may swap theirs.
const char* const follow_sql = R"(
DELETE FROM pgjanus.tables t WHERE NOT EXISTS (
  SELECT FROM jsonb_to_recordset($1::jsonb) l (id integer) WHERE l.id = t.id))";
const char* const step_aside_sql = R"(
UPDATE pgjanus.tables t SET table_name = t.table_name || ' (moves, ' || t.id || ')'
FROM jsonb_to_recordset($1::jsonb) l (id integer, schema text, name text)
WHERE l.id = t.id AND (l.schema, l.name) IS DISTINCT FROM (t.schema_name, t.table_name))";
const char* const write_sql = R"(
INSERT INTO pgjanus.tables (id, schema_name, table_name, key_columns, columns, state, file)
SELECT l.id, l.schema, l.name, ARRAY(SELECT jsonb_array_elements_text(l.key)),
       ARRAY(SELECT jsonb_array_elements_text(l.columns)), 'mirrored', 'whole'  -- For a load: its rows are ours.
FROM jsonb_to_recordset($1::jsonb) l (id integer, schema text, name text, key jsonb, columns jsonb)
-- Not those that stay as they are: ON CONFLICT would lock them, and a load holds its tables' rows for as long as it deletes or copies.
WHERE NOT EXISTS (SELECT FROM pgjanus.tables t WHERE t.id = l.id AND (t.schema_name, t.table_name, t.key_columns, t.columns) IS NOT DISTINCT FROM
  (l.schema, l.name, ARRAY(SELECT jsonb_array_elements_text(l.key)), ARRAY(SELECT jsonb_array_elements_text(l.columns))))
ON CONFLICT (id) DO UPDATE SET schema_name = EXCLUDED.schema_name, table_name = EXCLUDED.table_name,
  key_columns = EXCLUDED.key_columns, columns = EXCLUDED.columns
WHERE (tables.schema_name, tables.table_name, tables.key_columns, tables.columns)
  IS DISTINCT FROM (EXCLUDED.schema_name, EXCLUDED.table_name, EXCLUDED.key_columns, EXCLUDED.columns))";
// What each side calls them follows from the source's names.
const char* const local_names_sql = R"(
UPDATE pgjanus.tables t SET local_schema = l.local_schema, local_name = l.local_name
FROM jsonb_to_recordset($1::jsonb) l (id integer, local_schema text, local_name text)
WHERE l.id = t.id AND (l.local_schema, l.local_name) IS DISTINCT FROM (t.local_schema, t.local_name))";

std::string listing_json(const std::vector<Listed>& listing, const Differences& differences) {
  json list = json::array();
  for (const auto& one : listing) {
    list.push_back({{"id", one.id}, {"schema", one.schema}, {"name", one.name}, {"key", one.key},
                    {"columns", one.columns}});
    const QualifiedName name{one.schema, one.name};
    const auto local = differences.names.on(differences.side, name);
    if (local == name) continue;
    list.back()["local_schema"] = local.schema;
    list.back()["local_name"] = local.name;
  }
  return list.dump();
}

asio::awaitable<void> write_listing(pg::Connection& connection, const std::vector<Listed>& listing) {
  const auto differences = co_await read_differences(connection);
  const auto list = listing_json(listing, differences);
  std::vector<const char*> statements{follow_sql, step_aside_sql, write_sql};
  if (differences.any()) statements.push_back(local_names_sql);
  for (const char* sql : statements) {
    auto parameters = pg::params(list);
    co_await connection.run(sql, std::move(parameters));
  }
}

std::vector<std::string> texts(std::string_view literal) {
  std::vector<std::string> list;
  for (auto& value : pg::parse_array(literal)) list.push_back(value.value_or(""));
  return list;
}

Listed listed_as(const TableInfo& table, int id) {
  const auto name = table.by_source();
  Listed one{id, name.schema, name.name, {}, {}};
  for (const auto& key : table.key) one.key.push_back(key.name);
  for (const auto& column : table.columns) one.columns.push_back(column.name);
  return one;
}

bool same_set(std::vector<std::string> a, std::vector<std::string> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

/// What the capture functions depend on; also whether rows noted before can be used after.
bool captured_alike(const Listed& a, const Listed& b) {
  return same_set(a.key, b.key) && (!a.key.empty() || a.columns == b.columns);
}

/// The parts of a key stay in the order in which they are listed, and so noted, whichever order its index has by now
/// or has on the other side.
void keep_key_order(const std::vector<Listed>& before, std::vector<Listed>& list, std::vector<TableInfo>& tables) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto was = std::find_if(before.begin(), before.end(), [&](const Listed& one) { return one.id == list[i].id; });
    if (was == before.end() || was->key == list[i].key || !same_set(was->key, list[i].key)) continue;
    list[i].key = was->key;
    const auto place = [&](const KeyColumn& key) { return std::find(was->key.begin(), was->key.end(), key.name); };
    std::sort(tables[i].key.begin(), tables[i].key.end(),
              [&](const KeyColumn& a, const KeyColumn& b) { return place(a) < place(b); });
  }
}

bool all_captured_alike(const std::vector<Listed>& before, const std::vector<Listed>& list) {
  return std::all_of(list.begin(), list.end(), [&](const Listed& one) {
    return std::any_of(before.begin(), before.end(),
                       [&](const Listed& was) { return was.id == one.id && captured_alike(was, one); });
  });
}

pg::Error not_captured() {
  pg::Error error{"tables are not captured as they are now"};
  error.message = error.what();
  error.sqlstate = "PGJ04";
  return error;
}

/// Which listed table each relation is, by the capture triggers on it: they survive a rename.
asio::awaitable<std::map<std::int64_t, int>> ids_by_trigger(pg::Connection& primary) {
  auto rows = co_await primary.run(
      "SELECT t.tgrelid::bigint, (SELECT substring(p.proname from '^capture_([0-9]+)_insert$')::integer FROM pg_proc p "
      "WHERE p.oid = t.tgfoid AND p.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'pgjanus')) "
      "FROM pg_trigger t WHERE t.tgname = 'pgjanus_insert'");
  std::map<std::int64_t, int> ids;
  for (int row = 0; row < rows.size(); ++row) {
    if (!rows.null(row, 1)) ids[rows.integer(row, 0)] = static_cast<int>(rows.integer(row, 1));
  }
  co_return ids;
}

/// The list as it should be. Each table gets its id: by trigger and name, by trigger alone (renamed),
/// by name alone (made anew), or a new one.
std::vector<Listed> assigned(const std::vector<Listed>& listing, std::vector<TableInfo>& tables,
                             const std::map<std::int64_t, int>& by_trigger, const Shape& known,
                             int highest) {
  std::map<int, const Listed*> free;
  for (const auto& one : listing) free[one.id] = &one;
  const auto claim = [&](auto fits) {
    for (auto& table : tables) {
      if (table.id != 0) continue;
      const auto found = std::find_if(free.begin(), free.end(), [&](const auto& entry) {
        return fits(table, *entry.second);
      });
      if (found == free.end()) continue;
      table.id = found->first;
      free.erase(found);
    }
  };
  const auto triggered = [&](const TableInfo& table) {
    const auto found = by_trigger.find(table.oid);
    return found == by_trigger.end() ? 0 : found->second;
  };
  const auto named = [](const TableInfo& table, const Listed& one) {
    return table.by_source() == QualifiedName{one.schema, one.name};
  };
  claim([&](const auto& table, const auto& one) { return triggered(table) == one.id && named(table, one); });
  // A partition that left its tree still has the tree's triggers.
  claim([&](const auto& table, const auto& one) {
    return triggered(table) == one.id && !has_partition(known, table.oid);
  });
  claim([&](const auto& table, const auto& one) { return named(table, one); });
  std::vector<Listed> list;
  for (auto& table : tables) {
    if (table.id == 0) table.id = ++highest;
    list.push_back(listed_as(table, table.id));
  }
  return list;
}

/// Whether these are the tables that are listed, each under its id: two that are alike may have exchanged names.
bool listed_as_they_are(const std::vector<Listed>& before, const std::vector<Listed>& list,
                        const std::vector<TableInfo>& tables) {
  std::map<int, const Listed*> was;
  for (const auto& one : before) was[one.id] = &one;
  const bool same_names = std::all_of(list.begin(), list.end(), [&](const Listed& one) {
    const auto found = was.find(one.id);
    return found != was.end() && found->second->schema == one.schema && found->second->name == one.name;
  });
  return same_names && listed_rightly(before, tables);
}

std::string whole_note(const TableInfo& table) {
  return "INSERT INTO pgjanus.journal (xid, table_id) VALUES (pg_current_xact_id(), " + std::to_string(table.id) + ")";
}

/// As described; by its name for SQL. None: nullptr.
const RelationInfo* relation_of(const TableInfo& table, const std::string& relation) {
  const auto found = std::find_if(table.relations.begin(), table.relations.end(), [&](const RelationInfo& one) {
    return pg::qualified(one.schema, one.name) == relation;
  });
  return found == table.relations.end() ? nullptr : &*found;
}

/// A partition that was none at the boundary.
const RelationInfo* fresh_partition(const TableInfo& table, const RelationInfo* relation, const Shape& known) {
  const bool fresh = relation && table.kind == 'p' && relation->oid != table.oid && !has_partition(known, relation->oid);
  return fresh ? relation : nullptr;
}

/// What has to be noted in the transaction that puts the triggers of a relation; empty: nothing.
std::string first_note(const TableInfo& table, const RelationInfo* fresh) {
  if (fresh && fresh->kind == 'p') return {};
  return fresh ? note_sql(table, *fresh) : whole_note(table);
}

asio::awaitable<void> write_primary(pg::Connection& primary, const std::vector<Listed>& before,
                                    const std::vector<Listed>& list,
                                    const std::vector<TableInfo>& tables, const std::set<int>& unpinned) {
  std::map<int, const Listed*> was;
  for (const auto& one : before) was[one.id] = &one;
  co_await primary.run("BEGIN; SET LOCAL lock_timeout = '1s'");
  std::optional<pg::Error> failure;
  try {
    for (std::size_t i = 0; i < tables.size(); ++i) {
      const auto found = was.find(list[i].id);
      const bool alike = found != was.end() && captured_alike(*found->second, list[i]);
      if (alike && !unpinned.contains(list[i].id)) continue;
      // Who wrote under the old functions has to end first: keys of two kinds cannot be told apart.
      if (found != was.end()) {
        co_await primary.run("LOCK TABLE " + std::string{tables[i].kind == 'p' ? "" : "ONLY "} +
                             tables[i].sql_name() + " IN SHARE ROW EXCLUSIVE MODE");
      }
      co_await primary.run(capture::functions_sql(tables[i]));
      // Until they are changed back, perhaps within one batch, what is noted cannot be read as before.
      if (found != was.end()) {
        co_await primary.run("INSERT INTO pgjanus.journal (xid, table_id) VALUES (pg_current_xact_id(), $1)",
                             pg::params(std::to_string(list[i].id)));
      }
      const char* const event = found == was.end() ? "table_is_new" : alike ? "table_has_other_types" : "table_has_another_key";
      log_event(LogLevel::info, event, {{"table", tables[i].display()}});
    }
    co_await write_listing(primary, list);
    co_await primary.run("COMMIT");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  if (!failure->lost) co_await primary.run("ROLLBACK");
  throw *failure;
}

}  // namespace

asio::awaitable<std::vector<Listed>> read_listing(pg::Connection& connection) {
  auto rows = co_await connection.run(
      "SELECT id, schema_name, table_name, key_columns, columns FROM pgjanus.tables ORDER BY id");
  std::vector<Listed> listing;
  for (int row = 0; row < rows.size(); ++row) {
    listing.push_back({static_cast<int>(rows.integer(row, 0)), rows.str(row, 1), rows.str(row, 2),
                       texts(rows.text(row, 3)), texts(rows.text(row, 4))});
  }
  co_return listing;
}

std::string note_sql(const TableInfo& table, const RelationInfo& relation) {
  if (relation.kind == 'p' || !table.keyed()) return whole_note(table);
  std::string key;
  for (const auto& column : table.key) {
    key += (key.empty() ? "" : ", ") + ("concat(" + pg::quote_name(column.name) + ")");
  }
  return "INSERT INTO pgjanus.journal (xid, table_id, key) SELECT pg_current_xact_id(), " + std::to_string(table.id) +
         ", ARRAY[" + key + "] FROM ONLY " + pg::qualified(relation.schema, relation.name);
}

std::string still_named_sql(const TableInfo& table, const std::string& relation) {
  const auto found = std::find_if(table.relations.begin(), table.relations.end(), [&](const RelationInfo& one) {
    return pg::qualified(one.schema, one.name) == relation;
  });
  if (found == table.relations.end()) return {};
  return "DO $pgjanus$ BEGIN IF to_regclass(" + pg::quote_literal(relation) + ")::oid IS DISTINCT FROM " +
         std::to_string(found->oid) + " THEN RAISE EXCEPTION USING ERRCODE = 'PGJ01', MESSAGE = " +
         pg::quote_literal(relation + " is the name of another table by now") + "; END IF; END $pgjanus$";
}

bool listed_rightly(const std::vector<Listed>& listing, const std::vector<TableInfo>& tables) {
  std::map<std::pair<std::string, std::string>, const Listed*> by_name;
  for (const auto& one : listing) by_name[{one.schema, one.name}] = &one;
  for (const auto& table : tables) {
    const auto name = table.by_source();
    const auto at = by_name.find({name.schema, name.name});
    if (at == by_name.end()) return false;
    const auto now = listed_as(table, at->second->id);
    // The order of columns matters in whole rows only; the sides may have different ones.
    const bool alike = now.key.empty() ? now.columns == at->second->columns : same_set(now.columns, at->second->columns);
    if (!same_set(now.key, at->second->key) || !alike) return false;
  }
  return tables.size() == listing.size();
}

asio::awaitable<void> list_and_capture(pg::Connection& primary, const Shape& known,
                                       const std::vector<std::string>& exclude, Primary writes, Found& known_tables) {
  auto now = co_await read_marks(primary);
  const auto before = co_await read_listing(primary);
  auto found = co_await candidates(primary, before, exclude, known_tables, std::move(now));
  auto& tables = found.tables;
  const auto by_trigger = co_await ids_by_trigger(primary);
  auto top = co_await primary.run("SELECT greatest((SELECT max(id) FROM pgjanus.tables), "
                                  "(SELECT max(table_id) FROM pgjanus.journal), 0)");
  auto list = assigned(before, tables, by_trigger, known, static_cast<int>(top.integer(0, 0)));
  keep_key_order(before, list, tables);
  const bool barred = writes == Primary::barred;
  const auto unpinned = co_await capture::unpinned(primary, tables);
  if (barred && (!unpinned.empty() || !all_captured_alike(before, list))) throw not_captured();
  if (!unpinned.empty() || !listed_as_they_are(before, list, tables)) {
    co_await write_primary(primary, before, list, tables, unpinned);
  }
  const auto doubtful = unsure(tables, known_tables);
  const auto lost = co_await capture::lost(primary, doubtful);
  if (barred && !lost.empty()) throw not_captured();
  for (const auto& table : tables) {
    if (std::find(lost.begin(), lost.end(), table.id) == lost.end()) continue;
    auto steps = co_await capture::capture_steps(primary, table);
    const bool had = std::any_of(before.begin(), before.end(), [&](const Listed& one) { return one.id == table.id; });
    // A partition that came since the tables were described is the next look's.
    std::erase_if(steps, [&](const capture::Step& step) { return !step.leaves && !relation_of(table, step.relation); });
    for (auto& step : steps) {
      const auto* relation = relation_of(table, step.relation);
      const auto* fresh = fresh_partition(table, relation, known);
      const auto note = first_note(table, fresh);
      // One that the boundary does not know has taken the name of one that was captured.
      const bool was_there = relation && known.contains({"table", relation->oid, 0});
      if (had && !fresh && (was_there || step.leaves)) {
        log_event(LogLevel::error, "capture_lost", {{"table", table.display()}, {"relation", step.relation}});
      }
      if (!note.empty()) step.sql += ";\n" + note;
      const auto check = still_named_sql(table, step.relation);
      if (!check.empty()) step.sql += ";\n" + check;
    }
    capture::OnWaiting nobody;
    co_await capture::run_steps(primary, std::move(steps), lock_limit, std::move(nobody));
  }
}

asio::awaitable<std::set<int>> follow_listing(pg::Connection& mirror,
                                              const std::vector<Listed>& listing) {
  const auto before = co_await read_listing(mirror);
  std::map<int, const Listed*> was;
  for (const auto& one : before) was[one.id] = &one;
  std::set<int> fresh;
  for (const auto& one : listing) {
    const auto found = was.find(one.id);
    if (found == was.end() || !captured_alike(*found->second, one)) fresh.insert(one.id);
  }
  co_await write_listing(mirror, listing);
  co_return fresh;
}

asio::awaitable<std::set<int>> journaled_ids(pg::Connection& primary, const std::string& boundary) {
  const auto snapshot = parse_snapshot(boundary);
  std::set<int> ids;
  if (!snapshot) co_return ids;
  auto rows = co_await primary.run("SELECT DISTINCT table_id FROM pgjanus.journal WHERE xid >= '" +
                                       std::to_string(snapshot->xmin.value) + "'::xid8",
                                   note_limit);
  for (int row = 0; row < rows.size(); ++row) ids.insert(static_cast<int>(rows.integer(row, 0)));
  co_return ids;
}

}  // namespace pgjanus::ddl
