#pragma once
// What goes, but cannot be dropped yet, as something depends on it that is only replaced behind the rows: it gives up its name at
// once, which is never refused (views and defaults follow by number), and is dropped by another when nothing needs it.

#include <string>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// The name of what has gone aside: no other object has it, wherever it may stand by then. Pure.
[[nodiscard]] std::string aside_name(const Key& key);

/// Statements for an object as `before` has it; empty for kinds that nothing depends on. Pure.
[[nodiscard]] Aside aside(const Shape& before, const Key& key, const nlohmann::json& doc);

}  // namespace pgjanus::ddl
