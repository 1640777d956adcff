#pragma once
// Taking our things out of the databases again: `abort`, `finish` and `finish --unfence`.
//
// Triggers go one relation at a time, each in its own transaction with a short lock timeout; only
// then the schema, which nothing of the app's touches any more. Killed anywhere, the same command
// goes on from what it finds. Confirmation of the database's name is the caller's.

#include <boost/asio/awaitable.hpp>
#include <string>

#include "proxy/capture/capture.hpp"
#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"

namespace pgjanus {

/// Before a cutover: removes schema pgjanus and every trigger of ours, the source first (a source
/// without state was never prepared). Tables and rows that came to the target stay there. Refused
/// (Ended::refused) once the target was primary. The mirror loop must have stopped. An unreachable
/// target does not keep it from freeing the source; the outcome then is an error that says so.
boost::asio::awaitable<Outcome> abort_migration(const Databases& databases, Progress progress,
                                                capture::OnWaiting waiting);

/// Ends a migration: phase finished on both sides, then triggers, journal and functions off
/// `primary`; one row of pgjanus.state stays on either side and the other side keeps its fence.
/// Guards are the caller's; the mirror loop must have stopped. Throws when a side is unreachable.
boost::asio::awaitable<Outcome> finish_migration(const Databases& databases, Side primary,
                                                 Progress progress, capture::OnWaiting waiting);

/// After finish: lifts the fence of the old side, whose state row stays. Refused while a member
/// other than `self` was seen there in the last 30 s, and before finish.
boost::asio::awaitable<Outcome> unfence(const Databases& databases, std::string self,
                                        Progress progress, capture::OnWaiting waiting);

}  // namespace pgjanus
