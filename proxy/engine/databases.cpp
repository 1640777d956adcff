#include "proxy/engine/databases.hpp"

namespace pgjanus {

boost::asio::awaitable<pg::ConnectionPtr> Databases::open(Side side, std::string purpose,
                                                          pg::Duration limit) const {
  auto parameters = urls_[side].read();
  const auto former = parameters.former;
  std::optional<pg::Error> refused;
  try {
    auto connection = co_await pg::Connection::open(parameters, purpose, limit);
    co_return connection;
  } catch (const pg::Error& error) {
    if (!former || !error.is("28P01")) throw;
    refused = error;
  }
  // The secret has changed and the database not yet: it still takes what the file held before.
  parameters.values["user"] = former->user;
  parameters.values["password"] = former->password;
  try {
    auto connection = co_await pg::Connection::open(std::move(parameters), std::move(purpose), limit);
    co_return connection;
  } catch (const pg::Error&) {
  }
  throw *refused;
}

}  // namespace pgjanus
