#include "proxy/ddl/order.hpp"

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/partitions.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

const std::string& kind(const Key& key) { return std::get<0>(key); }
std::int64_t oid(const Key& key) { return std::get<1>(key); }

template <std::size_t size>
bool one_of(const std::array<std::string_view, size>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string thing(std::string_view what, std::int64_t number) {
  return std::string{what} + " " + std::to_string(number);
}

bool has(const Shape& shape, const char* what, std::int64_t number) { return shape.contains({what, number, 0}); }

bool placed_anew(const Shape& before, const Shape& now, const Key& key) {
  const auto was = before.find(key), is = now.find(key);
  return was != before.end() && is != now.end() &&
         (text(was->second, "name") != text(is->second, "name") || number(was->second, "ns") != number(is->second, "ns"));
}

/// What has to be there, under the name that the step says.
void need(Step& step, const Shape& before, const Shape& now, const char* what, std::int64_t number) {
  if (number == 0) return;
  if (!has(before, what, number)) step.needs.push_back(thing(what, number));
  else if (placed_anew(before, now, {what, number, 0})) step.needs.push_back(placed({what, number, 0}));
}

std::string left_parent(const Key& link) { return thing("left by", oid(link)) + " " + std::to_string(std::get<2>(link)); }

}  // namespace

Hops hops(const Key& key, const json& doc) {
  static constexpr std::array<std::string_view, 4> alone{"type", "function", "table", "view"};
  const int at = rank_of(kind(key));
  if (kind(key) == "schema") return {new_schemas - 2, new_schemas - 1};
  if (one_of(alone, kind(key)) || (kind(key) == "sequence" && number(doc, "owned_by") == 0)) return {at - 50, at};
  return {at + 50, at + 100};
}

std::string placed(const Key& key) { return thing("placed " + kind(key), oid(key)) + " " + std::to_string(std::get<2>(key)); }

bool refuses_rows(const Key& key, const json& doc) {
  static constexpr std::array<std::string_view, 3> indexed{"p", "u", "x"};
  return kind(key) == "constraint" && one_of(indexed, text(doc, "contype"));
}

std::string place_of(const Shape& shape, const Key& key, const json& doc, const std::string& name) {
  static constexpr std::array<std::string_view, 5> relations{"table", "view", "sequence", "index", "type"};
  if (name.empty()) return {};
  if (one_of(relations, kind(key))) return thing("relation", number(doc, "ns")) + " " + name;
  if (kind(key) == "column") return thing("column", oid(key)) + " " + name;
  if (refuses_rows(key, doc)) {  // An index has its name.
    const auto on = shape.find({"table", number(doc, "on"), 0});
    return thing("relation", on == shape.end() ? 0 : number(on->second, "ns")) + " " + name;
  }
  const auto inside = number(doc, "ns") != 0 ? number(doc, "ns") : number(doc, "on");
  const auto label = text(doc, "label");  // Functions of one name differ in their arguments.
  const auto arguments = kind(key) == "function" ? label.find('(') : std::string::npos;
  return thing(kind(key), inside) + " " + name + (arguments == std::string::npos ? "" : label.substr(arguments));
}

std::string place_on_table(const Key& key, const json& doc, const std::string& name) {
  return kind(key) == "constraint" ? thing("constraint", number(doc, "on")) + " " + name : std::string{};
}

std::set<std::string> names_of(const Shape& shape) {
  std::set<std::string> names;
  for (const auto& [key, doc] : shape) {
    names.insert(place_of(shape, key, doc, text(doc, "name")));
    names.insert(place_on_table(key, doc, text(doc, "name")));
  }
  names.erase("");
  return names;
}

void MovedTables::find_later(Step& step, std::int64_t relation) {
  if (!has(before_, "table", relation) || !has(now_, "table", relation)) return;
  if (!std::exchange(found_, true)) find();
  auto later = rewriter_.rewrite(step.sql, TextOf::catalog);
  if (!later) return;
  step.later = std::move(*later);
  step.later_needs = needs_;
}

void MovedTables::find() {
  const auto full_name = [](const Shape& shape, const json& doc) {
    const auto schema = shape.find({"schema", number(doc, "ns"), 0});
    return QualifiedName{schema == shape.end() ? std::string{} : text(schema->second, "name"), text(doc, "name")};
  };
  std::vector<Rewriter::Entry> entries;
  for (auto at = now_.lower_bound({"schema", 0, 0}); at != now_.end() && kind(at->first) == "schema"; ++at) {
    if (placed_anew(before_, now_, at->first)) needs_.push_back(placed(at->first));
  }
  for (auto at = now_.lower_bound({"table", 0, 0}); at != now_.end() && kind(at->first) == "table"; ++at) {
    const auto was = before_.find(at->first);
    if (was == before_.end()) continue;
    const auto from = full_name(before_, was->second), to = full_name(now_, at->second);
    if (from != to) entries.push_back({from, to});
    if (placed_anew(before_, now_, at->first)) needs_.push_back(placed(at->first));
  }
  rewriter_ = Rewriter{std::move(entries)};
}

void relate(Step& step, const Shape& before, const Shape& now, const Key& key, const json& doc) {
  const bool of_table = kind(key) == "table" || kind(key) == "column" || kind(key) == "partition";
  const bool keeps_rows_out = step.kind == Step::Kind::drop && refuses_rows(key, doc);
  if (of_table || keeps_rows_out) {
    const auto relation = of_table ? oid(key) : number(doc, "on");
    if (has(before, "table", relation)) step.trees.push_back(root_of(before, relation));
    if (has(now, "table", relation)) step.trees.push_back(root_of(now, relation));
  }
  // What comes back is the only thing that leaves by its new name.
  const bool back = kind(key) == "partition" && now.contains(key);
  if (step.kind == Step::Kind::drop && !back) {
    step.vacates = place_of(before, key, doc, text(doc, "name"));
    return;
  }
  if (step.kind == Step::Kind::create) {
    step.takes = place_of(now, key, doc, text(doc, "name"));
    if (kind(key) == "table" || kind(key) == "schema") step.makes = thing(kind(key), oid(key));
    if (back) step.needs.push_back(left_parent(key));
  }
  if (step.kind == Step::Kind::drop) step.makes = left_parent(key);
  const auto on = kind(key) == "column" || kind(key) == "partition" ? oid(key) : number(doc, "on");
  for (const auto relation : {on, number(doc, "of")}) {
    const bool view = has(now, "view", relation);
    need(step, before, now, view ? "view" : "table", relation);
    const auto found = now.find({view ? "view" : "table", relation, 0});
    if (found != now.end()) need(step, before, now, "schema", number(found->second, "ns"));
  }
  need(step, before, now, "schema", number(doc, "ns"));
  if (step.kind != Step::Kind::rename) {
    if (placed_anew(before, now, key)) step.needs.push_back(placed(key));
    return;
  }
  const auto was = before.find(key);
  if (was != before.end()) need(step, before, now, "schema", number(was->second, "ns"));
}

std::set<std::int64_t> with_what_follows(const Shape& shape, std::set<std::int64_t> relations) {
  std::vector<std::int64_t> open{relations.begin(), relations.end()};
  const auto find = [&](std::int64_t relation) {
    if (relations.insert(root_of(shape, relation)).second) open.push_back(root_of(shape, relation));
  };
  while (!open.empty()) {
    const auto relation = open.back();
    open.pop_back();
    const auto found = shape.find({"table", relation, 0});
    if (found == shape.end()) continue;
    for (auto at = shape.lower_bound({"partition", 0, 0}); at != shape.end() && kind(at->first) == "partition"; ++at) {
      if (number(at->second, "of") == relation) find(oid(at->first));
    }
    if (text(found->second, "relkind") != "c") continue;
    const auto row_type = number(found->second, "row_type");
    const auto type = text(found->second, "label").substr(std::string_view{"type "}.size());
    for (auto at = shape.lower_bound({"table", 0, 0}); at != shape.end() && kind(at->first) == "table"; ++at) {
      if (row_type != 0 && number(at->second, "of_type") == row_type) find(oid(at->first));
    }
    for (auto at = shape.lower_bound({"column", 0, 0}); at != shape.end() && kind(at->first) == "column"; ++at) {
      const auto of = text(at->second, "text");
      if (of == type || of == type + "[]") find(oid(at->first));
    }
  }
  return relations;
}

bool waits_for_another(const Step& step, const std::vector<const Step*>& others) {
  return std::any_of(others.begin(), others.end(), [&](const Step* other) {
    if (other == &step) return false;
    if (!step.takes.empty() && other->vacates == step.takes) return true;
    return !other->makes.empty() && std::find(step.needs.begin(), step.needs.end(), other->makes) != step.needs.end();
  });
}

}  // namespace pgjanus::ddl
