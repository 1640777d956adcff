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

bool is_table(const Shape& shape, std::int64_t relation) {
  const auto found = shape.find({"table", relation, 0});
  return found != shape.end() && (text(found->second, "relkind") == "r" || text(found->second, "relkind") == "p");
}

/// Columns whose catalog rows are others than before, by their names before and now.
struct Written {
  std::set<std::string> all, unexplained;  // Unexplained: nothing in them changed.
  bool all_at_once = true;                 // Every column, unexplained, by one transaction.
  std::string writer = {};
};

void note_written(Written& written, const Shape& before, const Shape::value_type& column) {
  const auto& [key, doc] = column;
  const auto was = before.find(key);
  const auto writer = text(doc, "xmin");
  if (was == before.end() || writer.empty() || text(was->second, "xmin") == writer) {
    written.all_at_once = false;
    return;
  }
  const auto same = [&](const char* field) { return was->second.value(field, json{}) == doc.value(field, json{}); };
  const bool as_it_was = same("name") && same("inherited") && same("local") && same("acl") && same("missing") &&
                         same_values(was->second, doc);
  if (written.writer.empty()) written.writer = writer;
  written.all_at_once = written.all_at_once && as_it_was && writer == written.writer;
  for (const auto& name : {text(was->second, "name"), text(doc, "name")}) {
    written.all.insert(name);
    if (as_it_was) written.unexplained.insert(name);
  }
}

/// Whether all columns that the relation had all the time are such as were written in the child, one of them unexplained.
bool may_have_been_above(const Written& child, const Shape& before, const Shape& now, std::int64_t relation) {
  const bool stayed = before.contains({"table", relation, 0}) && now.contains({"table", relation, 0});
  bool unexplained = false;
  for (const auto* shape : {&before, &now}) {
    const auto& other = shape == &before ? now : before;
    for (auto at = shape->lower_bound({"column", relation, 0});
         at != shape->end() && std::get<0>(at->first) == "column" && std::get<1>(at->first) == relation; ++at) {
      const auto twin = other.find(at->first);
      if (stayed && twin == other.end()) continue;
      const auto name = text(at->second, "name"), also = twin == other.end() ? name : text(twin->second, "name");
      if (!child.all.contains(name) && !child.all.contains(also)) return false;
      unexplained = unexplained || child.unexplained.contains(name) || child.unexplained.contains(also);
    }
  }
  return unexplained;
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

Passed passed_through(const Shape& before, const Shape& now, const Rejoined& back) {
  Passed passed;
  std::map<std::int64_t, Written> written;
  for (auto at = now.lower_bound({"column", 0, 0}); at != now.end() && std::get<0>(at->first) == "column"; ++at) {
    note_written(written[std::get<1>(at->first)], before, *at);
  }
  for (const auto& [child, columns] : written) {
    if (columns.unexplained.empty() || back.contains(child) || !is_table(now, child) || !is_table(before, child)) continue;
    std::set<std::int64_t> parents;
    for (const auto* shape : {&before, &now}) {
      for (auto at = shape->lower_bound({"table", 0, 0}); at != shape->end() && std::get<0>(at->first) == "table"; ++at) {
        const auto other = std::get<1>(at->first);
        const bool own = other == root_of(before, child) || other == root_of(now, child) ||
                         before.contains({"partition", child, other}) || now.contains({"partition", child, other});
        if (!own && is_table(*shape, other) && may_have_been_above(columns, before, now, other)) parents.insert(other);
      }
    }
    if (!parents.empty() || columns.all_at_once) passed.children.insert(root_of(now, child));
    for (const auto parent : parents) passed.parents.insert(root_of(now, parent));
  }
  return passed;
}

asio::awaitable<void> leave_others_rows(pg::Connection& primary, std::vector<Step>& steps) {
  const auto empties = [](const Step& step) { return step.kind == Step::Kind::empty; };
  if (std::none_of(steps.begin(), steps.end(), empties)) co_return;
  const auto tables = co_await stored_tables(primary);
  std::set<std::int64_t> listed;
  for (const auto& table : tables) listed.insert(static_cast<std::int64_t>(table.oid));
  std::erase_if(steps, [&](const Step& step) {
    return empties(step) && !step.trees.empty() && !listed.contains(step.trees.back());
  });
}

asio::awaitable<void> note_rejoined(pg::Connection& primary, Rejoined partitions) {
  const auto tables = co_await stored_tables(primary);
  for (const auto& table : tables) {
    for (const auto& relation : table.relations) {
      if (!partitions.contains(relation.oid)) continue;
      const auto name = pg::qualified(relation.schema, relation.name);
      const auto sql = "BEGIN; " + note_sql(table, relation) + "; " + still_named_sql(table, name) + "; COMMIT";
      std::optional<pg::Error> failure;
      try {
        co_await primary.run(sql, note_limit);
      } catch (const pg::Error& error) {
        failure = error;
      }
      if (!failure) continue;
      failure->message = "keys of " + name + ": " + failure->message;  // A lock's timeout names nothing.
      throw *failure;
    }
  }
}

}  // namespace pgjanus::ddl
