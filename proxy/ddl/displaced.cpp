// Changes of the catalog that give values another place or meaning (README.md, "Looked at too late").

#include "proxy/ddl/displaced.hpp"

#include <map>

#include "proxy/ddl/document.hpp"
#include "sql_texts.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration columns_limit{60'000};

/// Of those that are there at both times; `between`: also where they had others in between, as each change writes the row.
bool other_labels(const nlohmann::json& was, const nlohmann::json& is, bool between) {
  std::map<std::int64_t, nlohmann::json> labels;
  for (const auto& label : is.value("labels", nlohmann::json{})) labels[label[0].get<std::int64_t>()] = label;
  const auto old = was.value("labels", nlohmann::json{});
  return std::any_of(old.begin(), old.end(), [&](const auto& label) {
    const auto found = labels.find(label[0].template get<std::int64_t>());
    if (found == labels.end()) return false;
    const bool dated = label.size() > 2 && found->second.size() > 2;  // Not by an older version.
    return found->second[1] != label[1] || (between && dated && found->second[2] != label[2]);
  });
}

bool other_type(const nlohmann::json& was, const nlohmann::json& is) {
  // A view's columns have none.
  const auto type = [](const nlohmann::json& doc) {
    const auto props = props_of(doc);
    const auto found = props.is_object() ? props.find("type") : props.end();
    return found != props.end() && found->is_object() ? text(*found, "v") : std::string{};
  };
  return type(was) != type(is);
}

bool other_values(const Key& key, const nlohmann::json& was, const nlohmann::json& is) {
  const auto& kind = std::get<0>(key);
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
    if (is == now.end()) return std::get<0>(key) == "partition" && flag(was, "partition");
    return was != is->second && other_values(key, was, is->second);
  });
}

bool relabels(const Shape& before, const Shape& now) {
  return std::any_of(before.lower_bound({"type", 0, 0}), before.end(), [&](const auto& one) {
    const auto is = std::get<0>(one.first) == "type" ? now.find(one.first) : now.end();
    return is != now.end() && other_labels(one.second, is->second, false);
  });
}

std::set<std::int64_t> relabelled(const Shape& before, const Shape& now) {
  std::set<std::int64_t> types;
  const auto row_type = [&](std::int64_t relation) {
    for (const char* kind : {"table", "view"}) {
      const Key key{kind, relation, 0};
      const auto was = before.find(key);
      if (was != before.end() && now.contains(key)) types.insert(number(was->second, "row_type"));
    }
  };
  for (const auto& [key, was] : before) {
    const auto& [kind, oid, sub] = key;
    if (kind != "column" && kind != "table" && kind != "view" && kind != "type") continue;
    const auto is = now.find(key);
    if (is != now.end() && is->second == was) continue;
    if (kind == "column" && (is == now.end() || other_type(was, is->second))) row_type(oid);
    if (is == now.end()) continue;
    // A place is given once only, so that columns that came and went are seen as well. 0: by an older version.
    if ((kind == "table" || kind == "view") && number(was, "places") != 0 && number(was, "places") != number(is->second, "places")) row_type(oid);
    if (kind == "type" && other_labels(was, is->second, true)) types.insert(oid);
  }
  types.erase(0);
  return types;
}

asio::awaitable<std::set<std::pair<std::int64_t, std::string>>> columns_of(pg::Connection& connection, std::set<std::int64_t> types) {
  std::string list = "{";
  for (const auto type : types) list += (list.size() > 1 ? "," : "") + std::to_string(type);
  auto parameters = pg::params(list + "}");
  const auto rows = co_await connection.run(std::string{sql::columns_of_types}, std::move(parameters), columns_limit);
  std::set<std::pair<std::int64_t, std::string>> columns;
  for (int row = 0; row < rows.size(); ++row) columns.emplace(rows.integer(row, 0), rows.str(row, 1));
  co_return columns;
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
