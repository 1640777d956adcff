// Changes of the catalog that give values another place or meaning (README.md, "Looked at too late").

#include "proxy/ddl/displaced.hpp"

#include <map>

#include "proxy/ddl/document.hpp"

namespace pgjanus::ddl {

namespace {

bool other_values(const Key& key, const nlohmann::json& was, const nlohmann::json& is) {
  const auto& kind = std::get<0>(key);
  if (kind == "type") return was.value("labels", nlohmann::json{}) != is.value("labels", nlohmann::json{});
  if (kind == "function" || kind == "partition") return text(was, "state") != text(is, "state");
  if (kind != "column") return false;
  if (text(was, "name") != text(is, "name")) return true;
  const auto old = props_of(was), now = props_of(is);
  return old.is_object() && now.is_object() && old.value("generated", nlohmann::json{}) != now.value("generated", nlohmann::json{});
}

}  // namespace

bool displaces(const Shape& before, const Shape& now) {
  return std::any_of(before.begin(), before.end(), [&](const auto& one) {
    const auto& [key, was] = one;
    const auto is = now.find(key);
    // Values of a composite type travel by the places of its attributes.
    const auto of = std::get<0>(key) == "column" ? before.find({"table", std::get<1>(key), 0}) : before.end();
    const bool attribute = of != before.end() && text(of->second, "relkind") == "c";
    if (is == now.end()) return attribute || (std::get<0>(key) == "partition" && flag(was, "partition"));
    if (attribute && props_of(was) != props_of(is->second)) return true;
    return was != is->second && other_values(key, was, is->second);
  });
}

bool relabels(const Shape& before, const Shape& now) {
  return std::any_of(before.lower_bound({"type", 0, 0}), before.end(), [&](const auto& one) {
    const auto is = std::get<0>(one.first) == "type" ? now.find(one.first) : now.end();
    if (is == now.end()) return false;
    std::map<std::int64_t, std::string> labels;
    for (const auto& label : is->second.value("labels", nlohmann::json{})) labels[label[0].template get<std::int64_t>()] = label[1].template get<std::string>();
    const auto old = one.second.value("labels", nlohmann::json{});
    return std::any_of(old.begin(), old.end(), [&](const auto& label) {
      const auto found = labels.find(label[0].template get<std::int64_t>());
      return found != labels.end() && found->second != label[1].template get<std::string>();
    });
  });
}

bool renamed_late(const Shape& before, const Shape& now, std::int64_t table, const std::optional<Snapshot>& boundary) {
  for (auto at = before.lower_bound({"column", table, 0}); at != before.end(); ++at) {
    const auto& [key, was] = *at;
    if (std::get<0>(key) != "column" || std::get<1>(key) != table) break;
    const auto is = now.find(key);
    if (is != now.end() && text(was, "name") != text(is->second, "name") && changed_before(is->second, boundary)) return true;
  }
  return false;
}

}  // namespace pgjanus::ddl
