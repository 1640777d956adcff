#pragma once
// The status document (contract.md, "Status document").

#include <nlohmann/json_fwd.hpp>

#include "proxy/engine/status.hpp"

namespace pgjanus {

/// One element of `databases`. Unknown is null.
[[nodiscard]] nlohmann::json to_json(const Status& status);

/// `{version, databases: […]}`.
[[nodiscard]] nlohmann::json status_document(const Status& status);

/// The present time as the document writes it: RFC 3339, UTC, milliseconds.
[[nodiscard]] std::string now_utc();

}  // namespace pgjanus
