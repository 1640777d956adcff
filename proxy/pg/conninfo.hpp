#pragma once
// Connection strings, read by libpq's own parser.

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

namespace pgjanus::pg {

/// A string that libpq does not understand. The text never repeats what was in it.
struct ConninfoError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Keywords and values of a libpq URL or key=value string (PQconninfoParse), without defaults and
/// without anything from the environment. Throws ConninfoError.
[[nodiscard]] std::map<std::string, std::string> parse_conninfo(const std::string& text);

/// Fills what the string left open, explicitly, so that neither the environment nor libpq's
/// compiled-in defaults decide later which server, user or password is meant: port 5432, user the
/// process's own, dbname the user's, sslmode prefer, no GSS encryption. `sslrootcert` is the one
/// setting taken from outside: $PGSSLROOTCERT or ~/.postgresql/root.crt, whichever exists, since
/// which authorities to trust belongs to the machine.
void fill_defaults(std::map<std::string, std::string>& values);

/// Removes every variable that libpq would read (PGHOST, PGPASSWORD, PGOPTIONS, …) from the
/// process, after noting PGSSLROOTCERT: both sides say everything in their URLs, and one
/// environment cannot be right for two databases. Call in main before threads start.
void forget_libpq_environment();

}  // namespace pgjanus::pg
