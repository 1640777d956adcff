#pragma once
// Our numbers as metrics (contract.md, "HTTP").

#include <vector>

#include "metrics/family.hpp"
#include "proxy/engine/status.hpp"

namespace pgjanus::http {

/// Every metric of one database. Unknown numbers have no sample: absent, never 0.
[[nodiscard]] std::vector<metrics::Family> families(const Status& status,
                                                    const SessionTotals& totals);

}  // namespace pgjanus::http
