#pragma once
// Columns that children have from their parents: partitions, legacy inheritance, and tables of a composite type.

#include <string>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// Columns from one shape to the next. Refers to both shapes. Pure.
class Inherited {
 public:
  Inherited(const Shape& before, const Shape& now) noexcept : before_{before}, now_{now} {}

  /// Whether the statement for a parent's column brings, renames, retypes or drops this one along. Only of a parent that
  /// the relation had before: one that is new wants the column as it is, and one that is gone leaves it alone. A table that
  /// is of the same type before and after has just the type's columns.
  [[nodiscard]] bool comes_along(const Key& column) const;
  [[nodiscard]] bool renamed_along(const Key& column) const;
  [[nodiscard]] bool retyped_along(const Key& column) const;
  [[nodiscard]] bool dropped_along(const Key& column) const;

  /// The statement that drops a column here and in the children where it is gone, and leaves it to those that have it
  /// still: they were spared by ONLY.
  [[nodiscard]] std::string dropping(const Key& column, const nlohmann::json& doc) const;

  /// What makes a child leave its parent and come back, which leaves columns and checks its own, too; empty for any
  /// other link than one of legacy inheritance that was made anew. By names of before.
  [[nodiscard]] std::string coming_back(const Key& link, const nlohmann::json& old, const nlohmann::json& doc) const;

  /// Whether a child has it still.
  [[nodiscard]] bool spared_below(const Key& column) const;

  /// The columns of the same name, as `shape` has it, in children that the relation has had all the time.
  [[nodiscard]] std::vector<Key> below(const Shape& shape, const Key& column) const;

 private:
  bool of_type(const Key& column) const;
  /// The same in its parents.
  std::vector<Key> above(const Shape& shape, const Key& column) const;

  const Shape& before_;
  const Shape& now_;
};

}  // namespace pgjanus::ddl
