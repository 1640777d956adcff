#pragma once
// One thread of sessions: its io_context, its copy of the view, its buffers and numbers.

#include <boost/asio/io_context.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "proxy/session/buffer.hpp"
#include "router/class_cache.hpp"
#include "proxy/session/control.hpp"
#include "proxy/session/pool.hpp"
#include "proxy/session/counters.hpp"
#include "proxy/session/credentials.hpp"
#include "proxy/session/stream.hpp"
#include "proxy/session/tls.hpp"
#include "wire/message.hpp"
#include "wire/startup.hpp"

namespace pgjanus {

class Session;
class Worker;

/// How much time clients get for their last words.
enum class Haste : std::uint8_t { farewell, at_once };

/// What all workers share; outlives them. Members lock themselves or never change.
struct SessionResources {
  SessionResources(const Settings& settings, Tickets& shared_tickets);
  /// RELOAD: certificate, users and access rules, for logins from now on; all or nothing. Throws
  /// SettingsError, and then everything stays. Any thread.
  void use(const Settings& wanted);
  Credentials credentials;
  ServerTls server_tls;
  ClientCertificate certificate;
  Tickets& tickets;
  const PoolLimits pool_limits;
  std::function<void()> on_unacknowledged, on_schema_change;
  SchemaVersion* schema = nullptr;           // The control's; set before any thread starts.
  std::vector<Worker*> workers;              // By index; set before any thread starts.
  std::atomic<std::uint64_t> next_client{1};
  std::atomic<std::size_t> connections{0};   // Open sockets of clients, logged in or not.
  std::atomic<bool> was_full{false};         // The last one who came was turned away.
  std::size_t clients_max = 0;               // More are turned away. Set before any thread starts,
  bool inherited = false;                    // as is whether new clients find our successor.
  std::atomic<bool> closing{false};          // A drain has begun: no new clients.
};

/// Sessions of one thread. Everything but the constructor, start(), the stops and wake_tickets() is
/// called on that thread; sessions run nowhere else.
class Worker {
 public:
  Worker(SessionResources& shared, unsigned index);
  ~Worker();
  void start();
  /// Closes what is left and ends the thread; join() waits for that. Any thread; idempotent.
  void begin_stop(Haste haste);
  void join();

  void serve(Stream::Socket socket);
  void apply(std::shared_ptr<const View> view);
  /// Sessions that are not between transactions when the limit has passed; empty: all are.
  asio::awaitable<std::vector<SessionReport>> quiesce(Deadline limit, bool terminate);
  asio::awaitable<bool> warm(Side side, Deadline limit);
  asio::awaitable<std::vector<SessionReport>> pinned(Deadline limit);
  asio::awaitable<std::vector<SessionReport>> open_transactions();
  asio::awaitable<std::vector<ClientReport>> clients();
  asio::awaitable<ServersReport> server_reports();
  /// Ends each session at its next boundary, until the limit has passed. Returns how many are left.
  asio::awaitable<std::size_t> drain(Deadline limit);
  /// Ends each session now, whatever it does. Returns how many are left when the limit has passed.
  asio::awaitable<std::size_t> end_all(Deadline limit);
  /// The session with this key, if it is ours, cancels what it runs; returns when that is done.
  asio::awaitable<void> cancel(wire::CancelRequest request);

  /// Any thread: sessions whose ticket is covered go on.
  void wake_tickets() noexcept;

  // For sessions.
  [[nodiscard]] const View& view() const noexcept { return *view_; }
  /// A key of this worker: unguessable; its secret is unique and names the worker, its (positive)
  /// process id gives way to the server's own.
  [[nodiscard]] wire::BackendKeyData register_session(Session& session);
  void unregister_session(std::int32_t secret_key);
  /// A session has come to a boundary or ended.
  void settled() {
    if (watching_) quiet_.notify();
  }
  void wait_ticket(Session& session) { ticket_waiters_.push_back(&session); }
  void forget_ticket(Session& session);
  /// From a cache by exact text.
  [[nodiscard]] StatementClass class_of(std::string_view text);
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  /// A client's start-up has begun and ended. A drain waits a little for those that are under way.
  void arriving() noexcept { ++arriving_; }
  void arrived() {
    --arriving_;
    settled();
  }
  /// 0 to 99, for the share of reads.
  [[nodiscard]] std::uint32_t dice() noexcept { return static_cast<std::uint32_t>(random_() % 100); }

  /// Logs in to a server. The caller starts its relay.
  asio::awaitable<std::optional<wire::ErrorFields>> open_server(
      Side side, std::string user, std::vector<std::pair<std::string, std::string>> startup,
      std::shared_ptr<Server>& out);
  /// Starts the task that reads this server until its end.
  void start_relay(std::shared_ptr<Server> server);

  SessionResources& shared;
  BufferPool pool;
  Counters counters;
  ServerPool servers;
  StatementTexts texts;            // Of transaction pooling.
  std::uint64_t last_unnamed = 0;
  wire::Bytes outgoing;            // What a scan sends in place of the client's bytes; empty between scans.
  /// OIDs of types that every Postgres has under the same number (below 16384), by name.
  std::map<std::string, std::int32_t> builtin_types;

 private:
  std::vector<std::shared_ptr<Session>> all() const;
  using Work = std::function<asio::awaitable<void>(std::shared_ptr<Session>)>;
  asio::awaitable<void> each(const Work& work, Deadline limit);
  void leave_when_empty();
  asio::awaitable<void> wait_until_empty(Deadline limit);
  asio::awaitable<void> wait_once(Deadline limit);

  const unsigned index_;
  std::shared_ptr<const View> view_ = std::make_shared<View>();
  std::unordered_map<std::int32_t, Session*> sessions_;  // By secret key.
  std::deque<Session*> ticket_waiters_;  // In the order in which they drew.
  std::atomic<bool> wake_posted_{false};
  ClassCache classes_;
  std::shared_ptr<asio::steady_timer> last_;  // While stopping: until when sessions may end.
  bool draining_ = false;
  std::size_t arriving_ = 0;
  std::minstd_rand random_{std::random_device{}()};
  unsigned watching_ = 0;

 public:
  // Behind what sessions use: destroyed before it, and tasks that are left then still use it.
  asio::io_context io{1};

 private:
  asio::awaitable<void> keep_tidy();

  Signal quiet_;
  asio::steady_timer tidy_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::thread thread_;
};

}  // namespace pgjanus
