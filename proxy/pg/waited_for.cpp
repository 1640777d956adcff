#include "proxy/pg/waited_for.hpp"

#include <string>

namespace pgjanus::pg {

asio::awaitable<std::set<int>> waited_for(Connection& connection, const std::vector<int>& pids) {
  std::set<int> found;
  if (pids.empty()) co_return found;
  std::string list;
  for (const int pid : pids) list += (list.empty() ? "{" : ",") + std::to_string(pid);
  const auto rows = co_await connection.run(
      "SELECT s.pid FROM unnest($1::int[]) s (pid) WHERE EXISTS (SELECT FROM pg_locks w "
      "WHERE NOT w.granted AND w.locktype = 'relation' AND s.pid = ANY (pg_blocking_pids(w.pid)))", params(list + "}"));
  for (int row = 0; row < rows.size(); ++row) found.insert(static_cast<int>(rows.integer(row, 0)));
  co_return found;
}

}  // namespace pgjanus::pg
