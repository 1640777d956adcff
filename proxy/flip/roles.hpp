#pragma once
// What a side's role means inside the database: taking it up as mirror, giving it back as primary.

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/state.hpp"
#include "proxy/session/control.hpp"
#include "router/recovery.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// Readies a side to be applied to (idempotent): empties its journal of the direction before;
/// disables the app's triggers that would act (all of them without `replica_role`, otherwise only
/// ALWAYS and REPLICA ones); without `replica_role` drops its foreign keys. Definitions are kept in
/// pgjanus.kept in the same transactions. Each step has a lock timeout and is retried within
/// `limit`; then throws pg::Error naming the relation. Returns how many things it changed.
boost::asio::awaitable<int> become_mirror(pg::Connection& connection, bool replica_role,
                                          pg::Duration limit);

/// The app's triggers that would act on a mirror: schema, table, name, tgenabled.
boost::asio::awaitable<pg::Rows> acting_triggers(pg::Connection& connection, bool replica_role);

/// Disables them in the caller's transaction, and keeps what they were.
boost::asio::awaitable<void> quiet_triggers(pg::Connection& connection, bool replica_role);

/// Empties a mirror's journal: what it holds belongs to the direction before, and its fence lets nothing
/// new in. Does nothing on a side that is not (any more) the mirror. Throws pg::Error, a lock timeout
/// (55P03) included: later is as good.
boost::asio::awaitable<void> forget_other_direction(pg::Connection& mirror);

/// Drops a CHECK constraint that rejected a row of the primary, and keeps its definition: false
/// when there is no such constraint.
boost::asio::awaitable<bool> keep_check(pg::Connection& connection, std::string schema,
                                        std::string table, std::string constraint);

/// Copies the primary's sequences to the mirror, exactly as they stand. Returns how many differed.
boost::asio::awaitable<int> push_sequences(pg::Connection& primary, pg::Connection& mirror);

/// Opens a transaction on the side to be promoted and does everything of the promotion up to its
/// COMMIT: journal emptied, fence off, triggers, constraints and sequences back, role and epoch.
boost::asio::awaitable<void> ready_promotion(pg::Connection& connection, Epoch epoch,
                                             std::string nonce, std::string last_flip);

/// Behind ready_promotion(), where no loop is at hand that marks the catalog: what replaying begins with is stored along with
/// the promotion. From that on DDL may pass us, long before anybody looks.
boost::asio::awaitable<void> keep_catalog(pg::Connection& connection, Epoch epoch);

/// Inside the transaction that holds the bar on the old primary: fence on, role and epoch set, and
/// the first boundary of the new direction ("everything in the journal"). Its COMMIT decides.
boost::asio::awaitable<void> ready_decision(pg::Connection& connection, Epoch epoch,
                                            std::string nonce, std::string last_flip);

/// LOCKs the journal against writers in a new transaction on `connection`, trying again within
/// `limit` (a waiting request bars writers too, so each try is short). False when time ran out.
/// `helper`, another connection to the same side, ends what blocks when `terminate`.
boost::asio::awaitable<bool> bar_writers(pg::Connection& connection, pg::Connection& helper,
                                         pg::Duration limit, bool terminate);

/// Sessions (of anyone) that hold writers' locks on the journal, oldest first.
boost::asio::awaitable<std::vector<SessionReport>> writers_in_the_way(pg::Connection& connection);

/// Validates the constraints that came back NOT VALID at a promotion, one at a time, without
/// holding up the app. Returns what could not be validated, for people; empty: all is done.
boost::asio::awaitable<std::string> validate_restored(pg::Connection& connection);

}  // namespace pgjanus
