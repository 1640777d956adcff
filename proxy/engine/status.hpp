#pragma once
// The status document as values (contract.md, "Status document"). Unknown is nullopt, never 0.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/session/control.hpp"
#include "router/words.hpp"

namespace pgjanus {

enum class Phase : std::uint8_t { idle, prepared, loading, mirroring, flipping, finished };
enum class MirrorState : std::uint8_t { off, catching_up, in_sync, degraded, stalled };
enum class TableState : std::uint8_t {
  fresh,  // "new": on the primary, not captured yet
  loading, indexing, mirrored, held_up, capture_lost, excluded, error
};
[[nodiscard]] std::string_view to_string(Phase phase) noexcept;
[[nodiscard]] std::string_view to_string(MirrorState state) noexcept;
[[nodiscard]] std::string_view to_string(TableState state) noexcept;
[[nodiscard]] std::optional<Phase> phase_from(std::string_view text) noexcept;
[[nodiscard]] std::optional<TableState> table_state_from(std::string_view text) noexcept;

struct TableStatus {
  std::string name;  // schema.table
  TableState state = TableState::fresh;
  std::optional<std::int64_t> rows, differences;
  std::optional<std::int64_t> bytes_done, bytes_total;  // Of the load.
  std::string detail;
};

/// Stands in an error's text before the statement that the mirror refused. What follows may hold
/// literals of the app's and is for operators only.
inline constexpr std::string_view ddl_statement_mark = "; the statement: ";

/// What the engine waits for and why; one line a reason.
struct Waiting {
  std::string what, side, user, application_name, detail;
  int pid = 0;
  double seconds = 0;
};

struct LastFlip {
  Side to = Side::source;
  std::string at;  // RFC 3339 UTC
  std::optional<double> blackout_ms;
  bool forced = false;
};

struct MemberStatus {
  std::string name, version, seen_at;
  bool leader = true;
  std::uint64_t clients = 0;
};

/// What one worker of the load does now.
struct WorkerStatus {
  unsigned worker = 0;
  std::string what;
  std::uint64_t rows = 0, bytes = 0;  // That passed in this step.
  double seconds = 0;
};

/// What a verification that runs has done.
struct VerifyStatus {
  std::int64_t tables_done = 0, tables_total = 0, parts_done = 0, parts_total = 0;
  std::int64_t rows_done = 0, bytes_done = 0, bytes_total = 0, differences = 0;
  double rows_per_second = 0, bytes_per_second = 0;
  std::optional<double> seconds_left;  // An estimate from the rate of the last seconds.
  std::optional<std::string> limit;
  std::vector<std::string> workers;
};

struct Status {
  std::string database;
  Phase phase = Phase::idle;
  std::optional<Side> primary;
  std::optional<std::uint64_t> epoch;
  Held held = Held::none;
  MirrorState mirror_state = MirrorState::off;
  std::optional<double> lag_ms;
  std::optional<std::int64_t> backlog_keys, journal_bytes;
  std::optional<std::string> boundary_at, mirror_error;
  ReadsPolicy reads;
  std::optional<std::int64_t> load_rows_done, load_rows_total, load_bytes_done, load_bytes_total;
  std::optional<std::string> load_error;
  // While a load runs. The time left is an estimate from the rate of the last seconds.
  std::optional<double> load_rows_per_second, load_bytes_per_second, load_seconds_left;
  std::optional<std::string> load_step, load_limit;
  std::vector<WorkerStatus> load_workers;
  std::vector<TableStatus> tables;
  std::optional<std::string> verify_at;
  std::optional<std::int64_t> verify_tables, verify_differences;
  std::optional<VerifyStatus> verifying;  // Only while one runs.
  std::optional<LastFlip> last_flip;
  bool rollback_ready = false;
  std::vector<std::string> rollback_reasons;
  std::vector<Waiting> waiting_for;
  std::vector<MemberStatus> members;
  std::uint64_t clients = 0;
  bool ready = false;  // /readyz
  std::string not_ready_because;
  // Counters since start, for /metrics.
  std::uint64_t mirror_keys = 0, mirror_batches = 0, mirror_errors = 0;
  std::uint64_t load_rows_read = 0, load_bytes_read = 0, verify_rows = 0;
  std::uint64_t flips_done = 0, flips_undone = 0, flips_in_doubt = 0;
  std::vector<double> flip_blackouts_seconds;
  PerSide<std::optional<double>> oldest_transaction_seconds;
  PerSide<bool> reachable;
};

}  // namespace pgjanus
