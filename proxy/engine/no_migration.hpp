#pragma once
// Operations of a program that has no engine: every verb says so. Tests derive from it and answer
// what they are about.

#include <nlohmann/json.hpp>

#include "proxy/engine/operations.hpp"

namespace pgjanus {

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

}  // namespace pgjanus
