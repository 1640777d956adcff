#pragma once
// The verbs of an operator, as the admin console calls them. Implemented by the engine.

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proxy/engine/status.hpp"

namespace pgjanus {

/// How a verb ended; the values are the exit codes of contract.md.
enum class Ended : int {
  done = 0, error = 1, not_ready = 2, differences = 3, refused = 4, timed_out = 5, in_doubt = 6
};
/// The SQLSTATE that the admin socket answers with; empty for done.
[[nodiscard]] std::string_view sqlstate_of(Ended ended) noexcept;

struct Outcome {
  Ended ended = Ended::done;
  std::string message;      // One sentence: what happened, where.
  std::string hint;         // What to do; may be empty.
  nlohmann::json document;  // The object of --json; null: {"message": …} is made of the message.
};

/// One line of progress for people; called on the control thread.
using Progress = std::function<void(const std::string&)>;

struct FlipOptions {
  Side to = Side::target;
  bool dry_run = false, terminate = false, force = false;
  std::chrono::milliseconds wait{60'000}, timeout{2'000};
};

/// One database's migration. Lives on the control thread; every call too. Long work goes on in
/// the engine when the caller goes away (its coroutine is not awaited any more), except an undecided
/// flip, which the engine undoes when `abandoned()` of its caller turns true.
class Operations {
 public:
  virtual ~Operations() = default;
  using Awaited = boost::asio::awaitable<Outcome>;
  /// Who asked, for the audit log: "uid 1000" or the like.
  struct Caller {
    std::string peer;
    Progress progress;
    std::function<bool()> abandoned;  // May be empty: never.
  };

  virtual Awaited check(Caller caller) = 0;
  virtual Awaited prepare(Caller caller, bool with_schema) = 0;
  virtual Awaited load(Caller caller, std::vector<std::string> tables) = 0;
  virtual Awaited migrate(Caller caller) = 0;
  virtual Awaited verify(Caller caller, std::vector<std::string> tables, bool repair) = 0;
  virtual Awaited reads(Caller caller, ReadsPolicy policy) = 0;
  virtual Awaited flip(Caller caller, FlipOptions options) = 0;
  virtual Awaited pause(Caller caller, std::chrono::milliseconds timeout) = 0;
  virtual Awaited resume(Caller caller) = 0;
  virtual Awaited retry(Caller caller) = 0;
  virtual Awaited skip(Caller caller) = 0;
  /// Ends a load (a verification or repair otherwise) that is under way; what is done stays done.
  virtual Awaited stop_work(Caller caller, bool load) = 0;
  virtual Awaited finish(Caller caller, std::string confirm, bool unfence) = 0;
  virtual Awaited abort(Caller caller, std::string confirm) = 0;
  /// SHOW DIFFERENCES, SHOW EVENTS, SHOW VERIFY: {"columns": [...], "rows": [[...]]}.
  virtual Awaited show(std::string what) = 0;

  /// The present state; cheap.
  [[nodiscard]] virtual Status status() const = 0;
};

}  // namespace pgjanus
