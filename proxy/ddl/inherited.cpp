#include "proxy/ddl/inherited.hpp"

#include "proxy/ddl/document.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

std::optional<Key> column_called(const Shape& shape, std::int64_t relation, const std::string& name) {
  for (auto at = shape.lower_bound({"column", relation, 0});
       at != shape.end() && std::get<0>(at->first) == "column" && std::get<1>(at->first) == relation; ++at) {
    if (text(at->second, "name") == name) return at->first;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Key> Inherited::above(const Shape& shape, const Key& column) const {
  std::vector<Key> found;
  const auto doc = shape.find(column);
  if (doc == shape.end()) return found;
  const auto child = std::get<1>(column);
  for (auto link = before_.lower_bound({"partition", child, 0});
       link != before_.end() && std::get<0>(link->first) == "partition" && std::get<1>(link->first) == child; ++link) {
    if (!now_.contains(link->first)) continue;
    const auto parents = column_called(shape, std::get<2>(link->first), text(doc->second, "name"));
    if (parents) found.push_back(*parents);
  }
  return found;
}

std::vector<Key> Inherited::below(const Shape& shape, const Key& column) const {
  std::vector<Key> found;
  const auto doc = shape.find(column);
  if (doc == shape.end()) return found;
  for (auto link = before_.lower_bound({"partition", 0, 0});
       link != before_.end() && std::get<0>(link->first) == "partition"; ++link) {
    if (std::get<2>(link->first) != std::get<1>(column) || !now_.contains(link->first)) continue;
    const auto childs = column_called(shape, std::get<1>(link->first), text(doc->second, "name"));
    if (childs) found.push_back(*childs);
  }
  return found;
}

bool Inherited::of_type(const Key& column) const {
  const Key table{"table", std::get<1>(column), 0};
  const auto was = before_.find(table), is = now_.find(table);
  return was != before_.end() && is != now_.end() && number(is->second, "of_type") != 0 &&
         number(was->second, "of_type") == number(is->second, "of_type");
}

bool Inherited::comes_along(const Key& column) const {
  if (of_type(column)) return true;
  const auto parents = above(now_, column);
  // One that the child was given by itself came first, and its parent's was merged with it.
  return !flag(now_.at(column), "local") &&
         std::any_of(parents.begin(), parents.end(), [&](const Key& key) { return !before_.contains(key); });
}

bool Inherited::renamed_along(const Key& column) const {
  if (of_type(column)) return true;
  const auto parents = above(before_, column);
  return std::any_of(parents.begin(), parents.end(), [&](const Key& key) { return now_.contains(key); });
}

bool Inherited::retyped_along(const Key& column) const {
  if (of_type(column)) return true;
  const auto parents = above(now_, column);
  return std::any_of(parents.begin(), parents.end(), [&](const Key& key) { return before_.contains(key); });
}

bool Inherited::dropped_along(const Key& column) const {
  if (of_type(column)) return true;
  const auto parents = above(before_, column);
  return std::any_of(parents.begin(), parents.end(), [&](const Key& key) { return !now_.contains(key); });
}

bool Inherited::spared_below(const Key& column) const {
  const auto children = below(before_, column);
  return std::any_of(children.begin(), children.end(), [&](const Key& key) {
    const auto stays = now_.find(key);
    return stays == now_.end() ? spared_below(key) : flag(stays->second, "local");
  });
}

std::string Inherited::dropping(const Key& column, const json& doc) const {
  const auto only = text(doc, "drop_only");
  auto sql = text(doc, "drop");
  if (only.empty()) return sql;  // Partitions have just the columns of their parent.
  if (spared_below(column)) sql = only;
  // Also those that their parent's statement leaves, as they were given to the child itself.
  for (const auto& key : below(before_, column)) {
    if (!now_.contains(key)) sql += "; " + dropping(key, before_.at(key));
  }
  return sql;
}

std::string Inherited::coming_back(const Key& link, const json& old, const json& doc) const {
  const auto was = text(old, "xmin"), is = text(doc, "xmin");  // What an earlier version has stored does not tell.
  if (std::get<0>(link) != "partition" || flag(old, "partition") || flag(doc, "partition")) return {};
  return was.empty() || is.empty() || was == is ? std::string{} : text(old, "drop") + "; " + text(old, "create");
}

}  // namespace pgjanus::ddl
