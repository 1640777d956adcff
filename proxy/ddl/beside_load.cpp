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

/// What of a table names an index that may still have to be built: as before, or for a partition that came since, not yet.
void leave_index_names(const Shape& known, const Key& key, nlohmann::json& doc) {
  const auto was = known.find(key);
  if (was == known.end() && !flag(doc, "partition")) return;  // Its indexes come with it.
  auto props = props_of(doc);
  if (!props.is_object()) return;
  const auto before = was == known.end() ? nlohmann::json{} : props_of(was->second);
  for (const auto* name : {"clustered", "replica_identity"}) {
    if (before.is_object() && before.contains(name)) props[name] = before[name];
    else props.erase(name);
  }
  doc["props"] = std::move(props);
  doc = folded(std::move(doc));
}

std::string full_name(const Shape& shape, std::int64_t table) {
  const auto found = shape.find({"table", table, 0});
  if (found == shape.end()) return {};
  const auto schema = shape.find({"schema", number(found->second, "ns"), 0});
  return pg::qualified(schema == shape.end() ? std::string{} : text(schema->second, "name"), text(found->second, "name"));
}

bool elsewhere(const nlohmann::json& one, const nlohmann::json& other) {
  return text(one, "name") != text(other, "name") || text(one, "state") != text(other, "state");
}

/// Its table may have another name by now, by which it has to be dropped.
nlohmann::json by_present_names(nlohmann::json was, const nlohmann::json& doc) {
  for (const auto* statement : {"create", "drop", "rename", "move", "adopt"}) {
    if (doc.contains(statement)) was[statement] = doc[statement];
  }
  return was;
}

/// What pg_dump calls it (pg_dump.c, ArchiveEntry()), as the load's steps begin: by its own side's names.
std::string dumped_as(const Shape& shape, const Key& key, const nlohmann::json& doc) {
  static const std::map<std::string_view, std::string> kinds{
      {"index", "INDEX"}, {"constraint", "CONSTRAINT"}, {"trigger", "TRIGGER"}, {"policy", "POLICY"}, {"statistics", "STATISTICS"}};
  const auto kind = kinds.find(std::get<0>(key));
  const auto table = shape.find(table_of(doc));
  if (kind == kinds.end() || table == shape.end()) return {};
  const bool by_itself = kind->first == "index" || kind->first == "statistics";
  const auto schema = shape.find({"schema", number(by_itself ? doc : table->second, "ns"), 0});
  if (schema == shape.end()) return {};
  const auto contype = text(doc, "contype");
  const std::string what = contype == "f" ? "FK " : contype == "c" ? "CHECK " : "";
  return what + kind->second + " " + text(schema->second, "name") + "." + (by_itself ? "" : text(table->second, "name") + " ") + text(doc, "name");
}

/// Those that came and went while the load ran: as of the primary's tables, under keys that the primary has not.
void add_passed(const Shape& known, const Shape& now, const Shape& mirror, const std::vector<std::string>& built, Amended& amended) {
  std::set<std::string> ours, stays;
  for (const auto& step : built) ours.insert(step.substr(0, step.rfind(' ')));  // Without its hash.
  for (const auto* shape : {&known, &now}) {
    for (const auto& [key, doc] : *shape) {
      if (is_post_data(key)) stays.insert(dumped_as(*shape, key, doc));
    }
  }
  std::map<std::string, std::int64_t> tables;
  for (auto at = known.lower_bound({"table", 0, 0}); at != known.end() && std::get<0>(at->first) == "table"; ++at) {
    const auto& [kind, oid, sub] = at->first;
    if (now.contains(at->first)) tables[full_name(known, oid)] = oid;
  }
  for (const auto& [key, doc] : mirror) {
    const auto name = is_post_data(key) ? dumped_as(mirror, key, doc) : std::string{};
    if (name.empty() || stays.contains(name) || !ours.contains(name) || number(doc, "parent") != 0) continue;
    const auto table = tables.find(full_name(mirror, number(doc, "on")));
    if (table == tables.end()) continue;
    auto passed = doc;
    passed["on"] = table->second;
    if (passed.contains("ns")) passed["ns"] = number(known.at({"table", table->second, 0}), "ns");
    amended.emplace(Key{std::get<0>(key), std::get<1>(key), -1}, std::move(passed));
  }
}

}  // namespace

Shape without_post_data(const Shape& known, Shape now) {
  const Adopted adopted{known, now};
  for (const char* kind : {"table", "view"}) {
    for (auto at = now.lower_bound({kind, 0, 0}); at != now.end() && std::get<0>(at->first) == kind; ++at) {
      leave_index_names(known, at->first, at->second);
    }
  }
  std::vector<Key> later;
  for (auto& [key, doc] : now) {
    if (!is_post_data(key)) continue;
    const auto was = known.find(key);
    if (was != known.end()) {
      doc = elsewhere(was->second, doc) ? was->second : by_present_names(was->second, doc);
      doc.erase("rename");  // Where its table moves it goes along if it stands, and cannot be named if it does not.
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

bool stands_with_tables(const Key& key) { return is_post_data(key) || std::get<0>(key) == "table" || std::get<0>(key) == "schema"; }

Amended as_it_stands(const Shape& known, const Shape& now, const Shape& mirror, const std::vector<std::string>& built) {
  std::set<std::pair<std::string, std::string>> there, wanted;  // Kind and statement.
  std::map<std::tuple<std::string, std::string, std::string>, const nlohmann::json*> by_name;
  for (const auto& [key, doc] : mirror) {
    if (!is_post_data(key)) continue;
    const auto& kind = std::get<0>(key);
    there.emplace(kind, text(doc, "create"));
    by_name[{kind, full_name(mirror, number(doc, "on")), text(doc, "name")}] = &doc;
  }
  for (const auto& [key, doc] : now) {
    if (is_post_data(key)) wanted.emplace(std::get<0>(key), text(doc, "create"));
  }
  Amended amended;
  for (const auto& [key, doc] : known) {
    const auto& kind = std::get<0>(key);
    if (!is_post_data(key) || kind == "comment") continue;
    // The mirror's table has the name of before still: by that of now another one's object would be found.
    const auto on = number(doc, "on");
    if (now.contains(table_of(doc)) && full_name(known, on) != full_name(now, on)) continue;
    if (const auto is = now.find(key); is != now.end()) {
      if (!elsewhere(doc, is->second) || !there.contains({kind, text(is->second, "create")})) continue;
      auto present = is->second;
      if (doc.contains("props")) present["props"] = doc["props"];
      amended.emplace(key, std::move(present));
      continue;
    }
    const auto stands = by_name.find({kind, full_name(now, number(doc, "on")), text(doc, "name")});
    if (stands == by_name.end()) continue;
    if (wanted.contains({kind, text(*stands->second, "create")})) {
      amended.emplace(key, std::nullopt);
    } else if (text(doc, "drop") != text(*stands->second, "drop")) {
      auto& dropped = amended.emplace(key, doc).first->second;
      (*dropped)["drop"] = text(*stands->second, "drop");
    }
  }
  add_passed(known, now, mirror, built, amended);
  return amended;
}

void AmendedShape::exchange() {
  for (auto& [key, doc] : amended_) {
    const auto found = shape_.find(key);
    if (found != shape_.end() && doc) {
      std::swap(found->second, *doc);
    } else if (found != shape_.end()) {
      doc = std::move(found->second);
      shape_.erase(found);
    } else if (doc) {
      shape_.emplace(key, std::move(*doc));
      doc.reset();
    }
  }
}

}  // namespace pgjanus::ddl
