#pragma once
// Replaying DDL while a load builds the schema's end (README.md, "While a load runs").

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// `now` as far as it is replayed beside a load: without indexes, constraints and the like of tables that `known` has
/// already, which the load builds; those that it knows stay as it knows them, unless they are gone. Pure.
[[nodiscard]] Shape without_post_data(const Shape& known, Shape now);

/// Adds to `now`, after comparing, what is gone of that: the load may still build it from a dump that was made
/// before; so it is dropped once more when the load has ended. Pure.
void keep_post_data(const Shape& known, Shape& now);

/// What of `known` is otherwise at the load's end, by what really stands on the mirror (its shape in its own names): what the load built from
/// today's dump under another name, or otherwise, than it was known by is there already; another object that has the name of one
/// that is gone stays; and what is dropped is dropped from the table by the name that this has now. What the load has `built` (steps of its
/// own: kind, schema and tag, a hash) that neither of them knows came and went meanwhile: it is known, so that it goes. Pure.
[[nodiscard]] Amended as_it_stands(const Shape& known, const Shape& now, const Shape& mirror, const std::vector<std::string>& built);

/// A shape in which they are, as long as this lives: a copy of thousands of tables' is much memory. Owns nothing of the shape.
class AmendedShape {
 public:
  AmendedShape(Shape& shape, Amended amended) : shape_{shape}, amended_{std::move(amended)} { exchange(); }
  ~AmendedShape() { exchange(); }
  AmendedShape(const AmendedShape&) = delete;
  AmendedShape& operator=(const AmendedShape&) = delete;

 private:
  void exchange();
  Shape& shape_;
  Amended amended_;
};

/// What that needs of the mirror's shape: of thousands of tables all of it is much memory. Pure.
[[nodiscard]] bool stands_with_tables(const Key& key);

}  // namespace pgjanus::ddl
