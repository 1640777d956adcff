// looking DATABASE: for each line on stdin a look at the catalog that reads only what changed since the one before, and one
// that reads all under the same snapshot. Prints what was read and where the two differ, one JSON object a look. For the
// integration test of proxy/ddl/marks.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/engine/databases.hpp"
#include "proxy/log.hpp"

using namespace pgjanus;
using nlohmann::json;

namespace {

struct Look {
  ddl::Marks marks;
  ddl::Shape shape;
  ddl::Found found;
};

void compare(json& differs, const std::string& what, const json& partly, const json& wholly) {
  if (partly != wholly) differs.push_back({{"what", what}, {"partly", partly}, {"wholly", wholly}});
}

json described(const ddl::Shape& shape, const ddl::Key& key) {
  const auto found = shape.find(key);
  if (found == shape.end()) return nullptr;
  auto doc = found->second;
  auto props = ddl::props_of(doc);
  if (!props.is_null()) doc["props"] = std::move(props);
  return doc;
}

/// Without pages, which nobody looks at who looks again.
json described(const TableInfo& table) {
  json columns = json::array(), key = json::array(), relations = json::array();
  for (const auto& one : table.columns) {
    columns.push_back({one.name, one.type, one.plain_type, one.has_array_type, one.not_null, one.identity_always, one.text_depends});
  }
  for (const auto& one : table.key) key.push_back({one.name, one.plain_type, one.equals, one.collate, one.text_depends});
  for (const auto& one : table.relations) relations.push_back({one.oid, one.schema, one.name, std::string{one.kind}});
  return {{"oid", table.oid}, {"name", table.display()}, {"kind", std::string{table.kind}}, {"inheritance", table.inheritance},
          {"unlogged", table.unlogged}, {"columns", columns}, {"key", key}, {"deferrable", table.key_deferrable},
          {"indexed", table.key_indexed}, {"unique", table.other_unique}, {"relations", relations}};
}

json described(const std::vector<TableInfo>& tables) {
  json all = json::object();
  for (const auto& table : tables) all[std::to_string(table.oid)] = described(table);
  return all;
}

boost::asio::awaitable<json> look(pg::Connection& connection, Look& last) {
  co_await connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
  auto seen = co_await ddl::read_marks(connection);
  auto changed = ddl::changed_between(last.marks, seen);
  std::optional<ddl::Shape> partly;
  if (changed) partly = co_await ddl::read_changed(connection, last.shape, *changed);
  if (!partly) changed.reset();
  auto wholly = co_await ddl::read_shape(connection);
  const auto candidates = co_await ddl::candidates(connection, {}, {}, last.found, seen);
  const auto discovered = co_await discover_tables(connection, {});
  co_await connection.run("COMMIT");
  json differs = json::array();
  if (partly) {
    std::set<ddl::Key> keys;
    for (const auto& [key, doc] : *partly) keys.insert(key);
    for (const auto& [key, doc] : wholly) keys.insert(key);
    for (const auto& key : keys) {
      const auto& [kind, oid, sub] = key;
      compare(differs, kind + " " + std::to_string(oid) + " " + std::to_string(sub), described(*partly, key), described(wholly, key));
    }
  }
  compare(differs, "tables", described(candidates.tables), described(discovered));
  json result{{"relations", changed ? static_cast<int>(changed->size()) : -1}, {"differs", std::move(differs)}};
  // What a partial look gets wrong is to be seen at the next one, too.
  last.shape = partly ? std::move(*partly) : std::move(wholly);
  last.marks = std::move(seen);
  co_return result;
}

boost::asio::awaitable<void> run(const Databases& databases) {
  auto connection = co_await databases.open(Side::source, "looking");
  Look last;
  for (std::string line; std::getline(std::cin, line);) {
    const auto result = co_await look(*connection, last);
    std::cout << result.dump() << std::endl;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "looking DATABASE\n";
    return 1;
  }
  configure_log(LogLevel::info, LogFormat::text);
  const Databases databases{{UrlSource::literal(arguments[1]), UrlSource::literal(arguments[1])}};
  boost::asio::io_context context;
  boost::asio::co_spawn(context, run(databases), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  context.run();
  return 0;
}
