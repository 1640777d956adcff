#pragma once
// The mirror loop as the loader, the verifier and the flip see it.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <vector>

#include "proxy/engine/status.hpp"
#include "proxy/pg/connection.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// Two snapshots of the same state: one on each side, each held open by the connection's own
/// REPEATABLE READ transaction. Closing a connection lets its snapshot go.
struct TwinSnapshots {
  pg::ConnectionPtr primary, mirror;
  std::string boundary;  // xmin:xmax:xip of the primary
  bool disturbed = false;  // One of them was asked to cancel, which may reach it late: not to be used again.
};

/// What other control work may ask of the running mirror loop. Control thread; every call waits
/// for the loop to stand between two batches, at most `limit`, and throws pg::Error past it.
class MirrorControl {
 public:
  virtual ~MirrorControl() = default;

  /// Takes tables out of the common batches: each gets the common boundary as its own (stored on
  /// the mirror), so the journal keeps what they need. `state`: loading, capture_lost or error.
  virtual boost::asio::awaitable<void> detach(std::vector<int> tables, TableState state,
                                              pg::Duration limit) = 0;

  /// Puts tables back: from the next batch on their own boundary (as stored on the mirror) is
  /// caught up, in that same batch, and they are `mirrored`. A keyed table needs its key's index.
  virtual boost::asio::awaitable<void> attach(std::vector<int> tables, pg::Duration limit) = 0;

  /// Marks every row of a table as changed: the next batch reads it anew, whole.
  virtual boost::asio::awaitable<void> reload(std::vector<int> tables, pg::Duration limit) = 0;

  /// Runs one batch and opens a snapshot on each side that shows exactly its boundary, for a
  /// verifier. Tables that are not `mirrored` at that boundary must be left out by the caller. `used` are those
  /// of the comparison before, outside a transaction, whose connections serve again; or none.
  virtual boost::asio::awaitable<TwinSnapshots> twin_snapshots(TwinSnapshots used, pg::Duration limit) = 0;

  /// Waits until everything committed on the primary before this call is on the mirror.
  virtual boost::asio::awaitable<void> catch_up(pg::Duration limit) = 0;

  /// Another number once what the list, or the mirror's schema, says of the app's tables may have changed.
  [[nodiscard]] virtual std::uint64_t schema_changes() const noexcept = 0;
};

/// Rows of pgjanus.journal that a snapshot (xmin:xmax:xip) does not cover: a condition in SQL. Throws pg::Error
/// where it is none.
[[nodiscard]] std::string new_since(const std::string& snapshot);

/// Marks the transaction that `mirror` is in as ours: SET LOCAL pgjanus.apply, and
/// session_replication_role = replica where `replica_role` says the host grants it, and
/// synchronous_commit = on. The text of these statements.
[[nodiscard]] std::string apply_marks(bool replica_role);

/// Whether this role may set session_replication_role (probed inside BEGIN … ROLLBACK).
boost::asio::awaitable<bool> may_set_replica_role(pg::Connection& connection);

/// An error of our own.
[[nodiscard]] inline pg::Error with_state(const char* state, const std::string& why) {
  pg::Error error{why};
  error.message = why;
  error.sqlstate = state;
  return error;
}

}  // namespace pgjanus
