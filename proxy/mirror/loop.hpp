#pragma once
// The mirror loop: batch after batch, from whichever side is primary to the other (design.md
// section 5). One object a direction; a flip ends it and starts another.

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "proxy/engine/databases.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/engine/wakeup.hpp"
#include "proxy/mirror/batch.hpp"
#include "proxy/mirror/mirror.hpp"
#include "proxy/schema/privileges.hpp"
#include "proxy/session/control.hpp"

namespace pgjanus {

inline constexpr pg::Duration ddl_step_limit{3'600'000};  // An index on a large table.

class MirrorLoop;

/// The primary's catalog as one snapshot shows it, read beside the batches.
struct MarkedCatalog {
  bool over = false;   // Read, or failed: then there is no shape.
  bool late = false;   // It should have been stored by now; DDL does not wait any longer.
  bool exact = false;  // Of the moment that was marked; otherwise of a later one.
  bool begins = false; // Nothing was marked: a new process looks whether something is stored.
  bool stored = false; // On the mirror.
  std::optional<ddl::Shape> shape;
  std::optional<schema::Privileges> privileges;
  ddl::Marks marks;    // Of the same snapshot; empty: what else a look goes through was not found as it should be, and
  ddl::Found found;    // somebody has to look at all of it.
};


/// Rings from any thread when a ticket is drawn; outlives every loop. The loop that listens is set
/// and cleared on the control thread, so a ring that comes late finds nobody or its successor.
struct Bell {
  explicit Bell(boost::asio::any_io_executor on) : executor{std::move(on)} {}
  void ring() noexcept;
  boost::asio::any_io_executor executor;
  std::atomic<bool> sleeping{false};
  MirrorLoop* listener = nullptr;  // Control thread only.
};

/// What the loop is told at its start.
struct LoopSettings {
  Side primary = Side::source;
  Epoch epoch;
  bool wait_for_both = true;  // acknowledge = both: batches follow each other without a pause.
  std::chrono::milliseconds acknowledge_wait{1000};
  MirrorState initially = MirrorState::catching_up;  // in_sync after a flip: both are equal.
  bool replay_ddl = false;
  bool beside_load = false;          // But for what a load builds.
  std::vector<std::string> exclude;  // Patterns of tables that are not to be mirrored.
};

/// What status shows of it.
struct LoopReport {
  MirrorState state = MirrorState::catching_up;
  std::optional<std::string> error;       // Why it is stalled or degraded.
  std::optional<std::string> boundary_at; // When the last boundary's snapshot was taken.
  std::optional<double> lag_ms;           // Age of the newest state that both sides share.
  std::uint64_t keys = 0, batches = 0, errors = 0;
  std::set<int> held_up;                  // Tables that wait for a lock of the app.
  std::string last_nonce;
  std::uint64_t keys_now = 0;             // Of the batch under way, so far.
  bool settled = false;  // in_sync since before the last batch: all that was acknowledged is there.
};

//   connecting --both reached--> catching_up --a batch within acknowledge_wait--> in_sync
//       ^                             ^                                          |    |
//       |                             +--------- degraded <--ticket timed out----+    |
//       +-- connection lost (degraded) <----------------------------------------------+
//   any --an error that is no lost connection--> stalled --RETRY, SKIP, reload or 5 s--> catching_up
//
// Durable: only the mirror's boundary, moved by compare-and-swap in the transaction that applies
// the batch. Everything else here is read back from the databases after a restart.
class MirrorLoop final : public MirrorControl {
 public:
  using Clock = std::chrono::steady_clock;
  MirrorLoop(boost::asio::any_io_executor executor, const Databases& databases,
             LoopSettings settings, Tickets& tickets, Bell& bell, std::function<void()> covered,
             std::function<void()> changed);

  /// Opens the connections and reads both catalogs ahead of run(), before the roles are those of the
  /// settings: what a flip's first commits would otherwise wait for. Changes nothing. Throws pg::Error.
  boost::asio::awaitable<void> warm();
  /// At a flip, with the new primary promoted and nobody writing there yet: what its catalog is at this moment
  /// can be read later, and what DDL changes from now on is replayed. Does not throw.
  boost::asio::awaitable<void> mark_catalog();
  /// Runs until stop(). Logs and survives every error of the databases.
  boost::asio::awaitable<void> run();
  /// Asks run() to end; it is over when stopped() says so.
  void stop() noexcept;
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// A ticket was drawn.
  void wake() noexcept { work_.notify(); }
  /// A commit waited too long: degraded until a batch is quick again.
  void degrade(std::string why);
  /// What an operator may change while it runs.
  void change(bool wait_for_both, std::chrono::milliseconds acknowledge_wait) noexcept;
  /// Tries again now after an error.
  void retry() noexcept;
  /// The table at which the loop is stalled; 0: none.
  [[nodiscard]] int stalled_at() const noexcept { return stalled_table_; }

  /// From now on changes of the primary's catalog are brought to the mirror (proxy/ddl/README.md); `beside_load`: but for
  /// what the load builds, until this is called without it.
  void replay_ddl(bool beside_load = false) noexcept {
    ddl_.on = true;
    ddl_.beside_load = beside_load;
    ddl_.load_ended = !beside_load;
    forget_tables();  // What was left out as the mirror lacked it may be DDL that is still to come.
    look_at_ddl();
  }
  [[nodiscard]] bool replays_ddl() const noexcept { return ddl_.on; }
  /// DDL is held for a look that it spoilt too often; or what mark_catalog() has marked is not read yet, or not stored although the mirror is there; or it is not known
  /// yet whether the process before us had stored it: until changed() is called DDL must wait.
  [[nodiscard]] bool reads_catalog() const noexcept {
    const auto* marked = ddl_.at_flip.get();
    return (ddl_.held && *ddl_.held) || (marked && (!marked->over || (!marked->late && (marked->begins || state_ == MirrorState::in_sync))));
  }
  /// Looks at the catalog with the next batch, whatever the sessions say.
  void look_at_ddl() noexcept {
    ddl_.due = true;
    ddl_.probe.clear();
    ddl_.found.marks.clear();
  }
  /// What the mirror could not be brought to; empty: nothing.
  [[nodiscard]] const std::string& stalled_at_ddl() const noexcept { return ddl_.stalled; }
  /// Tables of the primary that nothing mirrors, since capture cannot stand on them, and why.
  [[nodiscard]] const std::set<std::string>& not_captured() const noexcept { return ddl_.beyond_us; }
  /// How often the mirror's schema, or the primary's list of tables, was changed.
  [[nodiscard]] std::uint64_t schema_changes() const noexcept override { return ddl_.changes_made; }
  /// What warm() has read is not true any more: it is read anew.
  void forget_warmth() noexcept { described_.reset(); }
  /// Leaves out what the mirror refuses in the next batch.
  void skip_ddl() noexcept { ddl_.skip_asked = true; }

  /// Stands still between two batches until unpark(). Throws pg::Error past the limit.
  boost::asio::awaitable<void> park(pg::Duration limit);
  void unpark() noexcept;
  /// While parked: one batch whose snapshot is taken now, with the DDL that it shows. Throws what it meets; behind a
  /// closed bar, where the primary takes no writes, ours neither, PGJ04 for what would need some; no step of DDL takes
  /// longer than `limit` there.
  enum class Bar { open, closed };
  boost::asio::awaitable<void> drain(Bar bar = Bar::open, pg::Duration limit = {});
  /// Tables whose rows the boundary does not cover (while parked: the drained one), and why.
  [[nodiscard]] std::vector<std::string> not_mirrored() const;

  [[nodiscard]] LoopReport report() const;
  [[nodiscard]] const MirroredTables& tables() const noexcept { return tables_; }
  [[nodiscard]] const Boundary& boundary() const noexcept { return boundary_; }
  /// Lowest transaction id that the journal must keep; rows below are nobody's.
  [[nodiscard]] FullXid journal_horizon() const;
  [[nodiscard]] bool replica_role() const noexcept { return replica_role_; }
  /// Reads pgjanus.tables and both catalogs anew before the next batch.
  void forget_tables() noexcept {
    tables_known_ = false;
    ddl_.stored.reset();
  }

  boost::asio::awaitable<void> detach(std::vector<int> tables, TableState state,
                                      pg::Duration limit) override;
  boost::asio::awaitable<void> attach(std::vector<int> tables, pg::Duration limit) override;
  boost::asio::awaitable<void> reload(std::vector<int> tables, pg::Duration limit) override;
  boost::asio::awaitable<TwinSnapshots> twin_snapshots(TwinSnapshots used, pg::Duration limit) override;
  boost::asio::awaitable<void> catch_up(pg::Duration limit) override;

 private:
  static constexpr int surprises_with_ddl = 6;
  static constexpr int holds_from = 2;       // Looks that DDL spoilt in a row before the next one is made in peace.
  static constexpr int surprises_max = 20;  // Batches thrown away in a row before it is an error.
  boost::asio::awaitable<void> connect();
  boost::asio::awaitable<void> open_connections();
  boost::asio::awaitable<void> read_boundary();
  boost::asio::awaitable<void> create_boundary();
  boost::asio::awaitable<void> read_tables();
  struct Described {
    std::vector<TableInfo> primary, mirror;
    std::set<int> mistaken;  // On the primary, by capture::mistaken().
  };
  boost::asio::awaitable<void> describe_primary(Described& described);
  boost::asio::awaitable<void> describe_mirror(Described& described);
  boost::asio::awaitable<Described> describe_both();
  void forget_newcomers(std::vector<TableInfo>& primary) const;
  boost::asio::awaitable<void> reload_unlogged();
  boost::asio::awaitable<void> turn();
  boost::asio::awaitable<void> cycle(bool store, TwinSnapshots* twins);
  boost::asio::awaitable<void> patient_cycle(TwinSnapshots* twins);
  static bool passing(const pg::Error& error) noexcept;
  /// What trying again with a new snapshot helps against.
  static bool somebody_is_in_the_way(const pg::Error& error) noexcept;
  boost::asio::awaitable<void> gather();
  boost::asio::awaitable<void> share_snapshot(TwinSnapshots& twins, std::string snapshot);
  boost::asio::awaitable<void> look_at_locks();
  boost::asio::awaitable<void> save_holds();
  [[nodiscard]] bool look_due() const noexcept;
  boost::asio::awaitable<bool> look_at_catalog(const std::string& snapshot);
  boost::asio::awaitable<void> read_now();
  boost::asio::awaitable<bool> looks_too_late();
  boost::asio::awaitable<void> know_shape();
  void number_columns();
  void begin_catalog();
  boost::asio::awaitable<void> follow_privileges();
  boost::asio::awaitable<ddl::Amended> what_the_load_left();
  boost::asio::awaitable<bool> capture_stands();
  boost::asio::awaitable<void> describe_listed(const std::vector<ddl::Listed>& listing);
  boost::asio::awaitable<void> describe_mirrored();
  boost::asio::awaitable<void> open_lister();
  boost::asio::awaitable<void> bring_capture();
  boost::asio::awaitable<bool> catalog_moved_on();
  boost::asio::awaitable<void> judge_connect_failure(pg::Error& failure);
  void catalog_in_motion();
  void hold_ddl();
  void let_ddl_go();
  boost::asio::awaitable<void> begin_replay(Batch& batch);
  boost::asio::awaitable<void> run_apart();
  boost::asio::awaitable<void> bar_copies();
  boost::asio::awaitable<std::vector<ddl::Step>> run_steps(std::vector<ddl::Step> steps, bool last);
  struct Way;
  boost::asio::awaitable<void> run_cleared(std::vector<ddl::Step>& steps, bool last, Way& way);
  boost::asio::awaitable<void> clear_way(Way& way);
  boost::asio::awaitable<std::vector<ddl::Step>> try_steps(std::vector<ddl::Step> steps, bool last);
  boost::asio::awaitable<bool> goes_aside(ddl::Step& step, const pg::Error& refusal);
  boost::asio::awaitable<void> find_relabelled(const Boundary& to);
  boost::asio::awaitable<void> keep_relabelled();
  boost::asio::awaitable<void> know_relabelled();
  boost::asio::awaitable<void> read_late_labels();
  boost::asio::awaitable<void> pair_tables_anew();
  boost::asio::awaitable<void> owe_whole(std::set<int> tables);
  boost::asio::awaitable<bool> clear_left_out();
  boost::asio::awaitable<void> end_replay();
  void replayed();
  boost::asio::awaitable<void> after_failure(std::exception_ptr& failure);
  void check_header(const BatchHeader& header) const;
  void handle(const pg::Error& error, int table);
  boost::asio::awaitable<void> lift_check(pg::Error& failure);
  void hold_up(int table);
  void hold_up_rewritten();
  void drop_connections() noexcept;
  void set_state(MirrorState state, std::optional<std::string> why);
  bool tell_what_lacks();
  void finished_batch(Clock::time_point began, std::uint64_t covered);
  boost::asio::awaitable<void> wait_for_work();
  [[nodiscard]] BatchPlan plan() const;
  [[nodiscard]] Side mirror_side() const noexcept { return other(settings_.primary); }

  boost::asio::any_io_executor executor_;
  const Databases& databases_;
  LoopSettings settings_;
  Tickets& tickets_;
  Bell& bell_;
  std::function<void()> covered_, changed_;

  pg::ConnectionPtr reader_, applier_;
  pg::ConnectionPtr lister_;  // Writes the primary's list and its capture, and sees what is there by now; kept while DDL goes on.
  Clock::time_point listed_at_{};
  pg::ConnectionPtr marker_, keeper_;  // From warm() to mark_catalog().
  MirroredTables tables_;
  Boundary boundary_;
  bool placed_ = false;        // The boundary was read over these connections.
  bool tables_known_ = false, replica_role_ = false;
  std::optional<Described> described_;  // By warm().
  std::map<int, std::string> own_;       // Catching up from, or held up at, these boundaries.
  std::map<int, std::string> waiting_;   // Own boundaries of tables that are left out.
  std::set<int> held_up_, left_out_, unsaved_holds_;
  std::set<int> rewritten_;              // Why the last batch was thrown away.
  struct Rest {
    std::chrono::milliseconds pause{0};
    Clock::time_point until;
  };
  std::map<int, Rest> restless_;         // Held up as they were rewritten again and again; until a batch went well with them.
  std::size_t rested_ = 1;               // How many of them may come back at once.
  bool batch_was_long_ = false;          // The one that failed last.
  std::map<int, std::string> pending_detach_;  // Of those held up: what has to be ended.
  std::map<int, std::string> broken_;    // Tables in state error or capture_lost, and why: LOAD brings them, or nothing.
  bool to_be_loaded_ = false;            // There are tables that a load has in hand, or will have.
  std::string system_;                   // Of the primary's cluster, read at connect.

  // DDL. `known` is the catalog as of the boundary, durable on the mirror; the rest is memory.
  struct Ddl {
    // `skip` is taken from what was asked when a replay begins, so that all of one try goes by the same.
    bool on = false, due = true, skip = false, skip_asked = false, beside_load = false, behind_bar = false;
    bool load_ended = false;      // And no look has succeeded since: what stands on the mirror is looked at.
    ddl::Shape known;
    bool shape_known = false;
    std::shared_ptr<MarkedCatalog> at_flip;  // As it was when the gate was closed; until it is read nobody looks.
    ddl::Marks probe;             // As of `known`.
    std::uint64_t defined = 0;    // Transactions that a look has covered.
    Clock::time_point looked_at{};
    std::uint64_t changes_made = 0;
    bool strays = false;          // The journal may name tables that were made and dropped between two looks.
    bool unknowable = false;      // Prepared by a version that stored no shape.
    pg::Duration drain_limit{};   // What a step may take behind the bar.
    std::string stalled;
    std::string looked;           // The boundary of the last look; empty: none yet. Batches since went by `known`.
    std::map<int, std::string> once_more;  // Tables whose keys the batch takes from there on.
    std::map<std::int64_t, std::string> noted;  // Partitions that came back, each by its link.
    std::map<int, FullXid> relabelled;  // Tables whose keys or whole rows have labels or attributes in them, and from which id on all are by those of now.
    std::set<std::string> beyond_us;  // Tables that we may not capture, and why.
    std::map<int, std::string> misfits;  // Tables whose columns do not fit: perhaps DDL that is still to come.
    std::map<int, std::string> broken;   // It is not: a later snapshot shows nothing to be replayed.
    // Of the batch under way:
    bool looking = false, in_look = false;  // It looked at the catalog, or is about to.
    std::optional<std::set<int>> again;  // Tables that are to be described again; none: all.
    std::optional<Described> next;       // As of this batch's end.
    std::optional<std::set<std::int64_t>> touched;  // The primary's relations that are another than at the last look; none: all.
    ddl::Shape now;
    ddl::Changes changes;
    ddl::Marks seen;
    std::vector<ddl::Step> left;  // Early ones that wait for what comes late.
    std::set<std::int64_t> astray;  // Roots of trees whose rows would go elsewhere until these have run.
    std::set<int> put_off;        // Their tables.
    std::set<int> new_tables;
    std::optional<pg::Error> refusal;
    // DDL meanwhile:
    bool in_motion = false;       // What the last batch failed by.
    int unsettled = 0;            // Looks that it spoilt in a row.
    ddl::Found found;
    std::vector<ddl::Listed> listing, next_listing;
    std::optional<Described> stored;  // The listed tables of both sides as of `known`, and the list; none: not known.
    std::shared_ptr<bool> held;   // DDL through us waits until a look is over, or the hold has lasted long enough.
    Clock::time_point hold_again_at{};
    ddl::Marks at_failure;        // The probe when connecting failed last.
  } ddl_;

  // Privileges of the app's roles: no part of a batch, brought behind it.
  struct Granted {
    bool due = true;
    Clock::time_point not_before{};
    std::optional<Clock::time_point> again_at;  // Roles are wanting on the mirror, or it refused something.
    std::optional<schema::Privileges> before;   // The primary's when they were brought last; none: as it is stored.
    std::shared_ptr<MarkedCatalog> at_flip;     // Has those of when clients were held; until it is read nobody asks for later ones.
    std::set<std::string> absent;               // Told of already,
    std::vector<std::string> refused;           // and these.
  } granted_;

  MirrorState state_ = MirrorState::catching_up;
  bool settled_ = false;
  std::optional<std::string> error_;
  std::optional<std::string> boundary_at_;
  std::optional<Clock::time_point> shared_at_;  // When the newest common state was current.
  Clock::time_point stored_at_{}, locks_seen_at_{};
  Clock::duration batch_took_{};         // The last one, from its snapshot on.
  const Batch* under_way_ = nullptr;
  std::uint64_t gathered_from_ = 0;      // Tickets that the batches so far have met.
  int gathers_to_skip_ = 0, gathers_skipped_ = 0;
  std::uint64_t keys_ = 0, batches_ = 0, batches_at_rest_ = 0, errors_ = 0;
  std::chrono::milliseconds idle_wait_{100};
  int stalled_table_ = 0;
  int surprises_ = 0;                    // Batches thrown away in a row (DDL meanwhile).
  std::chrono::milliseconds pause_{0};   // Before the next try after an error.

  Wakeup work_, rest_, resumed_;
  int park_wanted_ = 0;
  bool owned_ = false;  // By whoever parked the loop: one at a time.
  bool at_rest_ = false, stop_ = false, stopped_ = false;
};

}  // namespace pgjanus
