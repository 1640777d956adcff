#pragma once
// The loader's inside: one table's way through the load, and the workers that take its jobs.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/load/early.hpp"
#include "proxy/load/loader.hpp"
#include "proxy/load/plan.hpp"
#include "proxy/load/post_data.hpp"
#include "proxy/schema/differences.hpp"
#include "proxy/schema/table.hpp"
#include "router/rewrite.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace load {

using Clock = std::chrono::steady_clock;

// A COPY that moves nothing for so long is cut off and tried again.
inline constexpr pg::Duration copy_idle_limit{5 * 60'000};
// Index builds, big deletes and a table's last statement say nothing while they run.
inline constexpr pg::Duration work_limit{24 * 3'600'000};
// The mirror loop may stand in a long batch.
inline constexpr pg::Duration attach_limit{30 * 60'000};
// How long failures that may pass (lost connections, locks) are retried, counted from the first.
inline constexpr std::chrono::minutes patience{15};
// Waiting longer for a lock of the app's tables would make others wait behind us. Below deadlock_timeout (1 s): where the app's DDL
// and we wait for each other, we give way.
inline constexpr const char* lock_limit = "SET LOCAL lock_timeout = '300ms'";
// How often limits and the app's latency are looked at.
inline constexpr std::chrono::milliseconds guide_interval{250};
inline constexpr unsigned looks_a_guard = 2;
// Somebody who waits for a moment is let wait, and longer each time while that comes again and again: a chunk has to come to its end.
inline constexpr unsigned looks_waited_least = 2, looks_waited_most = 40;
inline constexpr std::chrono::minutes way_forgotten{1};
// A part that gave way so often is done to its end, whoever waits: else a table that takes longer than the app goes without locking it never comes.
inline constexpr unsigned ways_most = 4;
// What had been copied for so long when it gave way is copied in halves from then on, but not in less than so many pages.
inline constexpr std::chrono::seconds split_after{5};
inline constexpr std::int64_t split_pages_least = 64;
// Rates are those of so many last seconds.
inline constexpr std::chrono::seconds rate_window{10};
// A limit that was raised meanwhile shall not be slept through.
inline constexpr Clock::duration rest_max = std::chrono::milliseconds{250};
// How often whoever watches is told.
inline constexpr std::chrono::milliseconds report_interval{50};
// A table that is rewritten again and again is copied in one snapshot after so many tries.
inline constexpr int restarts_max = 3;
// The file column of pgjanus.tables for a table that is copied whole, in one transaction.
inline constexpr std::string_view whole_file = "whole";

/// A worker's connections. Closed after every failure: nothing half done survives.
struct Pair {
  pg::ConnectionPtr primary, mirror;
  WorkerProgress* worker = nullptr;  // Who has it; nobody between the workers' rounds.
  int waited_for = 0;   // Process of the primary that kept somebody waiting when last looked,
  unsigned looks = 0;   // and in so many looks before.
  bool cancelled = false;  // Since then.
  unsigned ways = 0;       // How often the part that it is at gave way,
  bool asked = false;      // and whether this try of it was to.
  [[nodiscard]] bool stands() const noexcept { return ways >= ways_most; }
  void close() {
    primary.reset();
    mirror.reset();
  }
};

/// A pair in use, so that a stop reaches what its servers are at.
class Listed {
 public:
  Listed(std::shared_ptr<std::list<Pair*>> list, Pair& pair) : list_{std::move(list)}, at_{list_->insert(list_->end(), &pair)} {}
  ~Listed() { list_->erase(at_); }
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

 private:
  std::shared_ptr<std::list<Pair*>> list_;  // Workers may unwind after the loader has gone.
  std::list<Pair*>::iterator at_;
};

//   plan --chunks in pgjanus.chunks--> copy --all done--> settle --changed keys gone--> build
//     ^                                  |                                               |
//     +-- emptied, chunks forgotten <-- file changed                all entries in steps v
//                                              done <--attached-- attach <--ready-- finish
//
// Durable: chunks with their rows; `settle` with state = 'indexing'; steps with their objects. A
// table copied whole goes from copy to build, in the transaction of its rows.
enum class Stage { plan, copy, settle, build, finish, attach, done, failed };

struct TableLoad {
  TableInfo info;        // As on the primary,
  TableInfo there;       // and on the mirror.
  std::string boundary;  // Own boundary.
  std::string file;      // Files of its relations when planned, or whole_file.
  Stage stage = Stage::plan;
  std::vector<Chunk> chunks;
  std::size_t running = 0;  // Jobs of this table that a worker has.
  bool restart = false;     // Its files changed: empty it and plan anew when nothing runs.
  bool reload = false;      // Was mirrored before: copied whole.
  int restarts = 0;
  std::string sqlstate;     // Of what it failed with, when a server said so.
  bool indexed = false;              // Unique indexes stood on the mirror before.
  bool sorted = false;               // The next two are filled.
  std::vector<std::size_t> indexes;  // Post-data entries to run, in any order, several at once.
  std::vector<std::size_t> rest;     // Those after them, in this order.
  std::set<std::size_t> using_index;  // Constraints among them that get an index made before.
  TableProgress progress;

  [[nodiscard]] std::int64_t pages() const;  // Main forks, when it was looked at.
};

inline constexpr std::size_t no_entry = static_cast<std::size_t>(-1);
enum class JobKind { entries, pack, plan, chunk, settle, build, finish, attach };
struct Job {
  JobKind kind = JobKind::plan;
  TableLoad* table = nullptr;     // Of one table's jobs.
  std::size_t index = 0;          // chunk: in chunks; build: in entries.
  std::vector<TableLoad*> pack{};  // pack, attach: the tables.
};

// Small tables go through the load together, many in one transaction: round trips and commits would
// cost more than their rows. A pack is copied under one snapshot, so it stays below a chunk.
inline constexpr std::int64_t pack_table_pages_max = 64;
inline constexpr std::int64_t pack_table_bytes_max = 2LL << 20;  // With TOAST.
inline constexpr std::int64_t pack_pages_max = 2048;
inline constexpr std::size_t pack_tables_max = 64;  // Bounds the locks of one transaction.

/// How rows travel. Binary costs both servers less; text is for types without a binary form that
/// means the same on both.
enum class Format : std::uint8_t { text, binary };

/// The files of a table's relations changed: what was copied does not fit together.
struct FileChanged {};

/// What post-data entries belong to, from the primary's catalog.
struct Owned {
  std::uint32_t relation = 0;
  QualifiedName table;   // The relation's name on the primary.
  bool ours = false;  // A trigger of pgjanus.
  bool key = false;   // Primary key.
  // Of a primary key or unique constraint of a plain table: its index by itself, and the constraint
  // that takes it over. Other indexes can be built beside the first, not beside ADD PRIMARY KEY.
  std::string index_sql, using_sql;
};
/// Foreign keys of one table that are to be validated: one after the other, beside other tables'.
struct Validation {
  std::string table, sql_table;
  std::vector<std::string> names;
};
using EntryKey = std::pair<std::string, std::string>;  // schema, tag

}  // namespace load

struct Loader::Impl {
  Impl(const Databases& d, MirrorControl& m, Side p, Guide g, OnProgress o)
      : databases{d},
        control{m},
        primary_side{p},
        guide{std::move(g)},
        on_progress{std::move(o)} {}

  // loader.cpp: the order of things, the workers, what happens to failures.
  asio::awaitable<void> run(std::vector<int> ids);
  asio::awaitable<void> work_off();
  asio::awaitable<void> work(unsigned number);
  asio::awaitable<void> rest(load::Pair& pair, std::uint64_t rows, std::uint64_t bytes,
                             load::Clock::duration took);
  void look_around();
  [[nodiscard]] std::string describe_job(const load::Job& job) const;
  asio::awaitable<void> attempt(load::Job& job, load::Pair& pair);
  asio::awaitable<void> perform(load::Job& job, load::Pair& pair);
  asio::awaitable<void> connect(load::Pair& pair);
  asio::awaitable<pg::ConnectionPtr> open(Side side);
  asio::awaitable<void> retrying(std::string what,
                                 std::function<asio::awaitable<void>(load::Pair&)> act);
  asio::awaitable<void> pause(std::chrono::milliseconds time);
  std::optional<load::Job> take();
  void add(load::JobKind kind, load::TableLoad& table, std::size_t index = 0);
  void make_packs();
  asio::awaitable<void> give_up(load::Job& job, load::Pair& pair, std::string why, std::string sqlstate);
  void drop_jobs(const load::TableLoad& table);
  void advance(load::TableLoad& table);
  void fail_table(load::TableLoad& table, const std::string& why);
  void wake();
  void report();
  void sum_up();
  void require_running() const;

  // early.cpp: what is asked for while the mirror follows the schema.
  asio::awaitable<void> follow_schema();
  asio::awaitable<void> describe_early();
  asio::awaitable<void> describe_both(load::Pair& pair);
  /// Nothing where the catalog is another one by now than before it, or it failed.
  asio::awaitable<std::optional<pg::SubprocessResult>> take_early_dump(pg::Connection& primary);

  // way.cpp: others who wait for what the load has locked.
  asio::awaitable<void> look_for_waiters(pg::ConnectionPtr& guard);
  asio::awaitable<void> tell_who_waits(pg::Connection& guard, int standing);
  bool gave_way(load::Pair& pair, const std::optional<pg::Error>& failure);
  asio::awaitable<void> stand(pg::Connection& mirror, unsigned ways);
  asio::awaitable<void> split_chunk(load::Pair& pair, load::TableLoad& table, std::size_t index);

  // tables.cpp: which tables, and plans.
  asio::awaitable<void> choose(load::Pair& pair, std::vector<int> ids);
  asio::awaitable<void> read_chunks(load::Pair& pair, load::TableLoad& table);
  asio::awaitable<void> read_again(load::Pair& pair, load::TableLoad& table);
  asio::awaitable<void> begin_anew(load::Pair& pair);
  asio::awaitable<void> plan(load::Pair& pair, load::TableLoad& table);
  asio::awaitable<void> forget(load::Pair& pair, load::TableLoad& table);
  asio::awaitable<void> store_error(load::Pair& pair, load::TableLoad& table, std::string why,
                                    bool attached);

  // chunk.cpp: rows.
  asio::awaitable<void> copy_chunk(load::Pair& pair, load::TableLoad& table, std::size_t index);
  asio::awaitable<bool> claim_chunk(load::Pair& pair, load::TableLoad& table,
                                    const load::Chunk& chunk);
  asio::awaitable<std::uint64_t> copy_rows(load::Pair& pair, load::TableLoad& table,
                                           const load::Chunk& chunk, load::Format format);
  asio::awaitable<void> end_copy(load::Pair& pair, const std::vector<const TableInfo*>& copied, std::string labels);
  asio::awaitable<void> empty_table(pg::Connection& mirror, const TableInfo& table);

  // pack.cpp: small tables, many at once.
  asio::awaitable<void> load_pack(load::Pair& pair, std::vector<load::TableLoad*> pack);
  bool build_later(const std::vector<load::TableLoad*>& pack);
  asio::awaitable<void> copy_pack(load::Pair& pair, std::vector<load::TableLoad*> pack);
  asio::awaitable<std::vector<load::TableLoad*>> claim_pack(load::Pair& pair,
                                                            std::vector<load::TableLoad*> pack, std::string& labels);
  asio::awaitable<void> build_pack(load::Pair& pair, std::vector<load::TableLoad*> pack);
  asio::awaitable<void> finish_pack(load::Pair& pair, std::vector<load::TableLoad*> pack);

  // names.cpp: what differs between the sides on purpose.
  asio::awaitable<void> read_names(load::Pair& pair);
  void adapt_entries();
  [[nodiscard]] QualifiedName there(const QualifiedName& on_primary) const;
  [[nodiscard]] std::vector<Rewriter::Entry> renamed_tables() const;
  [[nodiscard]] Rewriter catalog_rewriter() const;
  void adapt(std::string& schema, std::string& table, std::string& definition, const Rewriter& rewriter) const;
  [[nodiscard]] bool differs(const QualifiedName& on_primary) const;
  [[nodiscard]] bool tolerates(const load::Entry& entry, const pg::Error& failure) const;

  // kept.cpp: what must not act on a mirror.
  asio::awaitable<void> keep_triggers(pg::Connection& mirror, const load::Entry& entry);
  asio::awaitable<bool> keep_check(load::Pair& pair, const pg::Error& error);

  // settle.cpp: keys that changed while the chunks were copied.
  asio::awaitable<void> settle(load::Pair& pair, load::TableLoad& table);

  // build.cpp: indexes and what else a table needs before it is mirrored.
  asio::awaitable<void> read_entries(load::Pair& pair);
  void sort_entries(load::TableLoad& table);
  asio::awaitable<void> build(load::Pair& pair, load::TableLoad& table, std::size_t index);
  asio::awaitable<void> run_entry(pg::Connection& mirror, std::size_t index);
  asio::awaitable<void> run_entry(pg::Connection& mirror, std::size_t index, std::string sql);
  asio::awaitable<void> make_index(pg::Connection& mirror, std::size_t index);
  asio::awaitable<void> require_owner(pg::Connection& mirror, std::size_t index) const;
  asio::awaitable<void> require_entry_columns(pg::Connection& mirror, std::set<std::uint32_t> relations) const;
  asio::awaitable<pg::Rows> columns_of_tables(pg::Connection& primary) const;
  asio::awaitable<bool> constraint_stands(pg::Connection& mirror, std::size_t index);
  [[nodiscard]] std::string sql_using_index(std::size_t index) const;
  asio::awaitable<void> need_entries(load::Pair& pair);
  asio::awaitable<void> finish(load::Pair& pair, load::TableLoad& table);
  asio::awaitable<void> put_capture(pg::Connection& mirror, int id);
  void ready_to_attach(load::TableLoad& table);
  void queue_attach();
  void take_ready(load::Job& job);
  asio::awaitable<void> attach(load::Job& job);

  // last.cpp: what comes when all tables are mirrored.
  asio::awaitable<bool> all_mirrored(load::Pair& pair);
  asio::awaitable<void> wait_mirrored(load::Pair& pair);
  asio::awaitable<void> last(load::Pair& pair);
  asio::awaitable<void> foreign_keys(load::Pair& pair);
  asio::awaitable<void> validate_keys(std::vector<load::Validation> validations);
  asio::awaitable<void> validate_some(std::vector<load::Validation>& open);
  void warn_of_key(const std::string& table, const std::string& name, const pg::Error& failure);
  asio::awaitable<void> invalid_checks(load::Pair& pair);

  const Databases& databases;
  MirrorControl& control;
  const Side primary_side;
  const Guide guide;
  const OnProgress on_progress;
  load::Pace pace;
  std::list<WorkerProgress> worker_list;  // Addresses are stable.

  std::list<load::TableLoad> tables;  // Biggest first; addresses are stable.
  std::deque<load::Job> jobs;
  std::size_t active = 0;  // Jobs that workers have.
  std::size_t packs_running = 0;  // Of these.
  std::vector<asio::steady_timer*> sleepers;
  std::shared_ptr<std::list<load::Pair*>> pairs = std::make_shared<std::list<load::Pair*>>();  // In use.
  bool stopping = false;
  bool replica_role = false;  // Of the mirror.
  bool shape_kept = true;     // There; not where an older program's `prepare` was.
  int primary_version = 0;
  std::vector<load::Entry> entries;
  std::map<load::EntryKey, load::Owned> owners;
  std::map<std::uint32_t, std::vector<std::size_t>> entries_of;  // By relation.
  std::set<std::string> steps_done;
  bool have_entries = false, reading_entries = false;
  std::shared_ptr<load::EarlyDump> early;    // Whoever reads the entries first takes it,
  std::optional<load::Described> described;  // and choose() this.
  Differences differences;    // As the primary has stored them.
  std::set<std::uint32_t> own_partitions;  // Of tables that are partitioned on the primary only.
  std::string entries_shape;  // Of the primary's catalog before they were read.
  std::map<std::uint32_t, std::vector<std::pair<std::string, std::string>>> entries_columns;  // Numbers and names, when they were read.
  std::vector<load::TableLoad*> ready;  // Finished tables that the mirror loop is to take over.
  bool attaching = false;               // A job that takes them is queued or runs.
  load::Clock::time_point reported{};
  struct Sample {
    load::Clock::time_point at;
    std::int64_t bytes_done;
    std::uint64_t rows_read;
  };
  std::deque<Sample> samples;  // Of the last seconds, for rates.
  LoadProgress state;
  unsigned looks_waited = load::looks_waited_least;  // Before a COPY gives way.
  load::Clock::time_point gave_way_at{};
  std::map<std::string, unsigned> ways_of_step;  // What comes last, by the step's words.
  bool told_who_waits = false;                   // In state.waiting.
  load::Clock::time_point started{};
};

/// "COPY …" pieces and conditions that several parts use.
namespace load {
[[nodiscard]] std::string column_list(const TableInfo& table);
/// A constraint as pgjanus.kept holds it.
struct KeptConstraint {
  std::string schema, table, name, definition;
  bool validated = true;
};
/// `kind`: "foreign key" or "check".
asio::awaitable<void> keep_constraint(pg::Connection& mirror, std::string kind,
                                      KeptConstraint constraint);
/// The condition that picks the journal rows of one table that are new since `boundary`.
[[nodiscard]] std::string new_since(int table_id, const std::string& boundary);
/// Commits something on the primary with synchronous_commit = on: what a snapshot taken before saw
/// cannot be forgotten by a crash after this returns.
asio::awaitable<void> make_durable(pg::Connection& primary);
/// Files of all relations of a table that hold rows, as the transaction's snapshot sees them.
struct Files {
  std::string text;      // "oid:file:name,oid:file:name", by oid; names as their MD5.
  bool current = false;  // They are what the catalog says now: not rewritten or renamed since the snapshot.
};
asio::awaitable<Files> files_of(pg::Connection& primary, std::uint32_t root);
/// `table_left_behind`, with what shows it.
pg::Error behind(const std::string& why);
/// Throws `table_left_behind` where another relation has the name by which a table was, or is to be, read or
/// written. Of what the caller's transaction has locked by that name it stays true. Tables that are gone are passed over.
asio::awaitable<void> require_names(pg::Connection& side, std::vector<const TableInfo*> tables);
asio::awaitable<void> require_name(pg::Connection& side, const TableInfo& table);
/// Throws 40001 where a column has another name by now than on the mirror: what was copied by names belongs into another one.
/// The mirror's transaction has locked the tables; `now` is columns_now().
/// Throws FileChanged where the mirror has a column to be filled that was not copied, since it came, or ceased to be generated, after
/// the table was described: what the loop has noted for it may be older than the table's boundary.
asio::awaitable<void> require_columns(pg::Connection& mirror, const std::vector<const TableInfo*>& tables, pg::Rows now);
/// Begins the primary's transaction. Returns which labels of enums and attributes of types there are, each as it was last written.
asio::awaitable<std::string> begin_copy(pg::Connection& primary);
/// Ends the primary's transaction. Throws 40001 where one of these was written since, or is another one by now than on the mirror: rows
/// travel by them.
asio::awaitable<void> require_labels(Pair& pair, std::string since);
/// The columns by whose names COPY went: those of its lock, which the caller's transaction holds, not those of its snapshot.
asio::awaitable<pg::Rows> columns_now(pg::Connection& primary, const std::vector<const TableInfo*>& tables);
/// These tables as the mirror lists and has them, which replaying cannot change before the caller's transaction ends: what captures them
/// has to say the key of now. Throws `table_left_behind` where one is gone.
asio::awaitable<std::vector<TableInfo>> hold_listed(pg::Connection& mirror, std::vector<int> ids);
/// Throws `table_left_behind` where the list has not followed the app yet: tables that have exchanged their names.
asio::awaitable<void> refuse_mistaken(pg::Connection& primary, const std::vector<TableInfo>& tables);
/// Which format each of these tables' rows can travel in, as both transactions' catalogs show the
/// columns.
asio::awaitable<std::vector<Format>> formats_of(Pair& pair, const std::vector<TableLoad*>& tables);
}  // namespace load

}  // namespace pgjanus
