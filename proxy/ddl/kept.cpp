#include "proxy/ddl/kept.hpp"

#include "proxy/ddl/aside.hpp"
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
  return pg::quote_literal(schema) + ", " + pg::quote_literal(name);
}

/// Where it is, as the shape has it.
std::string place(const Shape& shape, const json& relation) {
  const auto schema = shape.find({"schema", number(relation, "ns"), 0});
  return pair_of(schema == shape.end() ? "public" : text(schema->second, "name"), text(relation, "name"));
}

std::string at(const std::string& place) { return "(schema_name, table_name) = (" + place + ")"; }

std::string of_kind(const Key& key) {
  const auto& kind = std::get<0>(key);
  return kind == "constraint" ? "IN ('foreign key', 'check')" : "= " + pg::quote_literal(kind);
}

}  // namespace

std::string Kept::schema_name(std::int64_t schema) const {
  const Key key{"schema", schema, 0};
  const auto is = now_.find(key), was = before_.find(key);
  if (is != now_.end()) return text(is->second, "name");
  if (was == before_.end()) return "public";
  // What is still to move out of it has kept it from being dropped.
  return text(was->second, "drop").empty() ? text(was->second, "name") : aside_name(key);
}

const json* Kept::table(const Shape& shape, const json& doc) const {
  const auto found = shape.find({"table", number(doc, "on"), 0});
  return found == shape.end() ? nullptr : &found->second;
}

void Kept::forget(const Key& key, const json& doc) {
  const auto& kind = std::get<0>(key);
  const auto* on = table(before_, doc);
  std::string which;
  if (kind == "sequence") which = "= 'sequence' AND " + at(place(before_, doc));
  else if (kind == "table") which = "<> 'sequence' AND " + at(place(before_, doc));
  else if (stands_on_a_table(key) && on != nullptr) which = of_kind(key) + " AND name = " + pg::quote_literal(text(doc, "name")) + " AND " + at(place(before_, *on));
  if (!which.empty()) forgotten_ += "DELETE FROM pgjanus.kept WHERE kind " + which + "; ";
}

// Two may exchange their names, so all go aside first. What is left where one of them goes is of an object that went unseen.
std::string Kept::following() const {
  std::string relations, parts;
  for (const auto& [key, was] : before_) {
    const auto is = now_.find(key);
    if (is == now_.end()) continue;
    const auto& kind = std::get<0>(key);
    if (kind == "table" || kind == "sequence") {
      const auto from = place(before_, was), to = place(now_, is->second);
      const std::string sequence = kind == "sequence" ? "true" : "false";
      if (from != to) relations += (relations.empty() ? "(" : ", (") + sequence + ", " + from + ", " + to + ")";
    } else if (stands_on_a_table(key) && text(was, "name") != text(is->second, "name")) {
      const auto *on = table(before_, was), *on_now = table(now_, is->second);
      if (on == nullptr || on_now == nullptr) continue;
      parts += (parts.empty() ? "(" : ", (") + pg::quote_literal(kind) + ", " + place(before_, *on) + ", " +
               pg::quote_literal(text(was, "name")) + ", " + place(now_, *on_now) + ", " +
               pg::quote_literal(text(is->second, "name")) + ")";
    }
  }
  auto sql = forgotten_;
  if (!parts.empty()) {
    sql += "UPDATE pgjanus.kept k SET schema_name = 'pgjanus aside ' || m.schema, table_name = m.relation, name = m.part "
           "FROM (VALUES " + parts + ") m(kind, schema_was, relation_was, part_was, schema, relation, part) "
           "WHERE CASE WHEN k.kind IN ('trigger', 'rule') THEN k.kind ELSE 'constraint' END = m.kind "
           "AND (k.schema_name, k.table_name, k.name) = (m.schema_was, m.relation_was, m.part_was); ";
  }
  if (!relations.empty()) {
    sql += "UPDATE pgjanus.kept k SET schema_name = 'pgjanus aside ' || m.schema, table_name = m.relation "
           "FROM (VALUES " + relations + ") m(sequence, schema_was, relation_was, schema, relation) "
           "WHERE (k.kind = 'sequence', k.schema_name, k.table_name) = (m.sequence, m.schema_was, m.relation_was); ";
  }
  if (!parts.empty() || !relations.empty()) {
    sql += "DELETE FROM pgjanus.kept k USING pgjanus.kept m WHERE m.schema_name = 'pgjanus aside ' || k.schema_name "
           "AND (m.kind, m.table_name, m.name) = (k.kind, k.table_name, k.name); "
           "UPDATE pgjanus.kept SET schema_name = substr(schema_name, 15) WHERE schema_name LIKE 'pgjanus aside %'; ";
  }
  return sql.substr(0, sql.size() - std::min<std::size_t>(sql.size(), 2));
}

std::string Kept::forgetting_enabled(const Key& key, const json& doc) const {
  const auto* on = table(now_, doc);
  if (on == nullptr) return {};
  return "; DELETE FROM pgjanus.kept WHERE kind = '" + std::get<0>(key) + "' AND name = " +
         pg::quote_literal(text(doc, "name")) + " AND " + at(place(now_, *on));
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

}  // namespace pgjanus::ddl
