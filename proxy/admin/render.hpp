#pragma once
// Documents as text for people.

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace pgjanus::admin {

/// What a verb prints on stdout: findings, differences, guards as lines, and its message.
[[nodiscard]] std::string render_result(const std::string& verb, const nlohmann::json& document);

/// The screen of `status`, of one element of `databases`.
[[nodiscard]] std::string render_status(const nlohmann::json& database,
                                        const std::string& version);

}  // namespace pgjanus::admin
