#pragma once
// One question to both sides at the same time.

#include <boost/asio/awaitable.hpp>
#include <string>

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

}  // namespace pgjanus::verify
