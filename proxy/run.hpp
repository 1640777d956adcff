#pragma once
// The program: `run`, and `check` alone.

#include "proxy/engine/operations.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// The proxy, in the foreground, until SIGTERM or SHUTDOWN has drained it; a second SIGTERM stops
/// at once. `flags`: the command line, for reloads. Returns the exit code. Throws SettingsError and
/// metrics::HttpError when it cannot start.
[[nodiscard]] int run(Settings settings, const Flags& flags);

/// Preflight without a running proxy.
[[nodiscard]] Outcome check_alone(const Settings& settings, const Progress& progress);

}  // namespace pgjanus
