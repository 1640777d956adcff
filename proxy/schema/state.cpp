#include "proxy/schema/state.hpp"

#include <random>

namespace pgjanus {

namespace {

constexpr int known_version = 1;  // Of the tables in schema pgjanus.

}  // namespace

boost::asio::awaitable<std::optional<StoredState>> read_state(pg::Connection& connection) {
  const pg::Rows there = co_await connection.run(
      "SELECT n.oid, has_schema_privilege(n.oid, 'USAGE'), pg_get_userbyid(n.nspowner),"
      " EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'state')"
      " FROM pg_namespace n WHERE n.nspname = 'pgjanus'");
  if (there.empty()) co_return std::nullopt;
  if (!there.boolean(0, 1)) {
    pg::Error error{"schema pgjanus belongs to the role " + there.str(0, 2) +
                    ", and this role has no rights on it"};
    error.message = error.what();
    error.hint = "connect as the role that prepared the migration";
    throw error;
  }
  if (!there.boolean(0, 3)) co_return std::nullopt;
  const pg::Rows row =
      co_await connection.run("SELECT migration, side, role, epoch, phase, version FROM pgjanus.state");
  if (row.empty()) co_return std::nullopt;
  if (row.integer(0, 5) != known_version) {
    pg::Error error{"schema pgjanus is of version " + row.str(0, 5) + ", and this program knows version " +
                    std::to_string(known_version)};
    error.message = error.what();
    error.hint = "go on with the pgjanus that prepared this migration";
    throw error;
  }
  const auto side = side_from(row.text(0, 1));
  const auto role = role_from(row.text(0, 2));
  if (!side || !role) {
    pg::Error error{"pgjanus.state holds a side or role of a newer version"};
    error.message = error.what();
    throw error;
  }
  StoredState state{row.str(0, 0), *side, *role,
                    Epoch{static_cast<std::uint64_t>(row.integer(0, 3))}, row.str(0, 4)};
  co_return state;
}

boost::asio::awaitable<bool> same_database(pg::Connection& one, pg::Connection& other) {
  std::random_device random;
  const auto key =
      std::to_string((static_cast<std::int64_t>(random() & 0x7fffffffU) << 32) | random());
  const pg::Rows taken = co_await one.run("SELECT pg_try_advisory_lock(" + key + ")");
  const pg::Rows seen = co_await other.run("SELECT pg_try_advisory_lock(" + key + ")");
  const bool same = taken.boolean(0, 0) && !seen.boolean(0, 0);
  co_await one.run("SELECT pg_advisory_unlock(" + key + ")");
  if (!same) co_await other.run("SELECT pg_advisory_unlock(" + key + ")");
  co_return same;
}

}  // namespace pgjanus
