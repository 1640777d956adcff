#pragma once
// Statements that drivers and psql send by themselves.

#include <optional>

#include "proxy/admin/command.hpp"
#include "proxy/admin/tokens.hpp"

namespace pgjanus::admin {

/// The harmless answer to BEGIN, COMMIT, ROLLBACK, SET, SHOW TimeZone, SELECT 1 and the like;
/// nothing when the statement is not one of them. ABORT is not: here it is a command.
[[nodiscard]] std::optional<Command> driver_words(const Tokens& tokens);

}  // namespace pgjanus::admin
