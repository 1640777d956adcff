#include "proxy/ddl/adopted.hpp"

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/order.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

Key index_of(const json& constraint) { return {"index", number(constraint, "index"), 0}; }

bool alike(const json& one, const json& other) {
  const auto same = [&](const char* field) { return one.value(field, json{}) == other.value(field, json{}); };
  return same("name") && same("ns") && same("on") && same("state") && same("parent");
}

}  // namespace

Adopted::Adopted(const Shape& before, const Shape& now) : before_{before} {
  for (auto at = now.lower_bound({"constraint", 0, 0}); at != now.end() && std::get<0>(at->first) == "constraint"; ++at) {
    const auto index = index_of(at->second);
    // Those of partitions are Postgres' own in part, which attaching brings along (pgjanus.place_index).
    if (!text(at->second, "adopt").empty() && before.contains(index) && !now.contains(index)) indexes_.insert(index);
  }
  std::map<std::string, Key> gone;
  for (auto at = before.lower_bound({"index", 0, 0}); at != before.end() && std::get<0>(at->first) == "index"; ++at) {
    if (!now.contains(at->first)) gone[place_of(before, at->first, at->second, text(at->second, "name"))] = at->first;
  }
  for (auto at = now.lower_bound({"index", 0, 0}); at != now.end() && std::get<0>(at->first) == "index"; ++at) {
    if (before.contains(at->first)) continue;
    const auto was = gone.find(place_of(now, at->first, at->second, text(at->second, "name")));
    if (was == gone.end() || !alike(before.at(was->second), at->second)) continue;
    indexes_.insert(was->second);
    again_[at->first] = was->second;
  }
}

const json* Adopted::made_again(const Key& index) const {
  const auto found = again_.find(index);
  return found == again_.end() ? nullptr : &before_.at(found->second);
}

std::string Adopted::making(const json& constraint) const {
  const auto index = index_of(constraint);
  if (!stays(index)) return {};
  return filled(text(constraint, "adopt"), {pg::quote_literal(text(before_.at(index), "name"))});
}

std::string Adopted::vacated_by(const json& constraint) const {
  const auto index = index_of(constraint);
  if (!stays(index)) return {};
  return place_of(before_, index, before_.at(index), text(before_.at(index), "name"));
}

}  // namespace pgjanus::ddl
