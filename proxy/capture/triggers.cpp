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

struct Operation {
  std::string_view name;  // Also the SQL word.
  int event;
  bool reads_old, reads_new;
};
constexpr Operation operations[] = {{"insert", on_insert, false, true},
                                    {"update", on_update, true, true},
                                    {"delete", on_delete, true, false},
                                    {"truncate", on_truncate, false, false}};
constexpr std::string_view guard_trigger = "pgjanus_guard";

/// One relation of a table as the catalog has it, with the triggers of ours on it.
struct Standing {
  int table_id = 0;
  std::string sql_name;
  bool inheritance = false;
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
                        .triggers = json::parse(rows.text(row, 4))});
  }
  co_return standing;
}

std::string trigger_name(const Operation& operation) {
  return "pgjanus_" + std::string{operation.name};
}

/// Whether a trigger is the one that capture needs here, apart from its mode.
bool fits(const json& trigger, const Standing& relation, const Operation& operation) {
  const bool per_row = relation.inheritance && operation.event != on_truncate;
  const auto names = [&](const char* key, bool reads, std::string_view table) {
    const auto& value = trigger.at(key);
    return reads && !per_row ? value == table : value.is_null();
  };
  return trigger.at("function") == function_name(relation.table_id, operation.name) &&
         trigger.at("type") == (operation.event | (per_row ? row_level : 0)) &&
         !trigger.at("narrowed").get<bool>() && names("old", operation.reads_old, "old_rows") &&
         names("new", operation.reads_new, "new_rows");
}

bool always(const json& trigger) { return trigger.at("enabled") == "A"; }

std::string create(const Standing& relation, const Operation& operation) {
  const bool per_row = relation.inheritance && operation.event != on_truncate;
  std::string text = "CREATE TRIGGER " + trigger_name(operation) + " AFTER " +
                     std::string{operation.name} + " ON " + relation.sql_name;
  if (!per_row && (operation.reads_old || operation.reads_new)) {
    text += " REFERENCING";
    if (operation.reads_old) text += " OLD TABLE AS old_rows";
    if (operation.reads_new) text += " NEW TABLE AS new_rows";
  }
  return text + (per_row ? " FOR EACH ROW" : " FOR EACH STATEMENT") + " EXECUTE FUNCTION pgjanus." +
         function_name(relation.table_id, operation.name) + "();\n";
}

std::string enable(const Standing& relation, std::string_view trigger) {
  return "ALTER TABLE ONLY " + relation.sql_name + " ENABLE ALWAYS TRIGGER " +
         std::string{trigger} + ";\n";
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
  for (const auto& operation : operations) {
    const auto name = trigger_name(operation);
    const json* trigger = relation.trigger(name);
    if (trigger != nullptr && fits(*trigger, relation, operation)) {
      if (!always(*trigger)) creates += enable(relation, name);
      continue;
    }
    if (trigger != nullptr) drops += drop(relation, name);
    creates += create(relation, operation) + enable(relation, name);
  }
  if (relation.trigger(guard_trigger) != nullptr) drops += drop(relation, guard_trigger);
  return {drops, creates};
}

std::pair<std::string, std::string> toward_guard(const Standing& relation) {
  std::string drops, creates;
  for (const auto& operation : operations) {
    const auto name = trigger_name(operation);
    if (relation.trigger(name) != nullptr) drops += drop(relation, name);
  }
  const json* guard = relation.trigger(guard_trigger);
  if (guard == nullptr) {
    creates += "CREATE TRIGGER " + std::string{guard_trigger} +
               " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON " + relation.sql_name +
               " FOR EACH STATEMENT EXECUTE FUNCTION pgjanus.guard();\n";
  }
  if (guard == nullptr || !always(*guard)) creates += enable(relation, guard_trigger);
  return {drops, creates};
}

template <class Toward>
std::vector<Step> steps_toward(const std::vector<Standing>& relations, Toward toward) {
  std::vector<Step> steps;
  for (const auto& relation : relations) {
    auto [drops, creates] = toward(relation);
    if (drops.empty() && creates.empty()) continue;
    steps.push_back(locked(relation.sql_name, std::move(drops), std::move(creates)));
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
  const auto relations = co_await look(connection, tables);
  std::vector<int> ids;
  for (const auto& relation : relations) {
    const bool complete =
        std::all_of(std::begin(operations), std::end(operations), [&](const Operation& operation) {
          const json* trigger = relation.trigger(trigger_name(operation));
          return trigger != nullptr && fits(*trigger, relation, operation) && always(*trigger);
        });
    if (!complete && (ids.empty() || ids.back() != relation.table_id)) {
      ids.push_back(relation.table_id);
    }
  }
  co_return ids;
}

}  // namespace pgjanus::capture
