#pragma once
// The stored state of one side: what pgjanus.state says.

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "proxy/pg/connection.hpp"
#include "router/recovery.hpp"

namespace pgjanus {

/// The state row, or nothing when this side has none. Throws pg::Error, also when schema pgjanus is
/// there but not ours.
boost::asio::awaitable<std::optional<StoredState>> read_state(pg::Connection& connection);

/// Whether two connections are in the same database (of the same server): an advisory lock that one
/// holds is seen by the other. Certain in both directions, whatever the host reports about itself;
/// a transaction pooler between is the one thing that fools it (`check` refuses those).
boost::asio::awaitable<bool> same_database(pg::Connection& one, pg::Connection& other);

}  // namespace pgjanus
