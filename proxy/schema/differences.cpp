#include "proxy/schema/differences.hpp"

#include <nlohmann/json.hpp>

namespace pgjanus {

namespace asio = boost::asio;
using nlohmann::json;

namespace {

const char* const owned_sequences = R"(
SELECT tn.nspname, t.relname, sn.nspname, s.relname FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND d.refobjsubid > 0 AND s.oid >= 16384)";

json pair_of(const QualifiedName& name) { return json::array({name.schema, name.name}); }

QualifiedName name_of(const json& pair) { return {pair.at(0), pair.at(1)}; }

/// Sequences that came to a renamed table since: they stand in its schema.
asio::awaitable<void> add_sequences(pg::Connection& connection, Differences& differences) {
  const auto rows = co_await connection.run(owned_sequences);
  const auto side = differences.side;
  for (int row = 0; row < rows.size(); ++row) {
    const QualifiedName table{rows.str(row, 0), rows.str(row, 1)}, sequence{rows.str(row, 2), rows.str(row, 3)};
    const auto of_source = differences.names.of(side, table);
    const auto of_target = differences.names.on(Side::target, of_source);
    if (of_source.schema == of_target.schema || sequence.schema != table.schema) continue;
    // One that is paired already stays so.
    differences.names.add({{of_source.schema, sequence.name}, {of_target.schema, sequence.name}});
  }
}

}  // namespace

bool Differences::own(const QualifiedName& table, const std::string& column) const {
  const auto found = own_columns.find(table);
  return side == Side::target && found != own_columns.end() && found->second.contains(column);
}

void Differences::apply(TableInfo& table) const {
  table.called = names.of(side, {table.schema, table.name});
  std::erase_if(table.columns, [&](const ColumnInfo& column) { return own(table.called, column.name); });
}

json to_json(const Differences& differences) {
  json names = json::array(), own = json::array(), partitioned = json::array();
  for (const auto& rename : differences.names.renames())
    names.push_back(json::array({pair_of(rename.source), pair_of(rename.target)}));
  for (const auto& [table, columns] : differences.own_columns)
    own.push_back(json::array({pair_of(table), columns}));
  for (const auto& table : differences.partitioned) partitioned.push_back(pair_of(table));
  json keys = json::array();
  for (const auto& [table, columns] : differences.keys) keys.push_back(json::array({pair_of(table), columns}));
  return {{"names", names}, {"own_columns", own}, {"partitioned", partitioned}, {"keys", keys}};
}

Differences differences_from(const json& document, Side side) {
  Differences differences;
  differences.side = side;
  for (const auto& one : document.at("names"))
    differences.names.add({name_of(one.at(0)), name_of(one.at(1))});
  for (const auto& one : document.at("own_columns"))
    differences.own_columns[name_of(one.at(0))] = one.at(1).get<std::set<std::string>>();
  for (const auto& one : document.at("keys"))
    differences.keys[name_of(one.at(0))] = one.at(1).get<std::vector<std::string>>();
  for (const auto& one : document.at("partitioned")) differences.partitioned.insert(name_of(one));
  return differences;
}

asio::awaitable<Differences> read_differences(pg::Connection& connection) {
  const auto there = co_await connection.run("SELECT to_regclass('pgjanus.state') IS NOT NULL");
  if (!there.boolean(0, 0)) co_return Differences{};
  const auto rows = co_await connection.run("SELECT side, coalesce(extra ->> 'differences', '') FROM pgjanus.state");
  if (rows.empty()) co_return Differences{};
  auto document = rows.str(0, 1);
  const auto side = side_from(rows.text(0, 0)).value_or(Side::source);
  auto differences = co_await differences_of(connection, std::move(document), side);
  co_return differences;
}

asio::awaitable<Differences> differences_of(pg::Connection& connection, std::string document, Side side) {
  Differences differences;
  differences.side = side;
  if (document.empty()) co_return differences;
  differences = differences_from(json::parse(document), side);
  if (!differences.names.empty()) co_await add_sequences(connection, differences);
  co_return differences;
}

asio::awaitable<void> store_differences(pg::Connection& connection, const Differences& differences) {
  if (!differences.any()) co_return;
  auto document = pg::params(to_json(differences).dump());
  co_await connection.run("UPDATE pgjanus.state SET extra = extra || "
                          "jsonb_build_object('differences', $1::jsonb)", std::move(document));
}

}  // namespace pgjanus
