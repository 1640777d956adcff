#pragma once
// One database's migration: who is primary, the mirror loop, and the operator's verbs.

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/operations.hpp"
#include "proxy/engine/wakeup.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/load/loader.hpp"
#include "proxy/mirror/loop.hpp"
#include "proxy/session/control.hpp"
#include "proxy/settings/settings.hpp"
#include "proxy/verify/verifier.hpp"
#include "router/recovery.hpp"

namespace pgjanus {

/// Why `run` cannot go on: another proxy leads, the pair does not belong together, ….
struct EngineRefused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Lives on the control thread; every method too. Owns the mirror loop and the loader. What it
/// remembers is a copy: the databases hold the truth and are asked again at every start.
class Engine final : public Operations {
 public:
  using Clock = std::chrono::steady_clock;
  Engine(boost::asio::any_io_executor executor, const Settings& settings,
         SessionControl& sessions, Tickets& tickets);
  ~Engine() override;

  /// Finds out who is primary, publishes it, and keeps house until stop(). Throws EngineRefused.
  boost::asio::awaitable<void> run();
  void stop() noexcept;
  /// The settings it refers to were changed: sessions and the mirror loop go by the new ones.
  void settings_changed();

  Awaited check(Caller caller) override;
  Awaited prepare(Caller caller, bool with_schema) override;
  Awaited load(Caller caller, std::vector<std::string> tables) override;
  Awaited migrate(Caller caller) override;
  Awaited verify(Caller caller, std::vector<std::string> tables, bool repair) override;
  Awaited reads(Caller caller, ReadsPolicy policy) override;
  Awaited flip(Caller caller, FlipOptions options) override;
  Awaited pause(Caller caller, std::chrono::milliseconds timeout) override;
  Awaited resume(Caller caller) override;
  Awaited retry(Caller caller) override;
  Awaited skip(Caller caller) override;
  Awaited stop_work(Caller caller, bool load) override;
  Awaited finish(Caller caller, std::string confirm, bool unfence) override;
  Awaited abort(Caller caller, std::string confirm) override;
  Awaited show(std::string what) override;
  [[nodiscard]] Status status() const override;

 private:
  friend class FlipRun;

  // What stands behind the verbs (engine_verbs.cpp, engine_status.cpp).
  Awaited prepare_now(Caller caller, bool with_schema);
  Awaited load_tables(Caller caller, std::vector<std::string> names);
  /// No earlier verification counts any more: flips ask for another one.
  boost::asio::awaitable<void> distrust();
  Awaited verify_now(Caller caller, std::vector<std::string> tables, bool repair);
  Awaited reads_now(ReadsPolicy policy);
  Awaited skip_now(int table);
  Awaited finish_now(Caller caller, bool unfence_old);
  Awaited abort_now(Caller caller);
  boost::asio::awaitable<void> end_pause(std::uint64_t number, std::chrono::milliseconds timeout);
  boost::asio::awaitable<void> watch_validation();

  // Verifications of [verify] every (engine_schedule.cpp).
  void verify_when_due();
  [[nodiscard]] bool verification_due(Clock::time_point now);
  void note_progress(const VerifyProgress& now);
  Awaited verify_on_schedule();
  Awaited go_on_verifying();
  boost::asio::awaitable<void> end_scheduled_verification();

  // Finding the place (engine_start.cpp).
  boost::asio::awaitable<void> lead(Side side, bool patient);
  boost::asio::awaitable<void> lead_again(Side side);
  boost::asio::awaitable<void> leave_primary_alone();
  boost::asio::awaitable<void> nobody_else_leads();
  boost::asio::awaitable<std::string> lead_primary_again();
  boost::asio::awaitable<void> refuse_same_database();
  boost::asio::awaitable<bool> look_and_act();
  boost::asio::awaitable<void> finish_promotion(Side to);
  boost::asio::awaitable<void> fence_stale(Side stale);
  boost::asio::awaitable<void> adopt(const Recovery& recovery, const PerSide<SideReport>& sides);
  boost::asio::awaitable<void> refuse_two_full_databases();

  boost::asio::awaitable<std::optional<StoredState>> settled_state(pg::Connection& connection);
  boost::asio::awaitable<void> recover_in_background();
  void spawn_recovery();
  boost::asio::awaitable<void> look_again();

  // Mirroring (engine_mirror.cpp).
  boost::asio::awaitable<void> start_mirroring(MirrorState initially);
  boost::asio::awaitable<void> start_mirroring(std::shared_ptr<MirrorLoop> loop);
  [[nodiscard]] std::shared_ptr<MirrorLoop> make_loop(Side primary, Epoch epoch, MirrorState initially);
  boost::asio::awaitable<void> stop_mirroring();
  void retire_loop();
  boost::asio::awaitable<void> hush_watch();
  boost::asio::awaitable<Outcome> load_now(std::vector<int> ids, Caller caller);
  void mirror_changed();
  void resume_load();
  boost::asio::awaitable<void> publish();
  [[nodiscard]] std::shared_ptr<const View> make_view() const;

  // Keeping house (engine_watch.cpp).
  boost::asio::awaitable<void> watch();
  boost::asio::awaitable<void> watch_primary();
  boost::asio::awaitable<void> watch_mirror();
  boost::asio::awaitable<void> watch_tables();
  boost::asio::awaitable<void> watch_catalog();
  boost::asio::awaitable<void> refresh_tables(pg::Connection& connection);
  boost::asio::awaitable<void> clean_journal();
  boost::asio::awaitable<void> end_capture();
  boost::asio::awaitable<bool> start_again_after_capture_ended();
  boost::asio::awaitable<void> read_catalog(pg::Connection& connection);
  boost::asio::awaitable<void> read_names(pg::Connection& connection);
  void note_waiting(std::vector<Waiting> waiting, Side side);

  boost::asio::awaitable<void> set_phase(Phase phase);
  boost::asio::awaitable<void> audit(const Caller& caller, std::string command,
                                     const Outcome& outcome);
  Awaited exclusively(const char* verb, Caller caller, std::function<Awaited()> work);
  [[nodiscard]] Side primary() const noexcept { return primary_.value_or(Side::source); }
  [[nodiscard]] Side mirror() const noexcept { return other(primary()); }
  boost::asio::awaitable<pg::ConnectionPtr> open(Side side, std::string purpose) {
    return databases_.open(side, std::move(purpose));
  }

  boost::asio::any_io_executor executor_;
  const Settings& settings_;
  SessionControl& sessions_;
  Tickets& tickets_;
  Databases databases_;
  Bell bell_;

  std::optional<Side> primary_;
  Epoch epoch_;
  Phase phase_ = Phase::idle;
  Held held_ = Held::none;
  std::uint64_t pause_number_ = 0;       // A later pause outlives the timer of an earlier one.
  ReadsPolicy reads_;
  std::string migration_, why_not_ready_ = "starting";
  std::shared_ptr<const Catalog> catalog_;
  std::uint64_t catalog_as_of_ = 0;
  std::shared_ptr<const PerSide<Rewriter>> names_;  // As of the same.
  Clock::time_point catalog_next_{};     // Not read again before, whatever DDL there is.

  PerSide<pg::ConnectionPtr> leader_;    // Holds the advisory lock of each side.
  bool leading_ = false;                 // Watch and prepare must not both take the lock, or drop it.
  bool primary_left_alone_ = false;      // Not the primary's, while nothing is prepared.
  PerSide<pg::ConnectionPtr> watcher_;
  std::shared_ptr<MirrorLoop> loop_;     // Whoever awaits while using it holds a copy.
  std::unique_ptr<Loader> loader_;
  std::optional<Outcome> load_outcome_;  // Of the last load.
  bool joinable_load_ = false;           // A load verb is under way, from its first moment on.
  bool loading_ = false, flipping_ = false;
  bool watching_ = false;                // The watch runs statements of its own right now.
  std::string busy_with_;                // The verb that changes things; empty: none.
  bool stop_asked_ = false;              // The operator wants that verb to end.
  bool stopping_ = false;
  Wakeup wake_;

  // What status shows; filled by the watch.
  std::vector<TableStatus> tables_;
  std::map<std::string, std::int64_t> differences_;
  PerSide<std::vector<Waiting>> waiting_;
  std::vector<Waiting> flip_waiting_;
  std::optional<std::int64_t> journal_bytes_, backlog_keys_;
  std::optional<std::string> verify_at_;
  std::optional<std::int64_t> verify_tables_, verify_differences_;
  Clock::time_point verify_ended_at_{};  // Or failed to begin; {}: not since our start.
  Clock::time_point verify_rests_until_{};  // After STOP VERIFY.
  bool scheduled_verify_ = false, make_way_ = false;
  bool look_for_unfinished_ = true;      // A run that was interrupted may be stored.
  std::optional<VerifyStatus> verifying_;
  std::string joinable_verify_;          // What the verification under way compares; empty: none.
  std::optional<Outcome> verify_outcome_;
  bool verified_since_change_ = false;   // A clean verification since load, reload, repair or SKIP.
  std::uint64_t distrusted_ = 0;         // How often it was withdrawn, perhaps while another one ran.
  std::optional<LastFlip> last_flip_;
  std::optional<std::string> load_error_;
  std::string capture_stood_;            // Epoch and footprint of the primary when nothing was lost.
  std::string catalog_shape_;            // Of the primary; a change makes the loop look again.
  std::vector<std::string> uncaptured_;  // Tables of the primary that nothing mirrors.
  PerSide<bool> reachable_;
  PerSide<std::optional<double>> oldest_transaction_;
  Clock::time_point primary_seen_at_{}, cleaned_at_{}, catalog_read_at_{}, sequences_at_{},
      vacuumed_at_{}, tables_seen_at_{}, backlog_next_{};
  std::uint64_t backlog_after_ = 0;      // Batches, when the backlog was counted.
  std::uint64_t deleted_since_vacuum_ = 0;
  std::uint64_t mirror_keys_before_ = 0, mirror_batches_before_ = 0, mirror_errors_before_ = 0;
  std::uint64_t verify_rows_ = 0, flips_done_ = 0, flips_undone_ = 0, flips_in_doubt_ = 0;
  std::vector<double> blackouts_;
  std::string member_name_;
};

}  // namespace pgjanus
