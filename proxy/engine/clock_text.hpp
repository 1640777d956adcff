#pragma once

#include <string>

namespace pgjanus {

/// The time as RFC 3339 in UTC with milliseconds: "2026-01-31T12:00:00.000Z". Any thread.
[[nodiscard]] std::string rfc3339_now();

}  // namespace pgjanus
