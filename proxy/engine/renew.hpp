#pragma once
// The functions of schema pgjanus come with `prepare`; a newer program renews what an older one left, so that an update
// in the middle of a migration needs no second `prepare`. Tables are another matter: `version` of pgjanus.state is theirs.

#include <boost/asio/awaitable.hpp>
#include <string>

#include "proxy/pg/connection.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// The statements that create these functions, or replace them.
[[nodiscard]] std::string our_functions();
/// Says in pgjanus.state that the functions are those of this program. Throws pg::Error.
boost::asio::awaitable<void> note_functions(pg::Connection& connection);
/// Replaces them where they are another program's, on a side that is prepared and not finished. Takes no lock on the app's
/// tables. What goes wrong is logged and no error: nearly everything works with the old ones, and what does not names the
/// function it lacks. Only the migration's leader calls it, outside of a transaction.
boost::asio::awaitable<void> renew_functions(pg::Connection& connection, Side side);

}  // namespace pgjanus
