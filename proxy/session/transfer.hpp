#pragma once
// A session's state as its server knows it, and the statements that give it to another server.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proxy/session/server.hpp"

namespace pgjanus {

/// One named prepared statement as pg_prepared_statements shows it.
struct PreparedStatement {
  std::string text;
  std::vector<std::string> types;  // Parameter types by name: OIDs differ between databases.
  friend bool operator==(const PreparedStatement&, const PreparedStatement&) = default;
};

/// What SET, LISTEN and PREPARE have made of a session. Read from the server itself: functions,
/// triggers and rolled-back transactions change it where no proxy looks.
struct SessionState {
  std::map<std::string, std::string> settings;      // Source 'session', and custom names.
  std::string session_authorization, role;
  std::vector<std::string> channels;                // LISTEN, sorted.
  std::map<std::string, PreparedStatement> prepared;  // By protocol.
  std::string pin;  // Why it cannot leave its server; empty when it can.
  friend bool operator==(const SessionState&, const SessionState&) = default;
};

/// The query that reads it; several statements, in one round trip. `custom` are names of settings
/// that pg_settings does not list.
[[nodiscard]] std::string state_query(const std::vector<std::string>& custom);
/// Reads the answer to state_query(); nothing when it is not one.
[[nodiscard]] std::optional<SessionState> state_of(const Answer& answer);
/// Only what pins a session.
[[nodiscard]] std::string pin_query();
[[nodiscard]] std::string pin_of(const Answer& answer);

/// Statements that turn `present` into `wanted` on a server, channels and statements apart; empty
/// when they agree. Each is run on its own.
[[nodiscard]] std::string settings_change(const SessionState& present, const SessionState& wanted);

/// Names of settings with a dot that a statement text may set: `SET a.b`, `set_config('a.b'`.
/// Appends to `names`, at most a bounded number.
void note_custom_names(std::string_view text, std::vector<std::string>& names);

}  // namespace pgjanus
