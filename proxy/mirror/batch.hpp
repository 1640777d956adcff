#pragma once
// One batch: what changed on the primary between two boundaries, put on the mirror in one
// transaction (design.md section 3).

#include <boost/asio/awaitable.hpp>
#include <cstdint>
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
/// the mirror's has session_replication_role set where the host grants it.
/// After any exception both transactions are unfinished: the caller rolls back or closes.
class Batch {
 public:
  Batch(pg::Connection& primary, pg::Connection& mirror, MirroredTables& tables, BatchPlan plan)
      : primary_{primary}, mirror_{mirror}, tables_{tables}, plan_{std::move(plan)} {}

  /// Opens the snapshot and reads the first keys. Throws pg::Error.
  boost::asio::awaitable<BatchHeader> open();
  /// Whether no key is new.
  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  /// Ends the primary's transaction without having read anything.
  boost::asio::awaitable<void> close_empty();

  /// Reads and applies every key, streaming; moves the mirror's boundary to `to` in the same
  /// transaction, which stays open. Compares files and partitions while the reads' locks are held
  /// (some DDL is not MVCC), and lets the locks go early when it is long. On a difference it throws
  /// pg::Error with sqlstate "PGJ01", and the batch must be run again. A boundary that somebody else moved: sqlstate "PGJ02". The primary's transaction is
  /// over when it returns, unless `keep_snapshot`: then the caller ends it.
  boost::asio::awaitable<void> apply(Boundary to, bool keep_snapshot);
  /// Commits the mirror's transaction; call after the heartbeat committed.
  boost::asio::awaitable<void> commit();

  [[nodiscard]] std::uint64_t keys_applied() const noexcept { return keys_applied_; }
  /// The table whose work ran when an exception was thrown; 0: none.
  [[nodiscard]] int table_at_work() const noexcept { return table_at_work_; }
  /// The tables for which "PGJ01" was thrown.
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
  void prepare_opening(const Boundary& to);
  boost::asio::awaitable<void> on_mirror(std::vector<pg::Statement> statements);
  boost::asio::awaitable<void> apply_fetched(bool last_fetch);
  boost::asio::awaitable<void> run_jobs(std::vector<Job> jobs, Pass pass);
  boost::asio::awaitable<void> apply_weights(PairedTable& table, int first, int last);
  boost::asio::awaitable<void> apply_whole(PairedTable& table);
  boost::asio::awaitable<void> apply_two_passes(PairedTable& table);
  boost::asio::awaitable<void> check_files(bool end_transaction);
  pg::Statement files_statement(const std::set<int>& ids);
  void refuse_rewritten(const pg::Rows& roots, const std::set<int>& ids);
  boost::asio::awaitable<void> insert_rows(PairedTable& table, const pg::Rows& rows, bool upsert);
  void add_key_work(const Job& job, const pg::Rows* rows, Pass pass,
                    std::vector<pg::Statement>& statements);
  boost::asio::awaitable<void> run_mirror(std::vector<pg::Statement> statements, int table);

  pg::Connection& primary_;
  pg::Connection& mirror_;
  MirroredTables& tables_;
  BatchPlan plan_;
  struct Keys {
    pg::Rows rows;
    [[nodiscard]] bool empty() const noexcept { return rows.size() == 0; }
  } keys_;
  std::uint64_t keys_applied_ = 0;
  int table_at_work_ = 0;
  int skip_table_ = 0;  // Done as a whole: the rest of its keys in the journal is passed over.
  std::vector<pg::Statement> opening_;  // BEGIN, marks and compare-and-swap, until they are sent.
  bool keep_snapshot_ = false;
  bool primary_over_ = false;  // The primary's transaction ended with the only read.
  bool streams_ = false;     // More keys than one fetch.
  std::set<int> unchecked_;  // Read with locks that are still held; files not compared yet.
  std::set<int> rewritten_;
};

}  // namespace pgjanus
