#pragma once
// Servers that are nobody's between two transactions, and the sessions that wait for one. README.md,
// "Transaction pooling", argues limits and fairness.

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/session/control.hpp"
#include "proxy/session/event.hpp"
#include "proxy/session/server.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {

class Worker;

/// Limits of transaction pooling. Durations of zero: none.
struct PoolLimits {
  PoolMode mode = PoolMode::session;
  unsigned size = 40;  // Servers of one user on one side, over all threads.
  std::chrono::milliseconds wait{120'000};      // How long a session waits for a server.
  std::chrono::milliseconds lifetime{3'600'000};  // An idle server older than this is closed.
  std::chrono::milliseconds idle{600'000};      // One that nobody used for so long, too.
};

/// What makes two sessions' servers exchangeable: who logs in, with which start-up parameters.
/// Interned: equal ones are the same object.
struct PoolIdentity {
  std::string user;
  std::vector<std::pair<std::string, std::string>> startup;
  std::string key;  // Both as one text.
};

/// In any case, as names of settings are.
[[nodiscard]] bool is_application_name(std::string_view name) noexcept;

/// Sessions of one identity that wait.
struct PoolLine {
  struct Waiter {
    Session* session = nullptr;
    Clock::time_point since{};
  };
  std::shared_ptr<const PoolIdentity> identity;
  std::deque<Waiter> waiting;  // In the order in which they came.
  unsigned opening = 0;        // Servers on their way to them.

  /// The first for whom none is on its way; nothing when there is nobody.
  [[nodiscard]] const Waiter* unserved() const { return waiting.size() > opening ? &waiting[opening] : nullptr; }
};

/// Servers of one user on one side in this thread.
struct PoolGroup {
  Side side = Side::source;
  std::string user;
  std::vector<std::shared_ptr<Server>> idle;  // The last one used stands last.
  std::vector<PoolLine> lines;                // One an identity.
  std::vector<std::shared_ptr<Server>> all;   // Idle, leased, or with a cancel under way.
  unsigned opening = 0;                       // Of all lines.
  Clock::time_point retry_at{};               // The server refused us: not before.
  std::size_t most = 0;                       // What it lets us have, being full itself:
  Clock::time_point most_until{};             // taken for true until then.
  Clock::time_point made_room_at{};           // A server went for one of another kind; the server may not have noticed yet.

  PoolLine& line(const std::shared_ptr<const PoolIdentity>& identity);
  [[nodiscard]] std::size_t waiting() const noexcept;
  /// Of those for whom no server is on its way, the line of the one who has waited longest.
  [[nodiscard]] PoolLine* unserved();
};

/// The pool of one worker thread; sessions, servers and this live on that thread. A server is in
/// exactly one of three hands: the pool's (idle), a session's (leased), or that of a cancel request
/// that is still on its way to it.
class ServerPool {
 public:
  ServerPool(Worker& worker, PoolLimits limits) : worker_{worker}, limits_{limits} {}

  [[nodiscard]] const PoolLimits& limits() const noexcept { return limits_; }
  /// The session wants a server of `side`: it is told by Session::granted() or Session::refused(),
  /// perhaps before this returns. Until then it waits its turn.
  void request(Session& session, Side side);
  /// An idle server of `side` that is this session's without a question, if one is there and nobody
  /// waits for it; leased to the session. Never waits.
  std::shared_ptr<Server> lease_as_is(Session& session, Side side);
  /// It does not want one any more. Nothing happens when it did not wait.
  void forget(Session& session);
  /// A leased server comes back, between transactions; its bytes so far have been dealt with.
  void give(std::shared_ptr<Server> server);
  /// A server of the pool has gone or is not fit for anybody else; it has been closed.
  void gone(Server& server);
  /// What an idle server says. False when it is no longer fit for use.
  bool idle_talk(Server& server);
  /// Opens as many servers on `side` as the other side has, at most until the limit has passed.
  asio::awaitable<void> warm(Side side, Deadline limit);
  /// The one object for these start-up parameters of this user; application_name is none of them:
  /// it is a setting, or each program would have servers of its own.
  std::shared_ptr<const PoolIdentity> identity(const std::string& user,
                                               const wire::StartupMessage& startup);
  /// The one object for this state.
  std::shared_ptr<const SessionState> state(SessionState state);
  /// Makes equal values one object, so that shares() tells that they are. Costs nothing when it is.
  void intern(Reported& values);
  /// ParameterStatus values of a fresh login of this identity, if one has been seen.
  [[nodiscard]] const Reported* welcome(Side side, const PoolIdentity& identity) const;
  /// Closes idle servers beyond their limits. Called now and then.
  void tidy();
  void close_all();
  /// The end of the thread: knows no server any more.
  void let_go() noexcept;
  void report(std::vector<ServerReport>& servers) const;
  void report(std::vector<PoolReport>& pools) const;
  /// Waiting sessions, and why they do, for an error text.
  [[nodiscard]] std::string describe(Side side, const std::string& user) const;

 private:
  PoolGroup& group(Side side, const std::string& user);
  [[nodiscard]] unsigned share() const noexcept;
  /// Serves those who wait, from what is idle, and opens more where that is allowed.
  void serve(PoolGroup& group);
  bool grant(PoolGroup& group);
  bool open_one(PoolGroup& group);
  [[nodiscard]] bool full(const PoolGroup& group) const noexcept;
  [[nodiscard]] static bool may_open(const PoolGroup& group) noexcept;
  enum class Fit : std::uint8_t { as_is, any };
  std::shared_ptr<Server> take(PoolGroup& group, const Session& session, Fit fit);
  bool stands(Server& server);
  asio::awaitable<void> open(PoolGroup& group, std::shared_ptr<const PoolIdentity> identity);
  void refuse(PoolGroup& group, const PoolIdentity& asked, const wire::ErrorFields& failure);
  void start_opening(PoolGroup& group, std::shared_ptr<const PoolIdentity> identity);
  void discard(PoolGroup& group, std::size_t idle_index);

  Worker& worker_;
  const PoolLimits limits_;
  std::list<PoolGroup> groups_;  // Few: one a user and side. Addresses stay.
  std::map<std::pair<Side, std::string>, Reported> welcomes_;
  std::map<std::string, std::weak_ptr<const PoolIdentity>> identities_;
  std::map<std::string, std::weak_ptr<const SessionState>> states_;
  std::map<std::string, Reported> reported_;
  bool closed_ = false;
};

}  // namespace pgjanus
