#include "proxy/engine/renew.hpp"

#include <cstdint>

#include "proxy/log.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

constexpr pg::Duration renewal_limit{30'000};

/// FNV-1a of the statements: all that is asked is whether they are the same.
std::string fingerprint() {
  std::uint64_t hash = 14695981039346656037U;
  for (const char letter : our_functions()) hash = (hash ^ static_cast<unsigned char>(letter)) * 1099511628211U;
  return std::to_string(hash);
}

std::string noting() {
  return "UPDATE pgjanus.state SET extra = extra || pg_catalog.jsonb_build_object('functions', '" + fingerprint() + "')";
}

}  // namespace

std::string our_functions() {
  std::string statements{sql::schema_functions};
  return statements.append(sql::schema_replay).append("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgjanus FROM PUBLIC;\n");
}

boost::asio::awaitable<void> note_functions(pg::Connection& connection) { co_await connection.run(noting()); }

boost::asio::awaitable<void> renew_functions(pg::Connection& connection, Side side) {
  try {
    const pg::Rows there =
        co_await connection.run("SELECT to_regclass('pgjanus.journal') IS NOT NULL", renewal_limit);
    if (!there.boolean(0, 0)) co_return;  // Never prepared, or finished.
    const pg::Rows noted = co_await connection.run("SELECT extra ->> 'functions' FROM pgjanus.state", renewal_limit);
    if (noted.empty() || noted.text(0, 0) == fingerprint()) co_return;
    // One transaction, as a string of statements is.
    co_await connection.run("SET LOCAL search_path = pg_catalog, pg_temp; " + our_functions() + noting(), renewal_limit);
    log_event(LogLevel::info, "functions_renewed", {{"side", to_string(side)}});
  } catch (const pg::Error& error) {
    log_event(LogLevel::warn, "functions_not_renewed", {{"side", to_string(side)}, {"why", error.message}});
  }
}

}  // namespace pgjanus
