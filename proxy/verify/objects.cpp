#include "proxy/verify/objects.hpp"

#include <algorithm>
#include <set>

#include "proxy/schema/differences.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

// With the table that owns it, so that one of an excluded table is not missed.
const char* const sequences_sql = R"(
SELECT n.nspname, c.relname, coalesce(tn.nspname, ''), coalesce(t.relname, ''), coalesce(a.attname, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pgjanus', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e'))";

asio::awaitable<std::set<std::string>> sequences(pg::Connection& side,
                                                 const std::vector<std::string>& exclude) {
  const auto rows = co_await side.run(sequences_sql);
  const auto differences = co_await read_differences(side);
  std::set<std::string> names;
  for (int i = 0; i < rows.size(); ++i) {
    TableInfo owner;
    owner.called = differences.names.of(differences.side, {rows.str(i, 2), rows.str(i, 3)});
    if (differences.own(owner.called, rows.str(i, 4))) continue;
    const bool excluded = std::any_of(exclude.begin(), exclude.end(), [&](const auto& pattern) {
      return !owner.called.name.empty() && table_matches(pattern, owner);
    });
    const auto name = differences.names.of(differences.side, {rows.str(i, 0), rows.str(i, 1)});
    if (!excluded) names.insert(to_string(name));
  }
  co_return names;
}

Difference object(int table_id, std::string name, const char* kind) {
  Difference difference;
  difference.table_id = table_id;
  difference.table = std::move(name);
  difference.kind = kind;
  return difference;
}

}  // namespace

const TableInfo* listed_with_id(const std::vector<TableInfo>& tables, int id) {
  const auto found = std::lower_bound(tables.begin(), tables.end(), id,
                                      [](const TableInfo& table, int wanted) { return table.id < wanted; });
  return found == tables.end() || found->id != id ? nullptr : &*found;
}

asio::awaitable<std::vector<Difference>> compare_objects(pg::Connection& primary,
                                                         pg::Connection& mirror,
                                                         const std::vector<TableInfo>& on_primary,
                                                         const std::vector<TableInfo>& on_mirror,
                                                         const std::vector<std::string>& exclude) {
  std::vector<Difference> differences;
  std::set<std::string> listed;
  for (const auto& table : on_primary) {
    listed.insert(table.display());
    const auto* twin = listed_with_id(on_mirror, table.id);
    const bool here = table.oid != 0, there = twin != nullptr && twin->oid != 0;
    if (here == there) continue;
    differences.push_back(object(table.id, table.display(), here ? "missing" : "extra"));
  }
  const auto present = co_await discover_names(primary, exclude);
  for (const auto& table : present) {
    if (listed.contains(table.display())) continue;
    differences.push_back(object(0, table.display(), "missing"));
  }
  const auto here = co_await sequences(primary, exclude);
  const auto there = co_await sequences(mirror, exclude);
  for (const auto& name : here) {
    if (!there.contains(name)) differences.push_back(object(0, name, "missing"));
  }
  for (const auto& name : there) {
    if (!here.contains(name)) differences.push_back(object(0, name, "extra"));
  }
  co_return differences;
}

}  // namespace pgjanus::verify
