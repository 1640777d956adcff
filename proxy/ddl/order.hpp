#pragma once
// What a step has to wait for, so that it does not meet another object of the same name.

#include <set>
#include <string>
#include <vector>

#include "proxy/ddl/shape.hpp"
#include "router/rewrite.hpp"

namespace pgjanus::ddl {

/// Where a name has to be unique, and the name; empty for what has none. Pure.
[[nodiscard]] std::string place_of(const Shape& shape, const Key& key, const nlohmann::json& doc, const std::string& name);

/// The same for a constraint's name among those of its table, of any kind; empty for others. Pure.
[[nodiscard]] std::string place_on_table(const Key& key, const nlohmann::json& doc, const std::string& name);

/// All of them. Pure.
[[nodiscard]] std::set<std::string> names_of(const Shape& shape);

/// Ranks among renamings, of going half way and of getting there. What moves has given up its name by the names of before, then
/// come schemas, so each statement says its schema as it is called by now; what is inside a table comes when that has its name. Pure.
struct Hops {
  int halfway, there;
};
[[nodiscard]] Hops hops(const Key& key, const nlohmann::json& doc);
inline constexpr int old_schemas = -101, new_schemas = -98;
/// So far ahead functions give up their names: their texts say types and tables whose rows they take, by the names of before.
inline constexpr int functions_ahead = 50;

/// Whether it is a constraint that an index enforces: nothing but its end keeps it from refusing rows. Pure.
[[nodiscard]] bool refuses_rows(const Key& key, const nlohmann::json& doc);

/// That it has the name and place of now. Pure.
[[nodiscard]] std::string placed(const Key& key);

/// Tables that have another name or schema by now, found when asked for. The shapes outlive it.
class MovedTables {
 public:
  MovedTables(const Shape& before, const Shape& now) : before_{before}, now_{now} {}
  /// What a drop on a table that stays says by the names of now. It waits for all of these.
  void find_later(Step& step, std::int64_t relation);

 private:
  void find();
  const Shape& before_;
  const Shape& now_;
  bool found_ = false;
  Rewriter rewriter_;
  std::vector<std::string> needs_;
};

/// Fills in what the step makes, what it needs and the trees whose rows depend on it, by its object. Pure.
void relate(Step& step, const Shape& before, const Shape& now, const Key& key, const nlohmann::json& doc);

/// These tables and types, with those whose rows have the same columns: children, tables of the type, and of columns of it. Pure.
[[nodiscard]] std::set<std::int64_t> with_what_follows(const Shape& shape, std::set<std::int64_t> relations);

/// Whether one of the others has to run first: `step` takes a name that is not vacated yet, or is about a table or
/// schema that is not made yet, or not by its name, which something else may have until then. Pure.
[[nodiscard]] bool waits_for_another(const Step& step, const std::vector<const Step*>& others);

}  // namespace pgjanus::ddl
