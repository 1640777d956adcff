#include "proxy/ddl/beside_load.hpp"

#include "proxy/ddl/adopted.hpp"
#include "proxy/ddl/document.hpp"

namespace pgjanus::ddl {

namespace {

bool is_post_data(const Key& key) {
  static constexpr std::array<std::string_view, 6> post_data{"constraint", "index", "trigger", "policy", "statistics", "comment"};
  return std::find(post_data.begin(), post_data.end(), std::get<0>(key)) != post_data.end();
}

Key table_of(const nlohmann::json& doc) { return {"table", number(doc, "on"), 0}; }

/// What a table has that came since: nobody else builds it. Foreign keys wait, as what they refer to may have no key
/// yet; so do partitions, whose indexes hang on their parent's.
bool of_new_table(const Shape& known, const Shape& now, const nlohmann::json& doc) {
  const auto table = now.find(table_of(doc));
  return table != now.end() && !known.contains(table->first) && !flag(table->second, "partition") &&
         text(doc, "contype") != "f";
}

}  // namespace

Shape without_post_data(const Shape& known, Shape now) {
  const Adopted adopted{known, now};
  std::vector<Key> later;
  for (auto& [key, doc] : now) {
    if (!is_post_data(key)) continue;
    const auto was = known.find(key);
    if (was != known.end()) {
      doc = was->second;
    } else if (!of_new_table(known, now, doc)) {
      later.push_back(key);
    }
  }
  for (const auto& key : later) now.erase(key);
  // The load may have built it under its new identity by now.
  for (const auto& [key, doc] : known) {
    if (adopted.stays(key)) now.emplace(key, doc);
  }
  return now;
}

void keep_post_data(const Shape& known, Shape& now) {
  for (const auto& [key, doc] : known) {
    if (is_post_data(key) && now.contains(table_of(doc))) now.emplace(key, doc);
  }
}

}  // namespace pgjanus::ddl
