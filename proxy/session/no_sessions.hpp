#pragma once
// Sessions of a process that serves nobody: `check` alone, and tests.

#include "proxy/session/control.hpp"

namespace pgjanus {

/// Answers at once: nothing is open, nothing is held.
class NoSessions final : public SessionControl {
 public:
  boost::asio::awaitable<void> publish(std::shared_ptr<const View>) override { co_return; }
  boost::asio::awaitable<std::vector<SessionReport>> quiesce(std::chrono::milliseconds,
                                                             bool) override {
    co_return std::vector<SessionReport>{};
  }
  boost::asio::awaitable<void> warm(Side, std::chrono::milliseconds) override { co_return; }
  boost::asio::awaitable<std::vector<SessionReport>> pinned(std::chrono::milliseconds) override {
    co_return std::vector<SessionReport>{};
  }
  boost::asio::awaitable<std::vector<SessionReport>> open_transactions() override {
    co_return std::vector<SessionReport>{};
  }
  boost::asio::awaitable<std::vector<ClientReport>> clients() override {
    co_return std::vector<ClientReport>{};
  }
  void release_tickets() noexcept override {}
  [[nodiscard]] SessionTotals totals() const override { return {}; }
};

}  // namespace pgjanus
