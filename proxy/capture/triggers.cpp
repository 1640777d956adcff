// Which triggers of ours stand where, and the steps that bring them to what they should be.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "proxy/capture/capture.hpp"
#include "sql_texts.hpp"

namespace pgjanus::capture {
namespace {

using nlohmann::json;

/// pg_trigger.tgtype (catalog/pg_trigger.h).
constexpr int row_level = 1, before = 2, on_insert = 4, on_delete = 8, on_update = 16,
              on_truncate = 32;

/// A trigger as it should stand on a relation.
struct Wanted {
  std::string name, function;
  int type;
  std::string_view old_table, new_table;  // Transition tables; empty without.
  bool only_moving = false;               // WHEN rows_may_move() has said so.
  bool ends_moving = false;               // Has an argument: takes back what that said.
};
constexpr std::string_view guard_trigger = "pgjanus_guard";
constexpr std::string_view when_moving = "current_setting('pgjanus.rows_move', true) <> ''";
constexpr int first_version_with_merge = 150000;

/// One relation of a table as the catalog has it, with the triggers of ours on it.
struct Standing {
  int table_id = 0;
  std::string sql_name;
  bool inheritance = false;
  char kind = 'r';
  bool in_tree = false;  // Of a partitioned table: its root, or below.
  bool server_has_merge = false;
  bool stray = false;  // Not of this table (any more): a partition that left, a renamed table.
  json triggers;

  [[nodiscard]] const json* trigger(std::string_view name) const {
    for (const auto& trigger : triggers) {
      if (trigger.at("name") == name) return &trigger;
    }
    return nullptr;
  }
};

boost::asio::awaitable<std::vector<Standing>> look(pg::Connection& connection,
                                                   const std::vector<TableInfo>& tables) {
  std::vector<std::string> numbers;
  for (const auto& table : tables) numbers.push_back(std::to_string(table.id));
  std::vector<std::optional<std::string_view>> ids, schemas, names;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    ids.emplace_back(numbers[i]);
    schemas.emplace_back(tables[i].schema);
    names.emplace_back(tables[i].name);
  }
  pg::Parameters parameters{pg::array_literal(ids), pg::array_literal(schemas),
                            pg::array_literal(names)};
  const pg::Rows rows =
      co_await connection.run(std::string{sql::capture_state}, std::move(parameters));
  std::vector<Standing> standing;
  for (int row = 0; row < rows.size(); ++row) {
    standing.push_back({.table_id = static_cast<int>(rows.integer(row, 0)),
                        .sql_name = pg::qualified(rows.text(row, 1), rows.text(row, 2)),
                        .inheritance = rows.boolean(row, 3),
                        .kind = rows.text(row, 4).at(0),
                        .in_tree = rows.boolean(row, 5),
                        .server_has_merge = connection.server_version() >= first_version_with_merge,
                        .stray = rows.boolean(row, 6),
                        .triggers = json::parse(rows.text(row, 7))});
  }
  co_return standing;
}

/// What capture consists of on this relation.
std::vector<Wanted> capture_of(const Standing& relation) {
  if (relation.stray) return {};
  const int id = relation.table_id;
  const int level = relation.inheritance ? row_level : 0;
  const std::string_view old_rows = relation.inheritance ? "" : "old_rows";
  const std::string_view new_rows = relation.inheritance ? "" : "new_rows";
  std::vector<Wanted> wanted{
      {"pgjanus_insert", function_name(id, "insert"), on_insert | level, "", new_rows},
      {"pgjanus_update", function_name(id, "update"), on_update | level, old_rows, new_rows},
      {"pgjanus_delete", function_name(id, "delete"), on_delete | level, old_rows, ""},
      {"pgjanus_truncate", function_name(id, "truncate"), on_truncate, "", ""}};
  if (!relation.in_tree || !relation.server_has_merge) return wanted;
  if (relation.kind == 'p') {
    wanted[1].ends_moving = true;
    wanted.push_back({"pgjanus_moving", "rows_may_move", before | on_update, "", ""});
  } else {
    wanted.push_back(
        {"pgjanus_moved_in", function_name(id, "insert"), on_insert | row_level, "", "", true});
    wanted.push_back(
        {"pgjanus_moved_out", function_name(id, "delete"), on_delete | row_level, "", "", true});
  }
  return wanted;
}

/// Whether a trigger is the one that is wanted, apart from its mode.
bool fits(const json& trigger, const Wanted& wanted) {
  const auto table = [&](const char* key, std::string_view name) {
    return name.empty() ? trigger.at(key).is_null() : trigger.at(key) == name;
  };
  return trigger.at("function") == wanted.function && trigger.at("type") == wanted.type &&
         trigger.at("narrowed") == wanted.only_moving &&
         trigger.at("arguments") == (wanted.ends_moving ? 1 : 0) &&
         table("old", wanted.old_table) && table("new", wanted.new_table);
}

bool always(const json& trigger) { return trigger.at("enabled") == "A"; }

std::string_view event_of(int type) {
  if ((type & on_insert) != 0) return "INSERT";
  if ((type & on_update) != 0) return "UPDATE";
  return (type & on_delete) != 0 ? "DELETE" : "TRUNCATE";
}

std::string create(const Standing& relation, const Wanted& wanted) {
  std::string text = "CREATE TRIGGER " + wanted.name +
                     ((wanted.type & before) != 0 ? " BEFORE " : " AFTER ") +
                     std::string{event_of(wanted.type)} + " ON " + relation.sql_name;
  if (!wanted.old_table.empty() || !wanted.new_table.empty()) {
    text += " REFERENCING";
    if (!wanted.old_table.empty()) text += " OLD TABLE AS " + std::string{wanted.old_table};
    if (!wanted.new_table.empty()) text += " NEW TABLE AS " + std::string{wanted.new_table};
  }
  text += (wanted.type & row_level) != 0 ? " FOR EACH ROW" : " FOR EACH STATEMENT";
  if (wanted.only_moving) text += " WHEN (" + std::string{when_moving} + ")";
  return text + " EXECUTE FUNCTION pgjanus." + wanted.function +
         (wanted.ends_moving ? "('tree');\n" : "();\n");
}

/// In one statement: each throws away what the server knows of the table.
std::string enable(const Standing& relation, const std::vector<std::string>& triggers) {
  if (triggers.empty()) return {};
  std::string actions;
  for (const auto& trigger : triggers) {
    actions += (actions.empty() ? " ENABLE ALWAYS TRIGGER " : ", ENABLE ALWAYS TRIGGER ") + trigger;
  }
  return "ALTER TABLE ONLY " + relation.sql_name + actions + ";\n";
}

std::string drop(const Standing& relation, std::string_view trigger) {
  return "DROP TRIGGER IF EXISTS " + pg::quote_name(trigger) + " ON " + relation.sql_name + ";\n";
}

/// A step that takes the strongest lock it needs first: no upgrade, no deadlock. Waiting for SHARE
/// UPDATE EXCLUSIVE keeps no reader and no writer back, and makes an autovacuum give way (a waiter
/// cancels it after deadlock_timeout, longer than we may wait for the lock that keeps writers
/// back).
Step locked(const std::string& relation, std::string drops, std::string creates) {
  const std::string mode = drops.empty() ? "SHARE ROW EXCLUSIVE" : "ACCESS EXCLUSIVE";
  return {relation, "SET LOCAL lock_timeout = '3s';\nLOCK TABLE ONLY " + relation +
                        " IN SHARE UPDATE EXCLUSIVE MODE;\nSET LOCAL lock_timeout = '300ms';\n"
                        "LOCK TABLE ONLY " +
                        relation + " IN " + mode + " MODE;\n" + std::move(drops) +
                        std::move(creates)};
}

/// What brings one relation to capture; empty texts when it is there.
std::pair<std::string, std::string> toward_capture(const Standing& relation) {
  std::string drops, creates;
  std::vector<std::string> enabled;
  const auto all_wanted = capture_of(relation);
  for (const auto& wanted : all_wanted) {
    const json* trigger = relation.trigger(wanted.name);
    if (trigger != nullptr && fits(*trigger, wanted)) {
      if (!always(*trigger)) enabled.push_back(wanted.name);
      continue;
    }
    if (trigger != nullptr) drops += drop(relation, wanted.name);
    creates += create(relation, wanted);
    enabled.push_back(wanted.name);
  }
  for (const auto& trigger : relation.triggers) {  // The guard; what a partition brought along.
    const std::string name = trigger.at("name");
    const bool keep = std::any_of(all_wanted.begin(), all_wanted.end(),
                                  [&](const Wanted& wanted) { return wanted.name == name; });
    if (!keep) drops += drop(relation, name);
  }
  return {drops, creates + enable(relation, enabled)};
}

std::pair<std::string, std::string> toward_guard(const Standing& relation) {
  if (relation.stray) return toward_capture(relation);
  std::string drops, creates;
  for (const auto& trigger : relation.triggers) {
    const std::string name = trigger.at("name");
    if (name != guard_trigger) drops += drop(relation, name);
  }
  const json* guard = relation.trigger(guard_trigger);
  if (guard == nullptr) {
    creates += "CREATE TRIGGER " + std::string{guard_trigger} +
               " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON " + relation.sql_name +
               " FOR EACH STATEMENT EXECUTE FUNCTION pgjanus.guard();\n";
  }
  if (guard == nullptr || !always(*guard)) {
    creates += enable(relation, {std::string{guard_trigger}});
  }
  return {drops, creates};
}

template <class Toward>
std::vector<Step> steps_toward(const std::vector<Standing>& relations, Toward toward) {
  std::vector<Step> steps;
  for (const auto& relation : relations) {
    auto [drops, creates] = toward(relation);
    if (drops.empty() && creates.empty()) continue;
    steps.push_back(locked(relation.sql_name, std::move(drops), std::move(creates)));
    steps.back().leaves = relation.stray;
  }
  return steps;
}

}  // namespace

boost::asio::awaitable<std::vector<Step>> capture_steps(pg::Connection& connection,
                                                        const std::vector<TableInfo>& tables) {
  const auto relations = co_await look(connection, tables);
  co_return steps_toward(relations, toward_capture);
}

boost::asio::awaitable<std::vector<Step>> guard_steps(pg::Connection& connection,
                                                      const std::vector<TableInfo>& tables) {
  const auto relations = co_await look(connection, tables);
  co_return steps_toward(relations, toward_guard);
}

boost::asio::awaitable<std::vector<Step>> capture_steps(pg::Connection& connection,
                                                        const TableInfo& table) {
  const std::vector<TableInfo> one{table};
  auto steps = co_await capture_steps(connection, one);
  co_return steps;
}

boost::asio::awaitable<std::vector<Step>> guard_steps(pg::Connection& connection,
                                                      const TableInfo& table) {
  const std::vector<TableInfo> one{table};
  auto steps = co_await guard_steps(connection, one);
  co_return steps;
}

boost::asio::awaitable<std::vector<Step>> removal_steps(pg::Connection& connection) {
  const pg::Rows rows = co_await connection.run(std::string{sql::our_triggers});
  std::vector<Step> steps;
  for (int row = 0; row < rows.size(); ++row) {
    const auto relation = rows.str(row, 0);
    std::string drops;
    for (const auto& trigger : pg::parse_array(rows.text(row, 1))) {
      drops += "DROP TRIGGER IF EXISTS " + trigger.value_or("") + " ON " + relation + ";\n";
    }
    steps.push_back(locked(relation, std::move(drops), ""));
  }
  co_return steps;
}

boost::asio::awaitable<std::vector<int>> lost(pg::Connection& connection,
                                              const std::vector<TableInfo>& tables) {
  if (tables.empty()) co_return std::vector<int>{};
  const auto relations = co_await look(connection, tables);
  std::set<int> keyless;
  for (const auto& table : tables) {
    if (!table.keyed()) keyless.insert(table.id);
  }
  std::vector<int> ids;
  for (const auto& relation : relations) {
    const auto wanted = capture_of(relation);
    // What a stray notes is a key too many; only whole rows are counted wrongly.
    const bool complete =
        relation.stray ? !keyless.contains(relation.table_id)
                       : std::all_of(wanted.begin(), wanted.end(), [&](const Wanted& one) {
                           const json* trigger = relation.trigger(one.name);
                           return trigger != nullptr && fits(*trigger, one) && always(*trigger);
                         });
    if (!complete && (ids.empty() || ids.back() != relation.table_id)) {
      ids.push_back(relation.table_id);
    }
  }
  co_return ids;
}

boost::asio::awaitable<std::string> footprint(pg::Connection& connection) {
  const pg::Rows rows = co_await connection.run(std::string{sql::capture_probe});
  co_return rows.str(0, 0);
}

boost::asio::awaitable<std::set<int>> mistaken(pg::Connection& connection, const std::vector<TableInfo>& tables) {
  std::string ids, oids;
  for (const auto& table : tables) {
    if (table.oid == 0) continue;
    ids += (ids.empty() ? "{" : ",") + std::to_string(table.id);
    oids += (oids.empty() ? "{" : ",") + std::to_string(table.oid);
  }
  std::set<int> found;
  if (ids.empty()) co_return found;
  const pg::Rows rows = co_await connection.run(
      "SELECT w.id FROM unnest($1::integer[], $2::oid[]) w (id, oid) "
      "JOIN pg_trigger t ON t.tgrelid = w.oid AND t.tgname = 'pgjanus_insert' "
      "JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'pgjanus' "
      "WHERE p.proname <> 'capture_' || w.id || '_insert'",
      pg::params(ids + "}", oids + "}"));
  for (int row = 0; row < rows.size(); ++row) found.insert(static_cast<int>(rows.integer(row, 0)));
  co_return found;
}

boost::asio::awaitable<std::vector<TableInfo>> names_of_listed(pg::Connection& connection) {
  const pg::Rows rows = co_await connection.run(
      "SELECT t.* FROM (SELECT NULL::text AS local_schema, NULL::text AS local_name) absent "  // As in listed_stored.sql.
      "CROSS JOIN LATERAL (SELECT s.id, coalesce(local_schema, s.schema_name), coalesce(local_name, s.table_name), "
      "s.key_columns FROM pgjanus.tables s) t ORDER BY t.id");
  std::vector<TableInfo> tables(static_cast<std::size_t>(rows.size()));
  for (int row = 0; row < rows.size(); ++row) {
    auto& table = tables[static_cast<std::size_t>(row)];
    table.id = static_cast<int>(rows.integer(row, 0));
    table.schema = rows.str(row, 1);
    table.name = rows.str(row, 2);
    for (auto& name : pg::parse_array(rows.text(row, 3))) {
      table.key.emplace_back().name = name.value_or("");
    }
  }
  co_return tables;
}

}  // namespace pgjanus::capture
