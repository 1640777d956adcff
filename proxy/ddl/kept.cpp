#include "proxy/ddl/kept.hpp"

#include "proxy/ddl/document.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

bool stands_on_a_table(const Key& key) {
  const auto& kind = std::get<0>(key);
  return kind == "constraint" || kind == "trigger" || kind == "rule";
}

std::string pair_of(const std::string& schema, const std::string& name) {
  return "(" + pg::quote_literal(schema) + ", " + pg::quote_literal(name) + ")";
}

const char* const at = "(schema_name, table_name) = ";

}  // namespace

std::string Kept::schema_name(std::int64_t schema) const {
  for (const auto* shape : {&now_, &before_}) {
    const auto found = shape->find({"schema", schema, 0});
    if (found != shape->end()) return text(found->second, "name");
  }
  return "public";
}

const json* Kept::table(const Shape& shape, const json& doc) const {
  const auto found = shape.find({"table", number(doc, "on"), 0});
  return found == shape.end() ? nullptr : &found->second;
}

std::string Kept::place_of(const json& relation) const {
  return at + pair_of(schema_name(number(relation, "ns")), text(relation, "name"));
}

std::string Kept::place_before(const json& relation) const {
  const auto schema = before_.find({"schema", number(relation, "ns"), 0});
  return at + pair_of(schema == before_.end() ? "public" : text(schema->second, "name"), text(relation, "name"));
}

std::string Kept::forgetting(const Key& key, const json& doc) const {
  const std::string remove = "DELETE FROM pgjanus.kept WHERE kind ";
  if (std::get<0>(key) == "sequence") return remove + "= 'sequence' AND " + place_before(doc);
  if (std::get<0>(key) == "table") return remove + "<> 'sequence' AND " + place_before(doc);
  const auto* on = table(before_, doc);
  if (!stands_on_a_table(key) || on == nullptr) return {};
  return remove + "<> 'sequence' AND name = " + pg::quote_literal(text(doc, "name")) + " AND " + place_before(*on);
}

std::string Kept::forgetting_enabled(const Key& key, const json& doc) const {
  const auto* on = table(now_, doc);
  if (on == nullptr) return {};
  return "; DELETE FROM pgjanus.kept WHERE kind = '" + std::get<0>(key) + "' AND name = " +
         pg::quote_literal(text(doc, "name")) + " AND " + place_of(*on);
}

std::string Kept::instead(const json& doc) const {
  const auto* on = table(now_, doc);
  if (on == nullptr || !now_.contains({"schema", number(*on, "ns"), 0})) return {};
  return "INSERT INTO pgjanus.kept (kind, schema_name, table_name, name, definition) VALUES ("
         "'foreign key', " + pg::quote_literal(schema_name(number(*on, "ns"))) + ", " +
         pg::quote_literal(text(*on, "name")) + ", " + pg::quote_literal(text(doc, "name")) + ", " +
         pg::quote_literal(doc.at("kept").dump()) + ") ON CONFLICT (kind, schema_name, table_name, name) "
         "DO UPDATE SET definition = EXCLUDED.definition, restored = false";
}

std::string Kept::moving(const Key& key, const Place& from, const Place& to) const {
  const auto& kind = std::get<0>(key);
  if (kind == "schema") {
    return "; UPDATE pgjanus.kept SET schema_name = " + pg::quote_literal(to.second) + " WHERE schema_name = " +
           pg::quote_literal(from.second);
  }
  if (kind != "table" && kind != "sequence") return {};
  return "; UPDATE pgjanus.kept SET (schema_name, table_name) = ROW" + pair_of(schema_name(to.first), to.second) +
         " WHERE kind " + (kind == "sequence" ? "=" : "<>") + " 'sequence' AND " + at +
         pair_of(schema_name(from.first), from.second);
}

std::string Kept::renaming(const Key& key, const std::string& from, const std::string& to, const json& doc) const {
  const auto* on = table(now_, doc);
  if (!stands_on_a_table(key) || on == nullptr) return {};
  return "; UPDATE pgjanus.kept SET name = " + pg::quote_literal(to) + " WHERE kind <> 'sequence' AND name = " +
         pg::quote_literal(from) + " AND " + place_of(*on);
}

}  // namespace pgjanus::ddl
