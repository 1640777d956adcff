#pragma once
// Preflight of both databases: changes nothing.

#include <boost/asio/awaitable.hpp>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// Every finding is pass, warn or fail, with what to do; Ended::not_ready when one is a fail. Never
/// throws for what the databases are like, unreachable ones included. Control thread.
boost::asio::awaitable<Outcome> run_check(const Databases& databases, const Settings& settings,
                                          Progress progress);

}  // namespace pgjanus
