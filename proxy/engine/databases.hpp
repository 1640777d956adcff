#pragma once
// The pair of databases of one migration, as control work reaches them.

#include <boost/asio/awaitable.hpp>
#include <string>

#include "proxy/pg/connection.hpp"
#include "proxy/settings/settings.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// Opens control connections to either side; the URL is read anew each time (rotated passwords).
/// Shared by all control work of one migration; control thread.
class Databases {
 public:
  explicit Databases(PerSide<UrlSource> urls) : urls_{std::move(urls)} {}

  /// Connects as the URL says. Throws pg::Error (lost) or SettingsError.
  boost::asio::awaitable<pg::ConnectionPtr> open(Side side, std::string purpose,
                                                 pg::Duration limit = pg::Duration{10'000}) const;
  [[nodiscard]] ConnectionParameters parameters(Side side) const { return urls_[side].read(); }

 private:
  PerSide<UrlSource> urls_;
};

}  // namespace pgjanus
