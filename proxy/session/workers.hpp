#pragma once
// All sessions: the listener, the worker threads, and what the engine asks of them.

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <vector>

#include "proxy/session/worker.hpp"

namespace pgjanus {

/// Owns listener and threads. Constructed, started and destroyed on the control thread.
class Workers final : public SessionControl {
 public:
  /// Loads the certificate. Throws SettingsError. `tickets` outlives it.
  Workers(const Settings& settings, Tickets& tickets);
  ~Workers() override;

  /// Listens and starts the threads. Throws SettingsError when the address cannot be bound.
  void start();
  /// Where it listens; the port is the real one when the settings said 0. After start().
  [[nodiscard]] std::string address() const;
  /// Ends every session and joins the threads: from then on nobody draws tickets or calls back.
  /// Idempotent. Bounded by the sessions' own farewell limits.
  void stop();
  /// SIGTERM: no new clients, each session ends at its next boundary with FATAL 57P01, until the
  /// limit has passed; what is left then is ended by stop().
  asio::awaitable<void> begin_drain(std::chrono::milliseconds limit);

  /// RELOAD: who may log in, how, and with which certificate; see SessionResources::use().
  void use(const Settings& wanted) { shared_.use(wanted); }

  asio::awaitable<void> publish(std::shared_ptr<const View> view) override;
  asio::awaitable<std::vector<SessionReport>> quiesce(std::chrono::milliseconds limit,
                                                      bool terminate) override;
  asio::awaitable<void> warm(Side side, std::chrono::milliseconds limit) override;
  asio::awaitable<std::vector<SessionReport>> pinned(std::chrono::milliseconds limit) override;
  asio::awaitable<std::vector<SessionReport>> open_transactions() override;
  asio::awaitable<std::vector<ClientReport>> clients() override;
  void release_tickets() noexcept override;
  [[nodiscard]] SessionTotals totals() const override;

 private:
  asio::awaitable<void> listen();
  template <class T>
  using Ask = std::function<asio::awaitable<T>(Worker&)>;
  template <class T>
  asio::awaitable<std::vector<T>> gather(const Ask<T>& ask);

  const Address listen_;
  SessionResources shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<asio::ip::tcp::acceptor> acceptor_;  // On the first worker's thread.
  bool started_ = false;
};

}  // namespace pgjanus
