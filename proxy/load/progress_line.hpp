#pragma once

#include <string>

#include "proxy/load/loader.hpp"

namespace pgjanus {

/// One line for people: share, rows, bytes, rate, time left, and what goes on. Shares and times are of
/// bytes, whose total is known once the tables are planned; rows in all are not.
[[nodiscard]] std::string load_progress_line(const LoadProgress& load);

}  // namespace pgjanus
