#pragma once
// One flip, carried out: the engine's hands for router/flip.hpp's state machine.

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "proxy/engine/engine.hpp"
#include "router/flip.hpp"

namespace pgjanus {

/// Lives for one CUTOVER (or its dry run) on the control thread. References outlive it.
class FlipRun {
 public:
  FlipRun(Engine& engine, FlipOptions options, Operations::Caller caller)
      : engine_{engine}, options_{options}, caller_{std::move(caller)} {}

  /// What would happen and what stands in the way; changes nothing.
  boost::asio::awaitable<Outcome> dry_run();
  /// Flips or undoes. Ended: done, not_ready, refused, timed_out, in_doubt or error.
  boost::asio::awaitable<Outcome> run();

 private:
  /// Why a step gave up: the flip is undone.
  struct Undone : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  /// Nothing to do. Before a migration the source is no answer to a rollback: there was no flip.
  [[nodiscard]] bool already_there() const;
  struct Guard {
    std::string name, detail, remedy;
    bool ok = true, skippable = false;
    Ended ended = Ended::refused;
  };
  boost::asio::awaitable<std::vector<Guard>> guards();
  boost::asio::awaitable<std::string> catalogs_differ();
  boost::asio::awaitable<std::vector<Waiting>> blockers();
  boost::asio::awaitable<void> prepare_quietly();
  boost::asio::awaitable<void> warm_next_loop();
  boost::asio::awaitable<void> wait_for_locked_tables();
  boost::asio::awaitable<bool> wait_for_long_transactions();
  boost::asio::awaitable<Flip::Event> carry_out(Flip::Action action);
  boost::asio::awaitable<void> hold_or_throw();
  boost::asio::awaitable<void> bar_or_throw();
  boost::asio::awaitable<void> bring_capture();
  boost::asio::awaitable<void> require_capture();
  boost::asio::awaitable<void> drain();
  boost::asio::awaitable<void> drain_once();
  boost::asio::awaitable<Flip::Event> ask();
  boost::asio::awaitable<void> promote_again();
  boost::asio::awaitable<void> undo();
  boost::asio::awaitable<void> open_gate_on_new_primary();
  [[nodiscard]] pg::Duration rest() const;
  /// Why nobody wants this flip any more, as far as it is not decided; nullptr: somebody does.
  [[nodiscard]] const char* given_up() const {
    if (engine_.stopping_) return "pgjanus stops";
    return caller_.abandoned && caller_.abandoned() ? "the caller went away before the decision" : nullptr;
  }
  void say(const std::string& line) const {
    if (caller_.progress) caller_.progress(line);
  }
  [[nodiscard]] Outcome outcome_of(const Flip& flip) const;

  Engine& engine_;
  FlipOptions options_;
  Operations::Caller caller_;
  Side from_ = Side::source;
  std::shared_ptr<MirrorLoop> loop_;  // The engine may let go of it while we wait.
  Engine::Clock::time_point closed_at_{}, deadline_{};
  Engine::Clock::duration waited_{};  // Of options_.wait, for locked tables.
  pg::ConnectionPtr bar_, helper_, promoting_, other_helper_;
  std::shared_ptr<MirrorLoop> next_;  // Of the other direction; started by the decision.
  std::string capture_stands_;        // Of the new primary: what the server said when it was whole.
  std::uint64_t schema_changes_ = 0;  // Of loop_, when next_ was warmed.
  Epoch epoch_;
  std::string nonce_, last_flip_;
  bool parked_ = false, held_ = false, forced_ = false, timed_out_ = false, doubt_ = false;
  double blackout_ms_ = 0;
  std::string why_;
  std::vector<Waiting> blockers_;
};

}  // namespace pgjanus
