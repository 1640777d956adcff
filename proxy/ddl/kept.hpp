#pragma once
// pgjanus.kept on the mirror while the primary's catalog changes: what is restored at its promotion goes by names.

#include <string>
#include <utility>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// Statements for the mirror, from one shape to the next. Refers to both shapes. Pure.
class Kept {
 public:
  using Place = std::pair<std::int64_t, std::string>;  // OID of a schema, name of a relation.
  Kept(const Shape& before, const Shape& now) noexcept : before_{before}, now_{now} {}

  /// As it is called by now, or was; not quoted.
  [[nodiscard]] std::string schema_name(std::int64_t schema) const;
  /// What makes the mirror forget a table, sequence, constraint, trigger or rule that is gone; empty for other kinds.
  [[nodiscard]] std::string forgetting(const Key& key, const nlohmann::json& doc) const;
  /// The same for a trigger or rule whose mode was set anew; behind another statement.
  [[nodiscard]] std::string forgetting_enabled(const Key& key, const nlohmann::json& doc) const;
  /// A foreign key that comes with the promotion: without session_replication_role a mirror has none.
  [[nodiscard]] std::string instead(const nlohmann::json& doc) const;
  /// Behind each statement that gives a schema, table or sequence another name or place, since another may take the
  /// old one in the same transaction; empty for other kinds.
  [[nodiscard]] std::string moving(const Key& key, const Place& from, const Place& to) const;
  /// The same for a constraint, trigger or rule, whose table is called as it is now.
  [[nodiscard]] std::string renaming(const Key& key, const std::string& from, const std::string& to,
                                     const nlohmann::json& doc) const;

 private:
  const nlohmann::json* table(const Shape& shape, const nlohmann::json& doc) const;
  std::string place_of(const nlohmann::json& relation) const;
  std::string place_before(const nlohmann::json& relation) const;
  const Shape& before_;
  const Shape& now_;
};

}  // namespace pgjanus::ddl
