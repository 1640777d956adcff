#pragma once
// Loading history: copies the rows that were there before the mirror began (README.md argues it).

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/engine/databases.hpp"
#include "proxy/engine/status.hpp"
#include "proxy/load/pace.hpp"
#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

/// SQLSTATE of a load that ends because batches had to leave a table behind which it had loaded: DDL, for one.
inline constexpr const char* table_left_behind = "PGJ06";

struct TableProgress {
  int id = 0;
  std::string name;  // schema.table
  TableState state = TableState::loading;
  std::int64_t rows_done = 0;               // Copied by parts that are committed on the mirror.
  std::int64_t bytes_done = 0;              // Bytes of the primary's relation that these covered.
  std::optional<std::int64_t> bytes_total;  // Of the relation with TOAST; unknown until planned.
  std::string error;
};

/// What one worker does now, with rows and bytes of COPY data that passed in this step.
struct WorkerProgress {
  unsigned number = 0;
  std::string what;  // Empty: nothing.
  std::uint64_t rows = 0, bytes = 0;
  std::chrono::steady_clock::time_point since{};
};

/// What was really done; nothing in it is estimated but the time left. Rows in all are unknown until
/// they are copied.
struct LoadProgress {
  std::vector<TableProgress> tables;
  std::int64_t rows_done = 0, bytes_done = 0;
  std::optional<std::int64_t> bytes_total;           // Unknown while a table is not planned.
  double rows_per_second = 0;                        // Of the last seconds.
  double bytes_per_second = 0;                       // Likewise, counted as bytes_done is.
  std::uint64_t rows_read = 0, bytes_read = 0;       // This run, counted as they pass, COPY data.
  std::vector<WorkerProgress> workers;
  std::string limit;                                 // What slows it; empty when nothing does.
  std::string step;                                  // What goes on now, for people.
  std::string waiting;                // What it waits for and since when; empty when it does not.
  std::string error;                  // The first table's error; the others go on.
  std::vector<std::string> warnings;  // Things left as they are, each with its reason.
};

/// Loads tables into the mirror and hands them to the mirror loop. One at a time; lives on the
/// control thread as long as run() is not finished. Needs: the mirror loop running with a common
/// boundary, capture installed on the primary, the schema's pre-data on the mirror.
class Loader {
 public:
  using OnProgress = std::function<void(const LoadProgress&)>;
  /// Asked several times a second. `app`: queries on the primary since the start of the proxy; may
  /// be empty, then nobody is yielded to. `strict`: the mirror follows the schema first, and a table or partition without capture, made since the schema was copied,
  /// ends the run with `table_left_behind`, so that replaying brings it; otherwise the load puts the triggers.
  struct Guide {
    std::function<load::Limits()> limits;
    std::function<HistogramCounts()> app;
    bool strict = false;
  };
  /// References outlive the loader. A worker is a pair of connections.
  Loader(const Databases& databases, MirrorControl& mirror, Side primary, Guide guide,
         OnProgress on_progress);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Loads what is missing of these tables (empty: of all that are not mirrored), waits until the
  /// mirror loop counts them as mirrored, and when all tables are, adds foreign keys and the rest
  /// of the schema. May be run again after any failure or crash: what is done is not done twice.
  /// Tables that are mirrored or lost their capture are copied anew when named.
  /// Throws pg::Error naming the table and the server's message, after the others are done.
  boost::asio::awaitable<void> run(std::vector<int> table_ids);

  /// Makes run() throw soon; what is half done is rolled back. Cancels what the servers are at: may be called again
  /// until run() has ended, as a statement may begin just after.
  void stop();

  [[nodiscard]] LoadProgress progress() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace pgjanus
