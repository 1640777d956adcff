#pragma once
// The state of one client's conversation with one server: which replies are still owed, whether a
// transaction is open, and so whether the session stands between transactions. Fed with the
// messages of both directions; no sockets.

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "wire/message.hpp"

namespace pgjanus {

/// What the proxy wants back with the reply to a message that it has changed or put in itself, so
/// that it learns what the server has prepared. `what` none: an ordinary message.
struct Mark {
  enum class What : std::uint8_t {
    none,
    parse,         // The client's; the server has the statement afterwards.
    known_parse,   // The client's; the server had it before.
    own_parse,     // Ours.
    refused,       // The client's Parse of a name that is taken.
    close,         // The client's.
    own_close,     // Ours; the server no longer has the statement afterwards.
    unnamed,       // The client's Parse or Close of the unnamed statement.
    own_unnamed,   // Ours, a Parse or Close of it.
    own_nothing,   // Ours; whatever becomes of it changes nothing.
    use,           // The client's Bind or Describe of a named statement.
  };
  What what = What::none;
  std::uint32_t statement = 0;
  /// Whether the reply is none of the client's business.
  [[nodiscard]] bool hidden() const noexcept {
    return what == What::own_parse || what == What::own_close || what == What::own_unnamed ||
           what == What::own_nothing;
  }
  friend bool operator==(const Mark&, const Mark&) = default;
};

/// Follows the message flow (PostgreSQL manual, "Message Flow"; main loop of postgres.c) well
/// enough to answer one question exactly: may this session be given another server now?
///
///   quiescent --any client message--> busy --last owed ReadyForQuery with 'I'--> quiescent
///
/// In extended protocol every message since the last Sync keeps it busy; after an ErrorResponse
/// the server skips to the next Sync, including messages that the client has not sent yet. While
/// COPY IN runs, Sync and Flush are ignored by the server and owe no reply. README, "Exchange",
/// works through the interleavings.
class Exchange {
 public:
  /// One message of the client, at its first piece. Terminate and unknown bytes owe nothing.
  void from_client(wire::Frontend type, Mark mark = {}) noexcept;
  /// One message of the server. `status` is set for ReadyForQuery.
  void from_server(wire::Backend type, std::optional<wire::TransactionStatus> status) noexcept;

  /// The mark of the message that a reply of this type answers: ParseComplete or CloseComplete, to be
  /// asked before from_server() gets it.
  [[nodiscard]] Mark answered_by(wire::Backend type) const noexcept;
  /// The mark of the message that is answered next.
  [[nodiscard]] Mark front_mark() const noexcept { return expected_.empty() ? Mark{} : expected_.front().mark; }
  /// Marks of messages that failed or that the server skips, in order; forgets them.
  [[nodiscard]] std::vector<Mark> take_lost() noexcept { return std::exchange(lost_, {}); }
  [[nodiscard]] bool any_lost() const noexcept { return !lost_.empty(); }

  /// Between transactions: nothing owed, status 'I', no COPY, no extended message since the Sync.
  [[nodiscard]] bool quiescent() const noexcept {
    return expected_.empty() && !skipping_ && !pending_ && !copy_in_ &&
           status_ == wire::TransactionStatus::idle;
  }
  [[nodiscard]] wire::TransactionStatus status() const noexcept { return status_; }
  /// ReadyForQuery messages still owed (one for each Query, FunctionCall or Sync).
  [[nodiscard]] std::size_t ready_owed() const noexcept { return ready_owed_; }
  /// Something runs on the server, so a cancel request has a victim.
  [[nodiscard]] bool running() const noexcept { return !expected_.empty() || pending_; }
  /// The server asked for CopyData and the client has not ended it.
  [[nodiscard]] bool copying_in() const noexcept { return copy_in_; }
  /// A COPY IN failed and message types alone do not tell whether the server ate a Sync that the
  /// client had sent early: one more ReadyForQuery may follow. Believed eaten, as nearly always;
  /// but a server left in this state must not be given to another client.
  [[nodiscard]] bool surplus_possible() const noexcept { return unsure_syncs_ > 0; }

 private:
  /// What the client sent and the server has not answered, in order. `copy_end` is a CopyDone or
  /// CopyFail that was sent before we knew of a COPY; it owes nothing.
  enum class Expected : std::uint8_t {
    parse,
    bind,
    describe,
    execute,
    close,
    query,
    function_call,
    sync,
    copy_end
  };
  struct Entry {
    Expected what;
    Mark mark;
  };
  void push(Entry entry) noexcept;
  void lose(const Mark& mark) noexcept {
    if (mark.what != Mark::What::none) lost_.push_back(mark);
  }
  void pop() noexcept;
  void pop_if(Expected expected) noexcept;
  void copy_in_began() noexcept;
  void error() noexcept;
  void ready(wire::TransactionStatus status) noexcept;

  /// What a client message is answered by; nothing for those that owe no answer.
  static std::optional<Expected> expected_for(wire::Frontend type) noexcept;

  std::deque<Entry> expected_;
  std::vector<Mark> lost_;
  std::vector<Expected> if_not_eaten_;  // Owed after all, should the Sync before them have counted.
  std::size_t ready_owed_ = 0;
  std::size_t eaten_syncs_ = 0;   // By the COPY IN that runs, if it does not fail before it reads.
  std::size_t unsure_syncs_ = 0;  // Eaten or not by a COPY IN that failed.
  wire::TransactionStatus status_ = wire::TransactionStatus::idle;
  bool pending_ = false;   // Extended messages since the last Sync (or Query, which ends them too).
  bool skipping_ = false;  // The server discards everything up to a Sync that is not sent yet.
  bool copy_in_ = false;   // The client is to send CopyData.
  bool copy_runs_ = false;  // The server has not answered the COPY IN yet.
  bool answered_ = false;   // Some reply came since the last ReadyForQuery.
};

}  // namespace pgjanus
