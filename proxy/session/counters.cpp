#include "proxy/session/counters.hpp"

namespace pgjanus {

void Counters::add_to(SessionTotals& totals) const noexcept {
  totals.clients += clients.get();
  totals.held_clients += held_clients.get();
  totals.waiting_clients += waiting_clients.get();
  totals.commits_unacknowledged += commits_unacknowledged.get();
  totals.auth_failures += auth_failures.get();
  totals.client_bytes_in += bytes_in.get();
  totals.client_bytes_out += bytes_out.get();
  overhead_seconds.add_to(totals.overhead_seconds);
  commit_wait_seconds.add_to(totals.commit_wait_seconds);
  for (const auto side : {Side::source, Side::target}) {
    totals.servers[side] += servers[side].get();
    query_seconds[side].add_to(totals.query_seconds[side]);
    for (std::size_t kind = 0; kind < statement_kinds; ++kind)
      totals.queries[side][kind] += queries[side][kind].get();
  }
}

}  // namespace pgjanus
