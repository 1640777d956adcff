#pragma once
// A session's state as its server knows it, and the statements that give it to another server.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/session/server.hpp"

namespace pgjanus {

/// One named prepared statement as pg_prepared_statements shows it.
struct PreparedStatement {
  std::string text;
  std::vector<std::string> types;  // Parameter types by name: OIDs differ between databases.
  friend bool operator==(const PreparedStatement&, const PreparedStatement&) = default;
};

/// What SET, LISTEN and Parse have made of a session. Read from the server itself: functions,
/// triggers and rolled-back transactions change it where no proxy looks.
struct SessionState {
  std::map<std::string, std::string> settings;  // Source 'session', and custom names.
  std::string authorization, role;              // Empty: as it logged in, none.
  std::vector<std::string> channels;            // LISTEN, sorted.
  std::map<std::string, PreparedStatement> prepared;  // By protocol.
  std::string pin;  // Why it cannot leave its server; empty when it can.
  friend bool operator==(const SessionState&, const SessionState&) = default;
};

/// The query that reads it; several statements, one round trip. `custom` are names of settings
/// that pg_settings does not list. Runs in the session, so every name in it is qualified.
enum class Prepareds : std::uint8_t { none, all };  // Whether prepared statements are asked for.
[[nodiscard]] std::string state_query(const std::vector<std::string>& custom,
                                      Prepareds which = Prepareds::all);
/// Reads the answer to state_query(); nothing when it is not one. `login` is the user that the
/// server connection logged in as.
[[nodiscard]] std::optional<SessionState> state_of(const Answer& answer, std::string_view login);

/// Only what pins a session, and the answer's reason; empty when nothing does.
[[nodiscard]] std::string pin_query();
[[nodiscard]] std::string pin_of(const Answer& answer);

/// Statements that turn `present` into `wanted` on a server, prepared ones apart; empty when they
/// agree. The client's encoding comes first, alone: the rest is read in it.
[[nodiscard]] std::vector<std::string> settings_change(const SessionState& present,
                                                       const SessionState& wanted);

/// Names of the prepared statements that `wanted` has and `present` has not, or otherwise.
[[nodiscard]] std::vector<std::string> prepared_missing(const SessionState& present,
                                                        const SessionState& wanted);

/// Asks for the OIDs of types by name: rows (name, oid or NULL).
[[nodiscard]] std::string types_query(const std::vector<std::string>& names);

/// 'text' in a form that means the same with standard_conforming_strings on and off.
[[nodiscard]] std::string literal(std::string_view text);

/// Names of settings with a dot that a statement text may set: `SET a.b`, `set_config('a.b'`. No
/// catalog lists them. Appends to `names`, up to custom_names_max of them; one too many is better
/// than one too few.
void note_custom_names(std::string_view text, std::vector<std::string>& names);
inline constexpr std::size_t custom_names_max = 100;

}  // namespace pgjanus
