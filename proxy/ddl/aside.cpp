#include "proxy/ddl/aside.hpp"

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/order.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

std::string full_name(const Shape& before, const json& relation) {
  const auto schema = before.find({"schema", number(relation, "ns"), 0});
  return pg::qualified(schema == before.end() ? "public" : text(schema->second, "name"), text(relation, "name"));
}

}  // namespace

std::string aside_name(const Key& key) {
  const auto& [kind, oid, sub] = key;
  return "pgjanus_gone_" + kind + "_" + std::to_string(oid) + (sub == 0 ? "" : "_" + std::to_string(sub));
}

Aside aside(const Shape& before, const Key& key, const json& doc) {
  static constexpr std::array<std::string_view, 9> depended_on{"schema", "type",       "sequence", "function", "table",
                                                         "column", "constraint", "index",    "view"};
  const auto& kind = std::get<0>(key);
  const auto pattern = text(doc, "rename"), name = aside_name(key);
  if (pattern.empty() || std::find(depended_on.begin(), depended_on.end(), kind) == depended_on.end()) return {};
  Aside steps;
  steps.refuses_rows = refuses_rows(key, doc);
  steps.drop = "SELECT pgjanus.drop_aside(" + pg::quote_literal(kind) + ", " + pg::quote_literal(name) + ")";
  const auto relkind = text(doc, "relkind");
  const auto table = before.find({"table", std::get<1>(key), 0});
  if (kind == "column") {
    if (table == before.end()) return {};
    steps.set = "SELECT pgjanus.set_column_aside(" + pg::quote_literal(full_name(before, table->second)) + ", " +
                pg::quote_literal(text(doc, "name")) + ", " + pg::quote_literal(name) + ")";
  } else if (relkind == "r" || relkind == "p" || relkind == "m") {
    steps.set = "SELECT pgjanus.set_aside(" + pg::quote_literal(full_name(before, doc)) + ", " + pg::quote_literal(name) + ")";
  } else if (kind == "type") {
    steps.set = "SELECT pgjanus.set_type_aside(" + pg::quote_literal(full_name(before, doc)) + ", " + pg::quote_literal(name) + ")";
  } else {
    steps.set = filled(pattern, {pg::quote_name(text(doc, "name")), pg::quote_name(name)});
  }
  return steps;
}

}  // namespace pgjanus::ddl
