#pragma once
// Programs that we start: pg_dump and pg_restore.

#include <boost/asio/awaitable.hpp>
#include <map>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"

namespace pgjanus::pg {

/// How a program ended and what it said.
struct SubprocessResult {
  int status = -1;  // Exit status; -1 when it did not start or a signal ended it.
  int signal = 0;   // The signal that ended it; 0 for none.
  bool timed_out = false;
  std::string out, err;
  std::string failure;  // Why it could not be started, or why we ended it; empty otherwise.
  [[nodiscard]] bool ok() const noexcept { return status == 0 && failure.empty(); }
  /// "pg_dump failed: …": the program's own last words, or ours. For a failed one.
  [[nodiscard]] std::string describe(const std::string& program) const;
};

/// Runs argv[0] (looked up on PATH) with our environment and `environment` over it, writes
/// `stdin_text` to it and collects what it prints, at most subprocess_output_max each. Never blocks
/// the io_context. Past `limit` it is killed with everything it started, and likewise when this
/// coroutine is destroyed. Failures are in the result; nothing is thrown. Control thread.
boost::asio::awaitable<SubprocessResult> run_program(std::vector<std::string> argv,
                                                     std::map<std::string, std::string> environment,
                                                     std::string stdin_text, Duration limit);

inline constexpr std::size_t subprocess_output_max = 256U << 20;

/// How a libpq program (pg_dump, pg_restore, psql) reaches a database without a secret in its
/// arguments: `dbname` is a conninfo string for --dbname, the passwords travel in `environment`.
struct ProgramConnection {
  std::string dbname;
  std::map<std::string, std::string> environment;
};
[[nodiscard]] ProgramConnection for_program(const ConnectionParameters& parameters);

}  // namespace pgjanus::pg
