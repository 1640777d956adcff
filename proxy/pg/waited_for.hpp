#pragma once
// Whether a long statement of ours keeps others waiting, who keep others waiting in turn.

#include <boost/asio/awaitable.hpp>
#include <set>
#include <vector>

#include "proxy/pg/connection.hpp"

namespace pgjanus::pg {

/// Of these server processes those whose locks of relations somebody waits for (manual: pg_blocking_pids). Throws Error.
asio::awaitable<std::set<int>> waited_for(Connection& connection, const std::vector<int>& pids);

}  // namespace pgjanus::pg
