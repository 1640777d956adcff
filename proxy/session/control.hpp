#pragma once
// What sessions and the engine share: the published view, tickets, and the verbs of the gate.

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "router/classify.hpp"
#include "router/reads.hpp"
#include "router/rewrite.hpp"
#include "router/words.hpp"

namespace pgjanus {

enum class Held : std::uint8_t { none, pause, flip, in_doubt };
[[nodiscard]] std::string_view to_string(Held held) noexcept;

/// What every session goes by. Immutable; published by the engine, copied to each worker thread.
struct View {
  std::optional<Side> primary;  // Empty: not known; clients get 57P03 after 5 s.
  Epoch epoch;
  Held held = Held::none;       // Anything else: no new transaction begins.
  bool mirroring = false;       // Capture runs: writes draw tickets.
  bool wait_for_mirror = false; // Commits wait for their ticket (acknowledge both, not degraded).
  std::chrono::milliseconds acknowledge_wait{1000};
  bool mirror_in_sync = false;  // Reads may go to the mirror.
  ReadsPolicy reads;
  std::shared_ptr<const Catalog> catalog;  // Never null once a primary is known.
  std::shared_ptr<const PerSide<Rewriter>> names;  // Into those of each side; null: the same on both.
  bool catalog_is_read = false;  // As a flip left it; DDL waits, since it would pull away what is being read.
  std::uint64_t catalog_as_of = 0;  // SchemaVersion::now() when its reading began.
};

/// Counts the changes of the schema that we know of: what was found out about names, and statements that
/// were analysed, hold for the count at which that began. Any thread.
class SchemaVersion {
 public:
  [[nodiscard]] std::uint64_t now() const noexcept { return count_.load(std::memory_order_acquire); }
  /// Returns the new count.
  std::uint64_t changed() noexcept { return count_.fetch_add(1, std::memory_order_acq_rel) + 1; }

 private:
  std::atomic<std::uint64_t> count_{1};
};

/// Tickets: the numbers that tie a commit to the batch that covers it. A ticket drawn before a
/// batch's snapshot was taken is covered by that batch (design.md section 5). Any thread.
class Tickets {
 public:
  /// Draws the next ticket and wakes the mirror loop. Called after the server answered the commit.
  std::uint64_t draw() noexcept {
    // Sequentially consistent, here and in drawn(): the loop says that it sleeps before it looks
    // at the tickets, we draw before we look whether it sleeps, and one of the two must see.
    const auto ticket = drawn_.fetch_add(1) + 1;
    if (wake_) wake_();
    return ticket;
  }
  [[nodiscard]] std::uint64_t drawn() const noexcept {
    return drawn_.load();
  }
  [[nodiscard]] bool covered(std::uint64_t ticket) const noexcept {
    return covered_.load(std::memory_order_acquire) >= ticket;
  }
  /// Everything drawn up to `ticket` is on both sides, and all that anybody wrote before `as_of`. Engine only.
  void cover(std::uint64_t ticket, std::chrono::steady_clock::time_point as_of) noexcept {
    covered_.store(ticket, std::memory_order_release);
    as_of_.store(as_of, std::memory_order_release);
  }
  /// The primary of when it is that the mirror shows.
  [[nodiscard]] std::chrono::steady_clock::time_point as_of() const noexcept { return as_of_.load(std::memory_order_acquire); }
  /// Open transactions that may have written: each will soon draw a ticket, or roll back. Only a
  /// hint for how long gathering a batch is worth it.
  [[nodiscard]] int writers() const noexcept { return writers_.load(std::memory_order_relaxed); }
  /// Open transactions that may have changed the catalog, and how many such have ended. A snapshot that sees
  /// what one of them did was taken while it was among the first, or after it was among the second.
  [[nodiscard]] int defining() const noexcept { return defining_.load(); }
  [[nodiscard]] std::uint64_t defined() const noexcept { return defined_.load(); }
  /// Set once before sessions start; must be cheap and callable from any thread.
  void on_draw(std::function<void()> wake) { wake_ = std::move(wake); }

 private:
  friend class WriteMark;
  friend class DefineMark;
  std::atomic<std::uint64_t> drawn_{0}, covered_{0};
  std::atomic<std::chrono::steady_clock::time_point> as_of_{};
  std::atomic<int> writers_{0}, defining_{0};
  std::atomic<std::uint64_t> defined_{0};
  std::function<void()> wake_;
};

/// Whether a session's transaction may have written; counted in Tickets::writers() while it says so.
class WriteMark {
 public:
  explicit WriteMark(Tickets& tickets) noexcept : tickets_{tickets} {}
  ~WriteMark() { set(false); }
  WriteMark(const WriteMark&) = delete;
  WriteMark& operator=(const WriteMark&) = delete;
  void set(bool wrote) noexcept {
    if (wrote == wrote_) return;
    wrote_ = wrote;
    tickets_.writers_.fetch_add(wrote ? 1 : -1, std::memory_order_relaxed);
  }
  explicit operator bool() const noexcept { return wrote_; }

 private:
  Tickets& tickets_;
  bool wrote_ = false;
};

/// Whether a session's transaction may have changed the catalog.
class DefineMark {
 public:
  explicit DefineMark(Tickets& tickets) noexcept : tickets_{tickets} {}
  ~DefineMark() { clear(); }
  DefineMark(const DefineMark&) = delete;
  DefineMark& operator=(const DefineMark&) = delete;
  /// Before the statement is sent.
  void set() noexcept {
    if (!std::exchange(set_, true)) tickets_.defining_.fetch_add(1);
  }
  /// After the transaction has ended, before its ticket is drawn.
  void clear() noexcept {
    if (!std::exchange(set_, false)) return;
    tickets_.defined_.fetch_add(1);
    tickets_.defining_.fetch_sub(1);
  }

 private:
  Tickets& tickets_;
  bool set_ = false;
};

/// Why a session is not between transactions, or cannot be moved.
struct SessionReport {
  std::uint64_t client = 0;       // Our number of the client.
  std::string user, application_name;
  int server_pid = 0;             // Process id of its server on the primary; 0 without.
  double seconds = 0;             // Since its transaction began.
  std::string reason;             // "open transaction", "temporary table", "WITH HOLD cursor", …
};

/// One row of SHOW CLIENTS.
struct ClientReport {
  std::uint64_t client = 0;
  std::string user, application_name, address, state;  // state: idle, active, in_transaction, held, waiting_for_mirror, waiting_for_server, login
  Side side = Side::source;
  int server_pid = 0;             // 0: no server of its own at the moment.
  double connected_seconds = 0, state_seconds = 0;
  std::string pinned;             // Why it keeps its server between transactions; empty: it does not.
};

/// One row of SHOW SERVERS.
struct ServerReport {
  Side side = Side::source;
  int pid = 0;
  std::uint64_t client = 0;       // 0: idle in the pool.
  std::string user, application_name, state;
  double connected_seconds = 0, state_seconds = 0;
};

/// Servers of one user on one side; transaction pooling only.
struct PoolReport {
  Side side = Side::source;
  std::string user;
  std::size_t size = 0;           // The limit.
  std::size_t clients = 0, servers = 0, idle = 0, pinned = 0, waiting = 0;
  double longest_wait_seconds = 0;
};

/// SHOW POOLS and SHOW SERVERS.
struct ServersReport {
  bool by_transaction = false;    // Otherwise a client keeps its server for life.
  std::vector<ServerReport> servers;
  std::vector<PoolReport> pools;
};

/// Histogram with fixed bounds in seconds; counts are cumulative only when rendered.
struct HistogramCounts {
  static constexpr double bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                      0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5};
  std::uint64_t buckets[std::size(bounds) + 1] = {};
  double sum = 0;
};

/// Sums over all worker threads since start, for /metrics and SHOW STATS.
struct SessionTotals {
  std::uint64_t clients = 0, held_clients = 0, waiting_clients = 0;
  PerSide<std::uint64_t> servers;
  PerSide<std::array<std::uint64_t, statement_kinds>> queries;  // By StatementKind.
  PerSide<HistogramCounts> query_seconds;
  HistogramCounts overhead_seconds, commit_wait_seconds;
  std::uint64_t commits_unacknowledged = 0, auth_failures = 0;
  std::uint64_t client_bytes_in = 0, client_bytes_out = 0;
};

/// What the engine asks of the sessions; implemented by proxy/session. Called on the control
/// thread; coroutines resume there.
class SessionControl {
 public:
  virtual ~SessionControl() = default;

  /// Hands a new view to every worker; when it returns, every worker goes by it. Opening the gate
  /// (held none) wakes held clients, on the new primary when that changed.
  virtual boost::asio::awaitable<void> publish(std::shared_ptr<const View> view) = 0;

  /// After publishing a held view: waits until every session is between transactions, at most
  /// `limit`. Returns those that are not (empty: all are). `terminate` ends them with FATAL 57P01
  /// when half of the limit has gone.
  virtual boost::asio::awaitable<std::vector<SessionReport>> quiesce(
      std::chrono::milliseconds limit, bool terminate) = 0;

  /// Before a flip, gate open: every session opens a server on `side` and brings it up to date, so
  /// that a move costs one round trip. Best effort, at most `limit`.
  virtual boost::asio::awaitable<void> warm(Side side, std::chrono::milliseconds limit) = 0;

  /// Sessions that a flip would end (and why), asked of their servers while idle. At most `limit`.
  virtual boost::asio::awaitable<std::vector<SessionReport>> pinned(
      std::chrono::milliseconds limit) = 0;
  /// Sessions inside a transaction right now, oldest first.
  virtual boost::asio::awaitable<std::vector<SessionReport>> open_transactions() = 0;

  virtual boost::asio::awaitable<std::vector<ClientReport>> clients() = 0;
  virtual boost::asio::awaitable<ServersReport> servers() = 0;

  /// Tickets up to Tickets::covered() are released: wakes the waiting sessions. Cheap.
  virtual void release_tickets() noexcept = 0;

  /// Any thread; numbers may be a moment old.
  [[nodiscard]] virtual SessionTotals totals() const = 0;

  /// How often a commit waited longer than acknowledge_wait; set by the engine, called from any
  /// worker thread.
  std::function<void()> on_unacknowledged;

  /// Changed by sessions when a transaction with DDL has ended, and by the engine when it finds one.
  SchemaVersion schema;
  /// A session has changed it; set by the engine, called from any worker thread.
  std::function<void()> on_schema_change;
};

}  // namespace pgjanus
