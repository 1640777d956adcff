// What is compared, in which parts, and how far it came.

#include "proxy/verify/run.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "proxy/engine/side_by_side.hpp"
#include "proxy/engine/wakeup.hpp"
#include "proxy/load/progress_line.hpp"
#include "proxy/verify/objects.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto rate_window = 10s;
constexpr auto tell_interval = 1s;
constexpr int looks_max = 6;
constexpr pg::Duration catch_up_limit{60'000};
constexpr pg::Duration rest_limit{60'000};  // For the mirror loop to stand between two batches.
// With a limit of bytes: how long the snapshots of one part are held, about.
constexpr std::int64_t part_seconds = 5;
constexpr std::int64_t part_bytes_least = 1 << 20;
// Small tables share a pair of snapshots; several groups for each worker.
constexpr std::int64_t group_bytes_least = 8 << 20, group_bytes_most = 128 << 20;
constexpr std::int64_t megabyte = 1 << 20;

/// Bytes of each table of the primary, with TOAST and partitions; pages of those that may be cut or sliced.
constexpr const char* bytes_sql =
    "SELECT n, bytes, CASE WHEN bytes >= 131072 AND relkind = 'r' THEN coalesce(pg_relation_size(oid), 0) / current_setting('block_size')::bigint END "
    "FROM (SELECT w.n, c.oid, c.relkind, coalesce(CASE c.relkind WHEN 'p' THEN (SELECT sum(pg_table_size(p.relid)) FROM pg_partition_tree(c.oid) p) "
    "ELSE pg_table_size(c.oid) END, 0)::bigint AS bytes "
    "FROM unnest($1::oid[]) WITH ORDINALITY w (oid, n) JOIN pg_class c ON c.oid = w.oid) t ORDER BY n";

// The mirror's row of a table is written anew whenever the table is loaded, read anew or held up.
constexpr const char* marks_sql = "SELECT id, xmin::text FROM pgjanus.tables";

asio::awaitable<void> describe(pg::Connection& side, std::vector<TableInfo>& tables) {
  tables = co_await stored_columns(side);
}

bool same_object(const Difference& one, const Difference& other) {
  return std::tie(one.table_id, one.table, one.kind, one.columns) ==
         std::tie(other.table_id, other.table, other.kind, other.columns);
}

std::string mark_of(const SidesOfTable& table, const std::string& version) {
  std::string mark = version + "/" + std::to_string(table.primary.oid) + "/" +
                     std::to_string(table.mirror.oid);
  for (const auto* side : {&table.primary, &table.mirror}) {
    for (const auto& column : side->columns) mark += "/" + column.name + " " + column.type;
  }
  for (const auto& key : table.primary.key) mark += "/" + key.name;
  return mark;
}

}  // namespace

asio::awaitable<void> Run::compare(const Scope& scope, Kept kept) {
  co_await open();
  co_await choose(scope, kept);
  if (!pass_.unknown.empty()) co_return;
  co_await work_off();
  if (!complete()) {
    pg::Error error{"the comparison was stopped; asked for the same again, it goes on where it stands"};
    error.message = error.what();
    error.sqlstate = "57014";
    throw error;
  }
  if (kept == Kept::stored) co_await end_run(*pass_.primary);
}

asio::awaitable<void> Run::open() {
  const auto primary = request_.primary;
  pass_.primary = co_await databases_.open(primary, "verify");
  guard_ = co_await databases_.open(primary, "verify guard");
  pass_.mirror = co_await databases_.open(other(primary), "verify");
  const auto encoding_here = co_await pass_.primary->run("SHOW server_encoding");
  const auto encoding_there = co_await pass_.mirror->run("SHOW server_encoding");
  if (encoding_here.text(0, 0) != encoding_there.text(0, 0)) {
    pass_.hashing = Hashing::as_utf8;
    co_return;
  }
  // Whether the function is there and answers the same is asked, not known by version.
  bool quick = false;
  try {
    const auto here = co_await pass_.primary->run(probe_sql);
    const auto there = co_await pass_.mirror->run(probe_sql);
    quick = here.text(0, 0) == there.text(0, 0);
  } catch (const pg::Error& error) {
    if (error.lost) throw;
  }
  pass_.hashing = quick ? Hashing::quick : Hashing::same_encoding;
}

const TableInfo* Run::Catalogs::twin_of(const TableInfo& table) const {
  return listed_with_id(on_mirror, table.id);
}

asio::awaitable<Run::Catalogs> Run::look_at_catalogs(const Scope& scope) {
  Catalogs look;
  auto here = describe(*pass_.primary, look.on_primary);
  auto there = describe(*pass_.mirror, look.on_mirror);
  std::function<void()> nothing;
  co_await side_by_side(std::move(here), std::move(there), std::move(nothing));
  for (const auto& table : look.on_primary) {
    const auto* twin = look.twin_of(table);
    if (!scope.takes(table) || table.oid == 0 || twin == nullptr || twin->oid == 0) continue;
    const auto columns = pair_columns({table, *twin});
    look.differences.insert(look.differences.end(), columns.differences.begin(), columns.differences.end());
  }
  if (scope.patterns.empty()) {
    const auto more = co_await compare_objects(*pass_.primary, *pass_.mirror, look.on_primary, look.on_mirror, scope.exclude);
    look.differences.insert(look.differences.end(), more.begin(), more.end());
  }
  co_return look;
}

// The catalogs have no boundary to be compared at: what DDL has changed on the primary is a moment late
// on the mirror. A difference is one that stays while the mirror catches up.
asio::awaitable<Run::Catalogs> Run::settled_catalogs(const Scope& scope) {
  auto look = co_await look_at_catalogs(scope);
  for (int tries = 1; !look.differences.empty() && tries < looks_max && !stopped(); ++tries) {
    co_await mirror_.catch_up(catch_up_limit);
    auto next = co_await look_at_catalogs(scope);
    const auto before = std::exchange(look, std::move(next)).differences;
    std::erase_if(look.differences, [&](const Difference& one) {
      return std::none_of(before.begin(), before.end(), [&](const Difference& other) { return same_object(one, other); });
    });
  }
  co_return look;
}

asio::awaitable<void> Run::choose(const Scope& scope, Kept kept) {
  auto& primary = *pass_.primary;
  const auto catalogs = co_await settled_catalogs(scope);
  for (const auto& pattern : scope.patterns) {
    if (std::none_of(catalogs.on_primary.begin(), catalogs.on_primary.end(),
                     [&](const TableInfo& table) { return table_matches(pattern, table); })) {
      pass_.unknown.push_back(pattern);
    }
  }
  if (!pass_.unknown.empty()) co_return;
  const auto rows = co_await pass_.mirror->run(marks_sql);
  std::map<int, std::string> versions;
  for (int i = 0; i < rows.size(); ++i) {
    versions[static_cast<int>(rows.integer(i, 0))] = rows.str(i, 1);
  }
  for (const auto& table : catalogs.on_primary) {
    const auto* twin = catalogs.twin_of(table);
    if (!scope.takes(table) || table.oid == 0 || twin == nullptr || twin->oid == 0) continue;
    Work work;
    work.table = {table, *twin};
    work.mark = mark_of(work.table, versions[table.id]);
    pass_.work.push_back(std::move(work));
  }
  bool goes_on = false;
  if (kept == Kept::stored) {
    nlohmann::json asked{{"tables", scope.patterns}, {"exclude", scope.exclude}};
    goes_on = co_await begin_run(primary, asked.dump());
  } else {
    co_await begin_unstored(primary);
  }
  if (goes_on) co_await take_up(primary, pass_);
  co_await plan();
  if (kept == Kept::stored) co_await store_parts(primary, pass_);
  for (const auto& difference : catalogs.differences) pass_.findings.add(difference);
  auto objects = catalogs.differences;
  co_await write_differences(primary, std::move(objects));
}

asio::awaitable<void> Run::read_sizes() {
  std::string oids = "{", large = "{";
  for (const auto& work : pass_.work) {
    oids += (oids.size() > 1 ? "," : "") + std::to_string(work.table.primary.oid);
  }
  const auto sizes = co_await pass_.primary->run(bytes_sql, pg::params(oids + "}"), 600'000ms);
  std::vector<TableInfo*> twins;
  for (int row = 0; row < sizes.size(); ++row) {
    auto& work = pass_.work[static_cast<std::size_t>(sizes.integer(row, 0) - 1)];
    work.bytes = sizes.integer(row, 1);
    auto& pages = work.table.primary.relations.front().pages;
    if (sizes.null(row, 2)) pages = std::min(pages, work.bytes / 8192 + 1);
    if (sizes.null(row, 2)) continue;
    pages = sizes.integer(row, 2);
    large += (twins.empty() ? "" : ",") + std::to_string(work.table.mirror.oid);
    twins.push_back(&work.table.mirror);
  }
  if (twins.empty()) co_return;
  // Where somebody has locked one, the last ANALYZE's pages will do: they only say how much is read at a time.
  pg::Rows there;
  co_await pass_.mirror->run("SET lock_timeout = '2s'");
  try {
    there = co_await pass_.mirror->run(bytes_sql, pg::params(large + "}"), 600'000ms);
  } catch (const pg::Error& error) {
    if (!error.is("55P03")) throw;
  }
  co_await pass_.mirror->run("SET lock_timeout = 0");
  for (int row = 0; row < there.size(); ++row) {
    if (there.null(row, 2)) continue;
    twins[static_cast<std::size_t>(there.integer(row, 0) - 1)]->relations.front().pages = there.integer(row, 2);
  }
}

asio::awaitable<void> Run::plan() {
  co_await read_sizes();
  look_around();
  PartLimits limits;
  if (const auto rate = static_cast<std::int64_t>(pace_.limits().bytes_per_second); rate > 0) {
    limits.part_bytes = std::clamp(rate * part_seconds, part_bytes_least, limits.part_bytes);
    limits.table_bytes = 2 * limits.part_bytes;
  }
  for (auto& work : pass_.work) {
    if (!work.stored) {
      work.parts = co_await plan_parts(*pass_.primary, *pass_.mirror, work.table, work.bytes, limits);
    }
    for (auto& part : work.parts) {
      if (!part.done) pieces_.push_back({&work, &part});
    }
  }
  std::int64_t bytes = 0;
  for (const auto& piece : pieces_) bytes += piece.part->bytes;
  group_bytes_ = std::clamp(bytes / (4 * static_cast<std::int64_t>(pace_.limits().workers)),
                            std::min(group_bytes_least, limits.part_bytes),
                            std::min(group_bytes_most, limits.part_bytes));
  std::stable_sort(pieces_.begin(), pieces_.end(), [](const Piece& one, const Piece& other) {
    return one.part->bytes > other.part->bytes;
  });
}

asio::awaitable<TwinSnapshots> Run::snapshots(TwinSnapshots used) {
  for (int attempt = 1;; ++attempt) {
    std::exception_ptr failure;
    TwinSnapshots twins = std::exchange(used, {});
    try {
      twins = co_await mirror_.twin_snapshots(std::move(twins), rest_limit);
    } catch (const pg::Error& error) {
      // A batch that met DDL is run again; whatever else it is, the loop meets it too. What served before may have
      // been ended while it was idle.
      const bool ended = error.lost && attempt == 1;
      if ((!error.is("PGJ01") && !ended) || attempt >= attempts_max) throw;
      failure = std::current_exception();
    }
    if (!failure) {
      // Reading may take long while the other side waits; a lock of the app must not hold us long.
      const std::string settings =
          "SET LOCAL idle_in_transaction_session_timeout = '6h'; SET LOCAL lock_timeout = '2s'";
      co_await twins.primary->run(settings);
      co_await twins.mirror->run(settings);
      co_return twins;
    }
    co_await pause_for(pause_between_attempts);
  }
}

bool Run::limited() const {
  const auto& limits = pace_.limits();
  return limits.rows_per_second > 0 || limits.bytes_per_second > 0 || pace_.share() < 1;
}

// The limits as they are now, the app's latency, and what is done.
void Run::look_around() {
  auto limits = request_.limits ? request_.limits() : load::Limits{};
  limits.workers = std::max(1U, limits.workers);
  pace_.set(limits);
  if (request_.app) pace_.observe(request_.app());
  const auto now = Clock::now();
  VerifyProgress state;
  state.limit = pace_.acting(now);
  for (const auto& work : pass_.work) {
    ++state.tables_total;
    state.tables_done += work.done() ? 1 : 0;
    state.bytes_total += work.bytes;
    for (const auto& part : work.parts) {
      ++state.parts_total;
      if (!part.done) continue;
      ++state.parts_done;
      state.rows_done += part.rows.value_or(0);
      state.bytes_done += part.bytes;
    }
  }
  state.differences = pass_.findings.total();
  for (const auto& lane : lanes_) {
    if (!lane.what.empty()) state.workers.push_back(lane.what);
  }
  samples_.push_back({now, state.rows_done, state.bytes_done});
  while (samples_.size() > 2 && now - samples_.front().at > rate_window) samples_.pop_front();
  const std::chrono::duration<double> span = now - samples_.front().at;
  if (span.count() > 0.2) {
    const auto rate = [&](std::int64_t done, std::int64_t before) {
      return static_cast<double>(std::max<std::int64_t>(done - before, 0)) / span.count();
    };
    state.rows_per_second = rate(state.rows_done, samples_.front().rows);
    state.bytes_per_second = rate(state.bytes_done, samples_.front().bytes);
  }
  state_ = std::move(state);
  if (request_.report) request_.report(state_);
}

void Run::tell() {
  const auto now = Clock::now();
  if (told_ == Clock::time_point{}) told_ = now;
  if (!request_.progress || now - told_ < tell_interval || state_.bytes_total < megabyte) return;
  told_ = now;
  LoadProgress line;
  line.rows_done = state_.rows_done;
  line.bytes_done = state_.bytes_done;
  line.bytes_total = state_.bytes_total;
  line.rows_per_second = state_.rows_per_second;
  line.bytes_per_second = state_.bytes_per_second;
  line.limit = state_.limit;
  line.step = plural(state_.tables_done, "table") + " of " + std::to_string(state_.tables_total) +
              " compared, " + differences_text(state_.differences);
  request_.progress(load_progress_line(line));
}

}  // namespace pgjanus::verify
