#pragma once
// pgjanus.kept on the mirror while the primary's catalog changes: what is restored at its promotion goes by names.

#include <string>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// Statements for the mirror, from one shape to the next. Refers to both shapes. Pure.
class Kept {
 public:
  Kept(const Shape& before, const Shape& now) noexcept : before_{before}, now_{now} {}

  /// As it is called by now, or aside; not quoted.
  [[nodiscard]] std::string schema_name(std::int64_t schema) const;
  /// The mirror forgets a table, sequence, constraint, trigger or rule that is gone, by what it was called; nothing for
  /// other kinds.
  void forget(const Key& key, const nlohmann::json& doc);
  /// From the names in the one shape to those in the other, without what is gone: at once, ahead of all other statements,
  /// since those may meet half way, in any order. Empty where nothing was renamed or forgotten.
  [[nodiscard]] std::string following() const;
  /// For a trigger or rule whose mode was set anew; behind another statement.
  [[nodiscard]] std::string forgetting_enabled(const Key& key, const nlohmann::json& doc) const;
  /// A foreign key that comes with the promotion: without session_replication_role a mirror has none.
  [[nodiscard]] std::string instead(const nlohmann::json& doc) const;

 private:
  const nlohmann::json* table(const Shape& shape, const nlohmann::json& doc) const;
  const Shape& before_;
  const Shape& now_;
  std::string forgotten_;  // Statements.
};

}  // namespace pgjanus::ddl
