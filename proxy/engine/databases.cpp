#include "proxy/engine/databases.hpp"

namespace pgjanus {

boost::asio::awaitable<pg::ConnectionPtr> Databases::open(Side side, std::string purpose,
                                                          pg::Duration limit) const {
  auto parameters = urls_[side].read();
  auto connection =
      co_await pg::Connection::open(std::move(parameters), std::move(purpose), limit);
  co_return connection;
}

}  // namespace pgjanus
