// What the pool tells of itself.

#include "proxy/session/pool.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

void ServerPool::report(std::vector<ServerReport>& servers) const {
  const auto now = Clock::now();
  const auto seconds = [now](Clock::time_point since) {
    return std::chrono::duration<double>(now - since).count();
  };
  for (const auto& known : groups_) {
    for (const auto& server : known.all) {
      if (server->session != nullptr && server->session->holds(*server)) continue;  // It reports it.
      servers.push_back({.side = known.side,
                         .pid = server->key.process_id,
                         .client = 0,
                         .user = known.user,
                         .application_name = {},
                         .state = server->session != nullptr ? "resetting" : server->cancels > 0 ? "cancelling" : "idle",
                         .connected_seconds = seconds(server->place.opened_at),
                         .state_seconds = seconds(server->place.idle_since)});
    }
  }
}

void ServerPool::report(std::vector<PoolReport>& pools) const {
  for (const auto& known : groups_) {
    PoolReport report{.side = known.side, .user = known.user, .size = limits_.size};
    report.servers = known.all.size();
    report.idle = known.idle.size();
    report.waiting = known.waiting();
    for (const auto& line : known.lines)
      for (const auto& waiter : line.waiting)
        report.longest_wait_seconds = std::max(report.longest_wait_seconds, waiter.session->waited_seconds());
    for (const auto& server : known.all)
      if (server->session != nullptr && !server->session->pin_reason().empty()) ++report.pinned;
    pools.push_back(std::move(report));
  }
}

std::string ServerPool::describe(Side side, const std::string& user) const {
  for (const auto& known : groups_) {
    if (known.side != side || known.user != user) continue;
    std::size_t pinned = 0;
    for (const auto& server : known.all)
      if (server->session != nullptr && !server->session->pin_reason().empty()) ++pinned;
    return "All " + std::to_string(known.all.size()) + " servers of user \"" + user + "\" on the " +
           std::string{to_string(side)} + " are in use, " + std::to_string(pinned) +
           " of them pinned to their session; " + std::to_string(known.waiting()) +
           " clients wait.";
  }
  return {};
}

}  // namespace pgjanus
