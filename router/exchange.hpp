#pragma once
// The state of one client's conversation with one server: which replies are still owed, whether a
// transaction is open, and so whether the session stands between transactions. Fed with the
// messages of both directions; no sockets.

#include <cstdint>
#include <deque>
#include <optional>

#include "wire/message.hpp"

namespace pgjanus {

/// Follows the message flow (PostgreSQL manual, "Message Flow") well enough to answer one
/// question exactly: may this session be given another server now?
///
///   quiescent --any client message--> busy --last owed ReadyForQuery with 'I'--> quiescent
///
/// In extended protocol every message since the last Sync keeps it busy; after an ErrorResponse
/// the server skips to the next Sync, including messages that the client has not sent yet. While
/// COPY IN runs, Sync and Flush are ignored by the server and owe no reply.
class Exchange {
 public:
  /// One message of the client, at its first piece. Terminate and unknown bytes owe nothing.
  void from_client(wire::Frontend type) noexcept;
  /// One message of the server. `status` is set for ReadyForQuery.
  void from_server(wire::Backend type, std::optional<wire::TransactionStatus> status) noexcept;

  /// Between transactions: nothing owed, status 'I', no COPY, no extended message since the Sync.
  [[nodiscard]] bool quiescent() const noexcept;
  [[nodiscard]] wire::TransactionStatus status() const noexcept { return status_; }
  /// ReadyForQuery messages still owed (one for each Query, FunctionCall or Sync).
  [[nodiscard]] std::size_t ready_owed() const noexcept { return owed_.size(); }
  /// Something runs on the server, so a cancel request has a victim.
  [[nodiscard]] bool running() const noexcept { return !owed_.empty() || pending_; }
  [[nodiscard]] bool copying_in() const noexcept { return copy_in_; }

 private:
  enum class Owed : std::uint8_t { query, sync, function_call };
  std::deque<Owed> owed_;
  wire::TransactionStatus status_ = wire::TransactionStatus::idle;
  bool pending_ = false;   // Extended messages since the last Sync.
  bool copy_in_ = false;
};

}  // namespace pgjanus
