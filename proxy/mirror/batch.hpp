#pragma once
// One batch: what changed on the primary between two boundaries, put on the mirror in one
// transaction (design.md section 3).

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "proxy/mirror/table_sql.hpp"
#include "proxy/pg/connection.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// The mirror's row of pgjanus.boundary.
struct Boundary {
  Epoch epoch;
  std::int64_t batch = 0;
  std::string snapshot{snapshot_of_nothing};
  std::string nonce;
  std::string system, timeline;  // Of the primary's cluster; empty: not known.
};

/// The mirrored tables by id, shared between the loop and the batches; and how wide their rows are.
struct MirroredTables {
  std::map<int, PairedTable> by_id;
  std::map<int, std::size_t> row_bytes;  // Largest average of a read so far.
  // Only of the batch under whose snapshot they were found:
  std::set<int> whole;                   // read anew, whatever the journal says of them;
  std::set<int> nobodys;                 // journaled, but not (any more) to be mirrored.
};

/// What a batch covers besides "everything new since the common boundary".
struct BatchPlan {
  Boundary from;
  std::map<int, std::string> own;  // Tables that catch up from a boundary of their own.
  std::set<int> left_out;          // Detached or held up: their keys stay in the journal.
};

/// What the primary said under the batch's snapshot.
struct BatchHeader {
  std::string snapshot, nonce, previous_nonce, role, timeline, taken_at;
  Epoch epoch;
};

/// Runs one batch over two connections that the caller owns; neither may be in a transaction, and
/// the mirror's has session_replication_role set where the host grants it. `to` is where it leads:
/// its epoch, batch, nonce and system; the snapshot is taken by open().
/// After any exception both transactions are unfinished: the caller rolls back or closes.
class Batch {
 public:
  Batch(pg::Connection& primary, pg::Connection& mirror, MirroredTables& tables, BatchPlan plan,
        Boundary to)
      : primary_{primary}, mirror_{mirror}, tables_{tables}, plan_{std::move(plan)},
        to_{std::move(to)} {}

  /// Opens the snapshot and reads the first keys. Throws pg::Error.
  boost::asio::awaitable<BatchHeader> open();
  /// Whether no key is new.
  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  /// Ends the primary's transaction without having read anything.
  boost::asio::awaitable<void> close_empty();
  /// Reads what is not read yet, streaming, applies every key and moves the mirror's boundary to
  /// to(), in one transaction, and commits it after the heartbeat committed on the primary. Compares files
  /// and partitions while the reads' locks are held (some DDL is not MVCC), and lets the locks go
  /// early when it is long. On a difference it throws pg::Error with sqlstate "PGJ01", and the batch
  /// must be run again. A boundary that somebody else moved: sqlstate "PGJ02". The primary's
  /// transaction is over when it returns.
  boost::asio::awaitable<void> apply();
  /// apply() in two steps, so that DDL can stand before, between and after. begin_on_mirror() opens the
  /// mirror's transaction, tables() may then be exchanged, and apply_rows() may not be followed by an
  /// error that the caller does not throw.
  boost::asio::awaitable<void> begin_on_mirror();
  boost::asio::awaitable<void> apply_rows();
  boost::asio::awaitable<void> commit();
  /// After an exception, before anything else uses the mirror's connection: what is under way there has
  /// ended. Throws what it threw.
  boost::asio::awaitable<void> settled();
  /// Where the mirror is after apply().
  [[nodiscard]] const Boundary& to() const noexcept { return to_; }

  [[nodiscard]] std::uint64_t keys_applied() const noexcept { return keys_applied_; }
  /// The table whose work ran when an exception was thrown; 0: none.
  [[nodiscard]] int table_at_work() const noexcept { return table_at_work_; }
  boost::asio::awaitable<void> find_rewritten();
  /// The tables for which "PGJ01" was thrown, and what find_rewritten() added.
  [[nodiscard]] const std::set<int>& rewritten() const noexcept { return rewritten_; }

 private:
  struct Job {  // One read of one table, and the keys that it answers.
    PairedTable* table = nullptr;
    int first = 0, last = 0;  // Rows of keys_.
    std::vector<std::vector<std::optional<std::string>>> keys;
  };
  enum class Pass : std::uint8_t { both, deletes, inserts };

  [[nodiscard]] std::string journal_condition() const;
  PairedTable& table(int id);
  [[nodiscard]] pg::Statement keys_statement() const;
  void add_ending(std::vector<pg::Statement>& statements) const;
  void ended(const pg::Rows& beat) noexcept;
  [[nodiscard]] int end_of_table(int first) const;
  boost::asio::awaitable<void> read();
  void prepare_opening();
  boost::asio::awaitable<void> on_mirror(std::vector<pg::Statement> statements);
  boost::asio::awaitable<void> apply_fetched(bool last_fetch);
  // Keys fetched at once; a batch of any size streams in parts of this many.
  static constexpr int keys_per_fetch = 2000;
  [[nodiscard]] bool plain() const;
  void add_jobs(PairedTable& paired, int begin, int end, std::vector<Job>& jobs) const;
  void check_members(const PairedTable& paired);
  boost::asio::awaitable<void> run_jobs(std::vector<Job> jobs, Pass pass);
  std::size_t gather_reads(std::vector<Job>& jobs, std::size_t begin,
                           std::vector<pg::Statement>& reads) const;
  boost::asio::awaitable<std::vector<pg::Rows>> read_rows(const std::vector<Job>& jobs,
                                                          std::size_t begin, std::size_t end,
                                                          std::vector<pg::Statement> reads,
                                                          bool alone);
  void add_rows_work(std::vector<Job>& jobs, std::size_t begin, std::size_t end,
                     const std::vector<pg::Rows>& results, Pass pass);
  void add_weights(PairedTable& table, int first, int last);
  void add_work(int id, const std::string& sql, ColumnArrays& rows);
  boost::asio::awaitable<void> write();
  boost::asio::awaitable<void> write_behind();
  boost::asio::awaitable<void> write_when_large();
  boost::asio::awaitable<void> apply_whole(PairedTable& table);
  boost::asio::awaitable<void> apply_two_passes(PairedTable& table);
  boost::asio::awaitable<void> end_primary();
  pg::Statement files_statement(const std::set<int>& ids);
  std::string note_rewritten(const pg::Rows& roots, const std::set<int>& ids);
  void refuse_rewritten(const pg::Rows& roots, const std::set<int>& ids);
  static void require_columns(const TableInfo& table, const pg::Rows& rows);
  boost::asio::awaitable<void> insert_rows(PairedTable& table, const pg::Rows& rows, bool upsert);
  void add_key_work(const Job& job, const pg::Rows* rows, Pass pass);

  pg::Connection& primary_;
  pg::Connection& mirror_;
  MirroredTables& tables_;
  BatchPlan plan_;
  Boundary to_;
  struct Keys {
    pg::Rows rows;
    [[nodiscard]] bool empty() const noexcept { return rows.size() == 0; }
  } keys_;
  std::uint64_t keys_applied_ = 0;
  int table_at_work_ = 0;
  int skip_table_ = 0;  // Done as a whole: the rest of its keys in the journal is passed over.
  std::vector<pg::Statement> opening_;  // BEGIN, marks and compare-and-swap, until they are sent.
  bool primary_over_ = false;  // Its transaction ended,
  bool beaten_ = false;        // and the heartbeat behind it committed.
  bool begun_ = false;         // begin_on_mirror()
  bool read_ = false;          // All keys were answered: by rows_, or by themselves.
  std::vector<Job> jobs_;
  std::vector<pg::Rows> rows_;
  std::vector<pg::Statement> work_;  // For the mirror, not sent yet;
  std::vector<int> owners_;          // the table of each,
  std::size_t work_bytes_ = 0;       // and its size.
  struct Behind {  // Statements on the mirror that nobody waits for yet.
    explicit Behind(boost::asio::any_io_executor executor)
        : ended{std::move(executor), boost::asio::steady_timer::time_point::max()} {}
    boost::asio::steady_timer ended;
    std::vector<int> owners;
    std::exception_ptr failure;
    bool running = true;
  };
  std::shared_ptr<Behind> behind_;
  bool streams_ = false;     // More keys than one fetch.
  std::set<int> unchecked_;  // Read with locks that are still held, or not at all; files and partitions not compared yet.
  std::set<int> rewritten_;
};

}  // namespace pgjanus
