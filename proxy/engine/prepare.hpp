#pragma once
// `prepare`: schema to the target, fence there, capture on the source.
//
//   nothing --target's transaction--> target ready --source's transaction--> prepared --triggers-->
//
// The target's transaction holds schema, state, list of tables and the enabled fence; the source's
// holds state, list and capture functions; then one small transaction a relation for its triggers.
// A source without state was never prepared, whatever stands on the target; killed anywhere, the
// same command goes on from what it finds.

#include <boost/asio/awaitable.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// Prepares, or finishes preparing, or adds tables that are new on the source since. Idempotent.
/// `databases` and `settings` outlive it; `progress` and `waiting` (a relation that is locked, and
/// by whom) may be empty. What the operator can put right is an Outcome (not_ready); anything else
/// is thrown as pg::Error or SettingsError. Control thread. Two at once are kept apart by the
/// engine.
boost::asio::awaitable<Outcome> prepare(const Databases& databases, const Settings& settings,
                                        bool with_schema, Progress progress,
                                        capture::OnWaiting waiting);

}  // namespace pgjanus
