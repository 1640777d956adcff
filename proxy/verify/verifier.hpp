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
#include "proxy/load/pace.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

/// What was really done; the time left is the one estimate.
struct VerifyProgress {
  std::int64_t tables_done = 0, tables_total = 0, parts_done = 0, parts_total = 0;
  std::int64_t rows_done = 0, bytes_done = 0, bytes_total = 0;  // Bytes of the primary's tables.
  std::int64_t differences = 0;                                 // So far.
  double rows_per_second = 0, bytes_per_second = 0;             // Of the last seconds.
  std::string limit;                 // What slows it; empty when nothing does.
  std::vector<std::string> workers;  // What each one compares.
};

struct VerifyRequest {
  Side primary = Side::source;
  std::vector<std::string> tables;  // schema.table, table, or patterns of them; empty: all.
  bool repair = false;
  Progress progress;
  std::vector<std::string> exclude;  // As of --exclude: not missed when nobody mirrors them.
  std::function<bool()> stop;        // Ends the run soon, as error 57014; another goes on with it.
  // Asked several times a second: the limits of the load, and queries on the primary since the
  // start of the proxy, to which the run yields. Both may be empty.
  std::function<load::Limits()> limits;
  std::function<HistogramCounts()> app;
  std::function<void(const VerifyProgress&)> report;
};

struct VerifyResult {
  Outcome outcome;  // The contract's document; Ended::differences when some remain.
  std::int64_t tables = 0, differences = 0;
  std::uint64_t rows = 0;
  bool whole_database = true;                    // All tables were compared: none was left out.
  std::map<std::string, std::int64_t> by_table;  // schema.table: differences; those compared.
};

/// What a run that was interrupted compared, if there is one in this epoch that is not too old.
boost::asio::awaitable<std::optional<std::vector<std::string>>> unfinished_verification(
    pg::Connection& primary);

/// Compares, and with `repair` marks what differs as changed, lets the mirror catch up and compares
/// again. Goes on with a run of the same scope that was interrupted. Tells `progress` what is done; pgjanus.differences on the primary holds what the last
/// run found. Ends as done, differences, not_ready (tables that are not mirrored were left out, or
/// none is mirrored) or error (unknown table; a table that could not be read, named). Control
/// thread; arguments outlive it. Throws pg::Error when a side is lost.
boost::asio::awaitable<VerifyResult> run_verification(const Databases& databases,
                                                      MirrorControl& mirror, VerifyRequest request);

}  // namespace pgjanus
