#pragma once
// SHOW: what is known already, as rows.

#include "proxy/admin/reply.hpp"
#include "proxy/session/control.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus::admin {

/// SHOW STATUS, LAG, TABLES, MEMBERS out of the status document.
[[nodiscard]] Reply show_status(const Command& command, const Status& status);
/// SHOW CONFIG, VERSION.
[[nodiscard]] Reply show_settings(const Command& command, const Settings& settings);
/// SHOW STATS.
[[nodiscard]] Reply show_totals(const Command& command, const SessionTotals& totals);
/// SHOW CLIENTS.
[[nodiscard]] Reply show_clients(const Command& command, const std::vector<ClientReport>& clients);
/// SHOW SERVERS, POOLS.
[[nodiscard]] Reply show_servers(const Command& command, const ServersReport& report,
                                 const SessionTotals& totals, const Status& status);
/// SHOW VERIFY, DIFFERENCES, EVENTS: the engine's `{"columns": […], "rows": [[…]]}`.
[[nodiscard]] Reply show_engine(const Command& command, const Outcome& outcome);
/// HELP.
[[nodiscard]] Reply show_help(const Command& command);

}  // namespace pgjanus::admin
