#pragma once
// All sessions: the listener, the worker threads, and what the engine asks of them.

#include <limits>
#include <memory>
#include <vector>

#include "proxy/session/listener.hpp"
#include "proxy/session/worker.hpp"

namespace pgjanus {

/// Owns listener and threads. Constructed, started and destroyed on the control thread.
class Workers final : public SessionControl {
 public:
  /// Loads the certificate. Throws SettingsError. `tickets` outlives it.
  Workers(const Settings& settings, Tickets& tickets);
  ~Workers() override;

  /// Listens, on `inherited` sockets (whose descriptors it takes) instead of its own when there are
  /// any, and starts the threads. More clients than `clients_max` are turned away with 53300.
  /// Throws SettingsError when the address cannot be bound.
  void start(std::vector<int> inherited = {},
             std::size_t clients_max = std::numeric_limits<std::size_t>::max());
  /// Where it listens; the port is the real one when the settings said 0. After start().
  [[nodiscard]] std::string address() const { return listener_.addresses(); }
  /// Ends every session and joins the threads: from then on nobody draws tickets or calls back.
  /// Idempotent. Bounded by the sessions' own farewell limits; at_once: nobody is waited for.
  void stop(Haste haste = Haste::farewell);
  /// From now on who comes is turned away (unless the socket is inherited: a successor takes them).
  void turn_away() noexcept { shared_.closing = true; }
  /// SIGTERM, after turn_away(): each session ends at its next boundary with FATAL 57P01, until the
  /// limit has passed; what is left then is ended wherever it is, at most ten seconds later.
  asio::awaitable<void> drain(std::chrono::milliseconds limit);

  /// RELOAD: who may log in, how, and with which certificate; see SessionResources::use().
  void use(const Settings& wanted) { shared_.use(wanted); }

  asio::awaitable<void> publish(std::shared_ptr<const View> view) override;
  asio::awaitable<std::vector<SessionReport>> quiesce(std::chrono::milliseconds limit,
                                                      bool terminate) override;
  asio::awaitable<void> warm(Side side, std::chrono::milliseconds limit) override;
  asio::awaitable<std::vector<SessionReport>> pinned(std::chrono::milliseconds limit) override;
  asio::awaitable<std::vector<SessionReport>> open_transactions() override;
  asio::awaitable<std::vector<ClientReport>> clients() override;
  asio::awaitable<ServersReport> servers() override;
  void release_tickets() noexcept override;
  [[nodiscard]] SessionTotals totals() const override;

 private:
  asio::awaitable<void> stop_accepting();
  template <class T>
  using Ask = std::function<asio::awaitable<T>(Worker&)>;
  template <class T>
  asio::awaitable<std::vector<T>> gather(const Ask<T>& ask);

  const Address listen_;
  SessionResources shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Listener listener_{shared_.workers};
  bool started_ = false;
};

}  // namespace pgjanus
