#pragma once
// One question to both sides at the same time.

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "proxy/mirror/mirror.hpp"

namespace pgjanus::verify {

// Reading a table of any size, and the other side's wait for it.
inline constexpr pg::Duration scan_limit{6 * 3'600'000};

struct BothRows {
  pg::Rows primary, mirror;
};

/// A failure of one side neither hides behind the other's nor leaves it running. Throws pg::Error.
boost::asio::awaitable<BothRows> run_both(TwinSnapshots& twins, std::string primary_sql,
                                          std::string mirror_sql);

struct BothBatches {
  std::vector<pg::Rows> primary, mirror;  // One result a statement.
};

/// The same for several questions in one round trip a side.
boost::asio::awaitable<BothBatches> run_both(TwinSnapshots& twins,
                                             std::vector<pg::Statement> on_primary,
                                             std::vector<pg::Statement> on_mirror);

/// Ends the snapshots; the connections stay for the next ones, or are gone. Does not throw.
boost::asio::awaitable<void> let_go(TwinSnapshots& twins);

}  // namespace pgjanus::verify
