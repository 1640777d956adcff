#pragma once
// By which names the server's texts call things (README.md, "When DDL gets in the way").

#include <boost/asio/awaitable.hpp>

#include "proxy/pg/connection.hpp"
#include "router/words.hpp"

namespace pgjanus::ddl {

/// Whether something that the reader's snapshot shows is called, or was called in between, otherwise by now; `since`: the snapshot's xmin.
/// Relations with their columns, indexes and sequences, functions, types, labels of enums, schemas, triggers, statistics.
boost::asio::awaitable<bool> otherwise_named(pg::Connection& reader, pg::Connection& by_now, FullXid since);

}  // namespace pgjanus::ddl
