// The primary's tables that are to be listed, described again where they changed.

#include <algorithm>
#include <map>

#include "proxy/ddl/listing.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;

namespace {

// Relations that triggers of ours cannot or must not be put on.
const char* const beyond_us_sql = R"(
SELECT c.oid::bigint, 'it belongs to ' || pg_get_userbyid(c.relowner) FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 AND NOT pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT i.inhparent::bigint, 'it has a foreign table as a partition'
FROM pg_inherits i JOIN pg_class f ON f.oid = i.inhrelid AND f.relkind = 'f' AND f.relispartition)";

bool excluded(const TableInfo& table, const std::vector<std::string>& exclude) {
  return std::any_of(exclude.begin(), exclude.end(),
                     [&](const std::string& pattern) { return table_matches(pattern, table); });
}

}  // namespace

asio::awaitable<Candidates> candidates(pg::Connection& primary, const std::vector<Listed>& listing,
                                       const std::vector<std::string>& exclude, Found& known, Marks now) {
  auto changed = changed_between(known.marks, now);
  known.marks.clear();  // Until all is read.
  if (!changed) {
    known.whole.clear();
    known.tables = co_await discover_tables(primary, {});
  } else if (!changed->empty()) {
    std::erase_if(known.whole, [&](const auto& one) { return changed->contains(one.second); });
    std::erase_if(known.tables, [&](const TableInfo& table) { return has_one_of(table, *changed); });
    auto again = co_await discover_again(primary, *changed);
    for (auto& table : again) known.tables.push_back(std::move(table));
  }
  known.marks = std::move(now);
  Candidates found;
  found.tables = known.tables;
  auto foreign = co_await primary.run(beyond_us_sql);
  std::map<std::int64_t, std::string> reasons;
  for (int row = 0; row < foreign.size(); ++row) reasons[foreign.integer(row, 0)] = foreign.str(row, 1);
  std::set<std::pair<std::string, std::string>> listed;
  for (const auto& one : listing) listed.emplace(one.schema, one.name);
  std::erase_if(found.tables, [&](const TableInfo& table) {
    const auto name = table.by_source();
    if (listed.contains({name.schema, name.name})) return false;
    if (excluded(table, exclude)) return true;
    for (const auto& relation : table.relations) {
      const auto reason = reasons.find(relation.oid);
      if (reason == reasons.end()) continue;
      found.beyond_us.insert(table.display() + ": " + reason->second);
      return true;
    }
    return false;
  });
  co_return found;
}

std::vector<TableInfo> unsure(const std::vector<TableInfo>& tables, const Found& found) {
  std::vector<TableInfo> some;
  for (const auto& table : tables) {
    if (!found.whole.contains({table.id, table.oid})) some.push_back(table);
  }
  return some;
}

}  // namespace pgjanus::ddl
