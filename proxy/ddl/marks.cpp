#include "proxy/ddl/marks.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "proxy/ddl/document.hpp"
#include "proxy/schema/differences.hpp"
#include "sql_texts.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration look_limit{60'000};
constexpr std::size_t changed_max = 200;  // Beyond these, and a third of all, the whole is read.

std::string_view name_in(std::string_view mark) { return mark.substr(0, mark.rfind(' ')); }

/// The relation that an object stands or falls with; 0: none.
std::int64_t relation_of(const Key& key, const nlohmann::json& doc) {
  const std::string_view kind = std::get<0>(key);
  static constexpr std::array<std::string_view, 5> relations{"table", "column", "partition", "view", "sequence"};
  static constexpr std::array<std::string_view, 5> on_relations{"index", "rule", "trigger", "policy", "statistics"};
  const auto in = [&](const auto& list) { return std::find(list.begin(), list.end(), kind) != list.end(); };
  if (in(relations)) return std::get<1>(key);
  if (in(on_relations)) return number(doc, "on");
  // Those of domains stand on types.
  return kind == "constraint" && !text(doc, "contype").empty() ? number(doc, "on") : 0;
}

/// Whether both have the name by which other objects' statements call them: at least those of comments do so with all.
bool same_name(const nlohmann::json& before, const nlohmann::json& now) {
  return text(before, "name") == text(now, "name") && number(before, "ns") == number(now, "ns");
}

}  // namespace

asio::awaitable<Marks> read_marks(pg::Connection& connection) {
  auto rows = co_await connection.kept(std::string{sql::ddl_probe}, {}, look_limit);
  Marks marks;
  for (int row = 0; row < rows.size(); ++row) {
    const auto oid = rows.integer(row, 0), of = rows.integer(row, 1);
    if (of != 0) {
      marks.links.emplace(oid, of);
    } else if (oid != 0) {
      marks.relations.emplace(oid, rows.str(row, 2));
    } else {
      marks.rest = rows.str(row, 2);
    }
  }
  co_return marks;
}

std::optional<std::set<std::int64_t>> changed_between(const Marks& before, const Marks& now) {
  if (before.empty() || before.rest != now.rest) return std::nullopt;
  std::set<std::int64_t> changed;
  bool renamed = false;
  const auto compare = [&](const Marks& one, const Marks& other) {
    for (const auto& [oid, mark] : one.relations) {
      const auto found = other.relations.find(oid);
      if (found != other.relations.end() && found->second == mark) continue;
      changed.insert(oid);
      renamed = renamed || (found != other.relations.end() && name_in(found->second) != name_in(mark));
    }
    for (const auto& link : one.links) {
      if (!other.links.contains(link)) changed.insert({link.first, link.second});
    }
  };
  compare(before, now);
  compare(now, before);
  if (renamed) return std::nullopt;
  // Trees are as deep as somebody made them.
  std::multimap<std::int64_t, std::int64_t> beside;
  for (const auto* marks : {&before, &now}) {
    for (const auto& [one, other] : marks->links) {
      beside.emplace(one, other);
      beside.emplace(other, one);
    }
  }
  std::vector<std::int64_t> open{changed.begin(), changed.end()};
  while (!open.empty()) {
    const auto [from, to] = beside.equal_range(open.back());
    open.pop_back();
    for (auto at = from; at != to; ++at) {
      if (changed.insert(at->second).second) open.push_back(at->second);
    }
  }
  if (changed.size() > changed_max && 3 * changed.size() > now.relations.size()) return std::nullopt;
  return changed;
}

asio::awaitable<std::optional<Shape>> read_changed(pg::Connection& connection, const Shape& known,
                                                   std::set<std::int64_t> relations) {
  const auto differences = co_await read_differences(connection);
  if (differences.any()) co_return std::nullopt;
  std::string list = "{";
  for (const auto oid : relations) list += (list.size() > 1 ? "," : "") + std::to_string(oid);
  auto parameters = pg::params(list + "}");
  // A plan that was made for a small catalog is wrong for a large one.
  auto statement = shape_sql("c.oid = ANY ($1::oid[])", "false") + "-- " + std::to_string(std::bit_width(known.size()));
  auto rows = co_await connection.kept(std::move(statement), std::move(parameters), look_limit);
  Shape read;
  for (int row = 0; row < rows.size(); ++row) {
    read.emplace(Key{rows.str(row, 0), rows.integer(row, 1), rows.integer(row, 2)},
                 folded(nlohmann::json::parse(rows.text(row, 3))));
  }
  Shape now;
  for (const auto& [key, doc] : known) {
    if (!relations.contains(relation_of(key, doc))) {
      now.emplace_hint(now.end(), key, doc);
      continue;
    }
    const auto found = read.find(key);
    if (found != read.end() && !same_name(doc, found->second)) co_return std::nullopt;
  }
  now.merge(read);
  co_return now;
}

bool has_one_of(const TableInfo& table, const std::set<std::int64_t>& relations) {
  return std::any_of(table.relations.begin(), table.relations.end(),
                     [&](const RelationInfo& one) { return relations.contains(one.oid); });
}

}  // namespace pgjanus::ddl
