#pragma once
// An engine without a migration and sessions without clients: tests derive from them and answer
// what they are about.

#include <nlohmann/json.hpp>

#include "proxy/engine/operations.hpp"
#include "proxy/session/control.hpp"

namespace pgjanus::test {

/// Every verb says that there is nothing.
class NoMigration : public Operations {
 public:
  explicit NoMigration(std::string database) : database_{std::move(database)} {}

  Awaited check(Caller) override { return none(); }
  Awaited prepare(Caller, bool) override { return none(); }
  Awaited load(Caller, std::vector<std::string>) override { return none(); }
  Awaited migrate(Caller) override { return none(); }
  Awaited verify(Caller, std::vector<std::string>, bool) override { return none(); }
  Awaited reads(Caller, ReadsPolicy) override { return none(); }
  Awaited flip(Caller, FlipOptions) override { return none(); }
  Awaited pause(Caller, std::chrono::milliseconds) override { return none(); }
  Awaited resume(Caller) override { return none(); }
  Awaited retry(Caller) override { return none(); }
  Awaited skip(Caller) override { return none(); }
  Awaited stop_work(Caller, bool) override { return none(); }
  Awaited finish(Caller, std::string, bool) override { return none(); }
  Awaited abort(Caller, std::string) override { return none(); }
  Awaited show(std::string) override { return none(); }
  [[nodiscard]] Status status() const override {
    Status status;
    status.database = database_;
    status.not_ready_because = "no engine";
    return status;
  }

 protected:
  static Awaited none() {
    Outcome outcome;
    outcome.ended = Ended::not_ready;
    outcome.message = "this program has no engine";
    co_return outcome;
  }

 private:
  std::string database_;
};

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
  boost::asio::awaitable<ServersReport> servers() override { co_return ServersReport{}; }
  void release_tickets() noexcept override {}
  [[nodiscard]] SessionTotals totals() const override { return {}; }
};

}  // namespace pgjanus::test
