#pragma once
// Exact comparison of both sides at a boundary (design.md section 7).

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

struct VerifyRequest {
  Side primary = Side::source;
  std::vector<std::string> tables;  // schema.table; empty: all.
  bool repair = false;
  Progress progress;
};

struct VerifyResult {
  Outcome outcome;                  // The contract's document; Ended::differences when some remain.
  std::int64_t tables = 0, differences = 0;
  std::uint64_t rows = 0;
  bool whole_database = true;       // All tables were compared.
  std::map<std::string, std::int64_t> by_table;  // schema.table: differences; those compared.
};

/// Compares, and with `repair` marks what differs as changed, lets the mirror catch up and compares
/// again. Control thread; arguments outlive it. Throws pg::Error.
boost::asio::awaitable<VerifyResult> run_verification(const Databases& databases,
                                                      MirrorControl& mirror,
                                                      VerifyRequest request);

}  // namespace pgjanus
