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

}  // namespace

std::string place_of(const Shape& shape, const Key& key, const json& doc, const std::string& name) {
  static constexpr std::array<std::string_view, 5> relations{"table", "view", "sequence", "index", "type"};
  static constexpr std::array<std::string_view, 3> indexed{"p", "u", "x"};
  if (name.empty()) return {};
  if (one_of(relations, kind(key))) return thing("relation", number(doc, "ns")) + " " + name;
  if (kind(key) == "column") return thing("column", oid(key)) + " " + name;
  if (kind(key) == "constraint" && one_of(indexed, text(doc, "contype"))) {  // An index has its name.
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

void relate(Step& step, const Shape& before, const Shape& now, const Key& key, const json& doc) {
  const bool of_table = kind(key) == "table" || kind(key) == "column" || kind(key) == "partition";
  if (of_table) {
    if (has(before, "table", oid(key))) step.trees.push_back(root_of(before, oid(key)));
    if (has(now, "table", oid(key))) step.trees.push_back(root_of(now, oid(key)));
  }
  if (step.kind == Step::Kind::drop) {
    step.vacates = place_of(before, key, doc, text(doc, "name"));
    return;
  }
  if (step.kind == Step::Kind::create) {
    step.takes = place_of(now, key, doc, text(doc, "name"));
    if (kind(key) == "table" || kind(key) == "schema") step.makes = thing(kind(key), oid(key));
  }
  const auto on = kind(key) == "column" || kind(key) == "partition" ? oid(key) : number(doc, "on");
  for (const auto table : {on, number(doc, "of")}) {
    if (table != 0 && !has(before, "table", table)) step.needs.push_back(thing("table", table));
  }
  const auto schema = number(doc, "ns");
  if (schema != 0 && !has(before, "schema", schema)) step.needs.push_back(thing("schema", schema));
}

bool waits_for_another(const Step& step, const std::vector<const Step*>& others) {
  return std::any_of(others.begin(), others.end(), [&](const Step* other) {
    if (other == &step) return false;
    if (!step.takes.empty() && other->vacates == step.takes) return true;
    return !other->makes.empty() && std::find(step.needs.begin(), step.needs.end(), other->makes) != step.needs.end();
  });
}

}  // namespace pgjanus::ddl
