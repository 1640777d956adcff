#pragma once
// Where clients come in: sockets of our own, or inherited ones that outlive us.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/session/worker.hpp"

namespace pgjanus {

/// Accepts clients and deals them out to the workers in turn. open() and adopt() before the threads
/// run; everything else on the first worker's thread.
class Listener {
 public:
  explicit Listener(const std::vector<Worker*>& workers) : workers_{workers} {}

  /// A listening socket of our own. Throws SettingsError when the address cannot be bound.
  void open(const Address& address);
  /// A listening socket that somebody handed to us and keeps; takes the descriptor. Throws
  /// SettingsError.
  void adopt(int descriptor);
  void start();
  /// No more clients on inherited sockets, which wait for our successor in the kernel's queue. Our own
  /// stay open: there new clients are told that we stop, and cancel requests still come in.
  void drain();
  void close();
  /// "127.0.0.1:6432, [::1]:6432", with the real port where 0 was asked for.
  [[nodiscard]] std::string addresses() const;
  [[nodiscard]] bool inherited() const noexcept { return inherited_; }

 private:
  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
  asio::awaitable<void> accept(Acceptor& acceptor);

  const std::vector<Worker*>& workers_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  bool inherited_ = false;
  Deadline quiet_until_{};  // Failures to accept are not logged again before.
  std::size_t next_ = 0;
};

}  // namespace pgjanus
