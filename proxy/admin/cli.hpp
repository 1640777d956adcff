#pragma once
// The verbs that talk to a running proxy.

#include <nlohmann/json_fwd.hpp>

#include "proxy/admin/command_line.hpp"
#include "proxy/engine/operations.hpp"

namespace pgjanus::admin {

/// Runs the verb over the admin socket and returns the exit code of contract.md. 130: interrupted,
/// the work goes on in the proxy.
[[nodiscard]] int run_verb(const CommandLine& line);

/// Prints what an operation returned as the verb does: the document or text on stdout, errors on
/// stderr. Returns the exit code. For `check`, which has no proxy to talk to.
[[nodiscard]] int print_outcome(const CommandLine& line, const Outcome& outcome);

/// Exit code of an SQLSTATE of the admin socket.
[[nodiscard]] int exit_code_of(std::string_view sqlstate) noexcept;

}  // namespace pgjanus::admin
