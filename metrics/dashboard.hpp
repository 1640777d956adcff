#pragma once

#include "metrics/http_server.hpp"

namespace pgjanus::metrics {

/// The page at `/`: one self-contained document that polls `/status` and shows it. Its policy
/// forbids every load from elsewhere and every script but its own.
[[nodiscard]] Response dashboard();

}  // namespace pgjanus::metrics
