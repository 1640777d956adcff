#include "proxy/ddl/partitions.hpp"

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/listing.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;
using nlohmann::json;

namespace {

constexpr pg::Duration note_limit{600'000};

/// The link that makes a relation a partition: there is one at most.
Shape::const_iterator link_of(const Shape& shape, std::int64_t relation) {
  const auto at = shape.lower_bound({"partition", relation, 0});
  const bool found = at != shape.end() && std::get<0>(at->first) == "partition" && std::get<1>(at->first) == relation &&
                     flag(at->second, "partition");
  return found ? at : shape.end();
}

bool same_link(const Shape::const_iterator& was, const Shape::const_iterator& is) {
  if (was->first != is->first || text(was->second, "state") != text(is->second, "state")) return false;
  // What an earlier version has stored does not tell.
  return text(was->second, "xmin").empty() || text(was->second, "xmin") == text(is->second, "xmin");
}

/// Of what statements set; their texts name objects that may have been renamed.
bool same_values(const json& was, const json& is) {
  const auto old = props_of(was), now = props_of(is);
  if (!old.is_object() || !now.is_object()) return old == now;
  return old.size() == now.size() && std::all_of(now.items().begin(), now.items().end(), [&](const auto& property) {
    return old.contains(property.key()) && old[property.key()].value("v", json{}) == property.value().value("v", json{});
  });
}

}  // namespace

std::int64_t root_of(const Shape& shape, std::int64_t relation) {
  for (int depth = 0; depth < 100; ++depth) {
    const auto link = link_of(shape, relation);
    if (link == shape.end()) break;
    relation = number(link->second, "of");
  }
  return relation;
}

Rejoined rejoined(const Shape& before, const Shape& now) {
  Rejoined found;
  for (auto is = now.lower_bound({"partition", 0, 0}); is != now.end() && std::get<0>(is->first) == "partition"; ++is) {
    if (!flag(is->second, "partition")) continue;
    const auto relation = std::get<1>(is->first);
    const auto was = link_of(before, relation);
    if (was == before.end() || same_link(was, is) || root_of(before, relation) != root_of(now, relation)) continue;
    found[relation] = text(is->second, "xmin");
  }
  return found;
}

std::string missing_value(const Shape& now, const Key& key, const json& doc) {
  auto value = text(doc, "missing");
  const auto on = now.find({"table", std::get<1>(key), 0});
  if (value.empty() && on != now.end() && text(on->second, "relkind") == "p") {
    const auto root = root_of(now, std::get<1>(key));
    for (auto at = now.lower_bound({"column", 0, 0}); at != now.end() && std::get<0>(at->first) == "column"; ++at) {
      const auto& [other, column] = *at;
      if (text(column, "name") != text(doc, "name") || root_of(now, std::get<1>(other)) != root) continue;
      value = text(column, "missing");
      if (!value.empty()) break;
    }
  }
  return value.empty() ? value : value + "; " + text(doc, "undefault");
}

std::set<std::int64_t> rewritten(const Shape& before, const Shape& now, const std::set<std::int64_t>& roots) {
  std::set<std::int64_t> found;
  if (roots.empty()) return found;
  for (auto at = now.lower_bound({"table", 0, 0}); at != now.end() && std::get<0>(at->first) == "table"; ++at) {
    const auto& [key, doc] = *at;
    const auto was = before.find(key);
    if (text(doc, "relkind") != "r" || was == before.end() || number(was->second, "file") == number(doc, "file")) continue;
    const auto root = root_of(now, std::get<1>(key));
    if (roots.contains(root)) found.insert(root);
  }
  return found;
}

std::set<std::int64_t> passed_through(const Shape& before, const Shape& now, const Rejoined& back) {
  std::set<std::int64_t> found;
  std::int64_t relation = 0;
  std::string writer;  // Of all columns so far; empty: not one for all.
  const auto end = [&] {
    if (!writer.empty() && !back.contains(relation)) found.insert(root_of(now, relation));
  };
  for (auto at = now.lower_bound({"column", 0, 0}); at != now.end() && std::get<0>(at->first) == "column"; ++at) {
    const bool first = std::get<1>(at->first) != relation;
    if (first) {
      end();
      relation = std::get<1>(at->first);
      writer = text(at->second, "xmin");
    }
    const auto was = before.find(at->first);
    if (writer.empty() || was == before.end() || text(at->second, "xmin") != writer || text(was->second, "xmin") == writer) {
      writer.clear();
      continue;
    }
    const auto same = [&](const char* field) { return was->second.value(field, json{}) == at->second.value(field, json{}); };
    const bool as_it_was = same("name") && same("inherited") && same("local") && same_values(was->second, at->second);
    if (!as_it_was) writer.clear();
  }
  end();
  return found;
}

asio::awaitable<void> note_rejoined(pg::Connection& primary, Rejoined partitions) {
  const auto tables = co_await stored_tables(primary);
  for (const auto& table : tables) {
    for (const auto& relation : table.relations) {
      if (!partitions.contains(relation.oid)) continue;
      const auto name = pg::qualified(relation.schema, relation.name);
      const auto sql = "BEGIN; " + note_sql(table, relation) + "; " + still_named_sql(table, name) + "; COMMIT";
      co_await primary.run(sql, note_limit);
    }
  }
}

}  // namespace pgjanus::ddl
