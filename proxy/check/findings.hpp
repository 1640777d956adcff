#pragma once
// Findings of a preflight, and the parts that make them.

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::check {

enum class Level : std::uint8_t { pass, warn, fail };
[[nodiscard]] std::string_view to_string(Level level) noexcept;

struct Finding {
  std::string id;  // Stable, for machines.
  Level level = Level::pass;
  std::string subject, detail, remedy;
};

/// Findings in the order they were made.
class Findings {
 public:
  void pass(std::string id, std::string subject, std::string detail);
  void warn(std::string id, std::string subject, std::string detail, std::string remedy);
  void fail(std::string id, std::string subject, std::string detail, std::string remedy);
  [[nodiscard]] bool has(std::string_view id) const noexcept;
  [[nodiscard]] std::size_t count(Level level) const noexcept;
  [[nodiscard]] Outcome outcome() const;

 private:
  std::vector<Finding> list_;
};

/// One side as it answered. Numbers are those of check_database.sql.
struct SideFacts {
  pg::ConnectionPtr connection;
  std::string encoding, collate, ctype, role, database;
  bool read_only = false, may_create = false, encrypted = false, local = false;
  std::int64_t free_connections = 0, app_connections = 0;
  int version = 0;  // 150018
};

/// Parts of the preflight; each adds its findings. A statement that fails becomes a finding.
boost::asio::awaitable<void> look_at_source(pg::Connection& source,
                                            std::vector<std::string> exclude, Findings& findings);
boost::asio::awaitable<void> look_at_target(pg::Connection& source, pg::Connection& target,
                                            Findings& findings);
/// Roles that have privileges on the source, and are not on the target.
boost::asio::awaitable<void> look_at_roles(pg::Connection& source, pg::Connection& target,
                                           Findings& findings);
/// Size, duration by a sample, room, locks, types and collations. The sample is copied into a temporary
/// table, over connections of its own, and rolled back.
boost::asio::awaitable<void> look_at_load(const Databases& databases, pg::Connection& source,
                                          pg::Connection& target, Findings& findings);
/// Before the target is prepared.
boost::asio::awaitable<void> look_at_differences(pg::Connection& source, pg::Connection& target,
                                                 const Settings& settings, Findings& findings);
boost::asio::awaitable<void> compare_sides(PerSide<SideFacts>& sides, Findings& findings);
boost::asio::awaitable<void> look_for_pooler(const Databases& databases, Side side,
                                             pg::Connection& connection, Findings& findings);

/// Major version in "pg_dump (PostgreSQL) 15.20 (Debian …)"; 0 when it is not one. Pure.
[[nodiscard]] int program_version(std::string_view text) noexcept;

}  // namespace pgjanus::check
