#pragma once
// Exact comparison of both sides at a boundary, and the repair of what it finds (design.md
// section 7). Shares no code with the mirror loop and the loader: README.md argues why it is exact.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

struct VerifyRequest {
  Side primary = Side::source;
  std::vector<std::string> tables;  // schema.table, table, or patterns of them; empty: all.
  bool repair = false;
  Progress progress;
  std::vector<std::string> exclude;  // As of --exclude: not missed when nobody mirrors them.
  std::function<bool()> stop;        // Asked between tables; true ends the run with 57014. May be empty.
};

struct VerifyResult {
  Outcome outcome;  // The contract's document; Ended::differences when some remain.
  std::int64_t tables = 0, differences = 0;
  std::uint64_t rows = 0;
  bool whole_database = true;                    // All tables were compared: none was left out.
  std::map<std::string, std::int64_t> by_table;  // schema.table: differences; those compared.
};

/// Compares, and with `repair` marks what differs as changed, lets the mirror catch up and compares
/// again. Tells `progress` a line a table; pgjanus.differences on the primary holds what the last
/// run found. Ends as done, differences, not_ready (tables that are not mirrored were left out, or
/// none is mirrored) or error (unknown table; a table that could not be read, named). Control
/// thread; arguments outlive it. Throws pg::Error when a side is lost.
boost::asio::awaitable<VerifyResult> run_verification(const Databases& databases,
                                                      MirrorControl& mirror, VerifyRequest request);

}  // namespace pgjanus
