// Which catalog the primary had when replaying DDL began, whether it has another one by now, and what the primary is
// given for it: capture, and notes of what has to be read anew.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/ddl/beside_load.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/ddl/partitions.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration mark_limit{1'000};  // Clients are held meanwhile.
constexpr int readings_max = 5;
constexpr auto storing_limit = std::chrono::seconds{2};
constexpr const char* mark = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '1s'; SELECT 1";
// What is right for reading a few keys is slow for thousands of tables.
constexpr const char* whole_catalogs =
    "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on";

/// On the primary, too: should the mirror be away and we be killed, whoever comes next begins with it all the same.
asio::awaitable<void> keep_on_primary(pg::Connection& primary, const ddl::Shape& shape, std::uint64_t epoch) {
  std::string trouble;
  try {
    co_await primary.run("COMMIT", mark_limit);
    co_await primary.run("BEGIN; SET LOCAL lock_timeout = '1s'", mark_limit);
    co_await ddl::store_shape(primary, ddl::Shape{}, shape, epoch);
    co_await primary.run("COMMIT", mark_limit);
  } catch (const pg::Error& error) {
    trouble = error.what();
  }
  if (!trouble.empty()) log_event(LogLevel::warn, "catalog_not_kept", {{"why", trouble}});
}

/// Owns all that it uses: the loop may end before. The server describes objects as they are now, whatever
/// snapshot asks: DDL in between, which then bypasses us, makes that an error, and what is there by now is read.
asio::awaitable<void> read_marked(pg::ConnectionPtr connection, std::shared_ptr<MarkedCatalog> marked,
                                  std::uint64_t epoch) {
  marked->exact = true;
  for (int left = readings_max; !marked->shape && left > 0; --left) {
    std::optional<pg::Error> failure;
    try {
      if (!marked->exact) co_await connection->run(mark, mark_limit);
      marked->shape = co_await ddl::read_shape(*connection);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) continue;
    log_event(LogLevel::warn, "catalog_not_marked", {{"why", failure->what()}});
    marked->exact = false;
    if (!connection->usable()) co_return;
    co_await connection->run("ROLLBACK", mark_limit);
  }
  if (marked->shape && marked->exact) co_await keep_on_primary(*connection, *marked->shape, epoch);
}

void limit_storing(const asio::any_io_executor& executor, std::shared_ptr<MarkedCatalog> marked,
                   std::function<void()> changed) {
  const auto timer = std::make_shared<asio::steady_timer>(executor, storing_limit);
  timer->async_wait([timer, marked = std::move(marked), changed = std::move(changed)](boost::system::error_code) {
    marked->late = true;
    changed();
  });
}

}  // namespace

// What is stored belongs to the boundary. Where nothing is (the first batch of a direction, or a mirror
// that was prepared by hand) the catalog of now is where we begin.
asio::awaitable<void> MirrorLoop::know_shape() {
  auto there = co_await applier_->run("SELECT to_regclass('pgjanus.shape') IS NOT NULL");
  if (!there.boolean(0, 0)) {
    ddl_.on = false;
    ddl_.unknowable = true;
    if (std::exchange(ddl_.at_flip, nullptr)) changed_();
    log_event(LogLevel::warn, "ddl_not_followed", {{"why", "prepared by an older version"}});
    co_return;
  }
  ddl_.known = co_await ddl::stored_shape(*applier_, settings_.epoch.value);
  if (ddl_.known.empty()) {
    const auto marked = ddl_.at_flip;
    bool exact = marked && marked->shape && marked->exact;
    ddl::Shape begin;
    if (marked && marked->shape) {
      begin = *marked->shape;  // Should storing it fail, it is needed again.
    } else {
      begin = co_await ddl::stored_shape(*reader_, settings_.epoch.value);  // Kept by a process that was killed.
      exact = !begin.empty();
    }
    if (begin.empty()) begin = co_await ddl::read_shape(*reader_);
    co_await applier_->run("BEGIN");
    co_await ddl::store_shape(*applier_, ddl::Shape{}, begin, settings_.epoch.value);
    co_await applier_->run("COMMIT");
    ddl_.known = std::move(begin);
    log_event(LogLevel::info, "ddl_followed_from_here", {{"objects", ddl_.known.size()}});
    if (!exact) {
      log_event(LogLevel::error, "ddl_may_be_missed",
                {{"why", "it ran while mirroring in this direction began"},
                 {"remedy", "compare the schemas of both sides"}});
    }
  }
  ddl_.shape_known = true;
  ddl_.probe.clear();
  if (std::exchange(ddl_.at_flip, nullptr)) changed_();
}

// The snapshot is taken while clients are held; what it shows is read by a connection of its own, beside the first
// batches: thousands of tables take a second, for which the first commits would otherwise wait.
asio::awaitable<void> MirrorLoop::mark_catalog() {
  auto marker = std::move(marker_);
  if (!ddl_.on || !marker || !marker->usable()) co_return;
  std::string trouble;
  try {
    co_await marker->run(mark, mark_limit);
  } catch (const pg::Error& error) {
    trouble = error.what();
  }
  if (!trouble.empty()) {
    log_event(LogLevel::warn, "catalog_not_marked", {{"why", trouble}});
    co_return;
  }
  ddl_.defined = tickets_.defined();
  auto executor = co_await asio::this_coro::executor;
  ddl_.at_flip = std::make_shared<MarkedCatalog>();
  // DDL goes on once it is stored, or where the mirror is away.
  asio::co_spawn(executor, read_marked(std::move(marker), ddl_.at_flip, settings_.epoch.value),
                 [marked = ddl_.at_flip, changed = changed_, executor](std::exception_ptr) {
    marked->over = true;
    changed();
    limit_storing(executor, marked, changed);
  });
}

// A process that was killed right after a flip may not have stored what replaying begins with. Then DDL that comes
// before we have read it would be taken for what was there.
void MirrorLoop::begin_catalog() {
  if (!ddl_.on || ddl_.at_flip) return;
  ddl_.at_flip = std::make_shared<MarkedCatalog>();
  ddl_.at_flip->over = ddl_.at_flip->begins = true;
  limit_storing(executor_, ddl_.at_flip, changed_);
  changed_();
}

/// Whether the primary's catalog is another one than the failed batch took it for: values of a column that
/// has another type since, or of another table of that name, are no reason to stand still.
asio::awaitable<bool> MirrorLoop::catalog_moved_on() {
  if (!reader_ || !reader_->usable()) co_return false;
  const auto& taken_for = ddl_.looking ? ddl_.seen : ddl_.probe;
  std::string now;
  bool answered = false;
  try {
    co_await reader_->run(std::string{"BEGIN READ ONLY; "} + whole_catalogs);
    now = co_await ddl::probe(*reader_);
    co_await reader_->run("COMMIT");
    answered = true;
  } catch (const pg::Error&) {  // The failure itself is told.
  }
  if (!answered && reader_->usable() && reader_->in_transaction()) reader_.reset();
  if (!answered) co_return false;
  if (now == taken_for) co_return false;
  ddl_.due = true;
  forget_tables();
  co_return true;
}

/// Behind a load, which built from later texts than those that the shape knows.
asio::awaitable<std::optional<ddl::Shape>> MirrorLoop::what_the_load_left() {
  std::optional<ddl::Shape> stands;
  if (!ddl_.load_ended || ddl_.behind_bar) co_return stands;
  const auto mirror = co_await ddl::read_own_shape(*applier_);
  stands = ddl::as_it_stands(ddl_.known, ddl_.now, mirror);
  co_return stands;
}

/// Whether every table that the snapshot shows is listed as it is, and captured whole.
asio::awaitable<bool> MirrorLoop::capture_stands() {
  const auto listing = co_await ddl::read_listing(*reader_);
  const auto found = co_await ddl::candidates(*reader_, listing, settings_.exclude);
  for (const auto& name : found.beyond_us) {
    if (ddl_.beyond_us.contains(name)) continue;
    log_event(LogLevel::error, "table_not_mirrored", {{"table", name}});
  }
  ddl_.beyond_us = found.beyond_us;
  if (!ddl::listed_rightly(listing, found.tables)) co_return false;
  const auto stored = co_await stored_tables(*reader_);
  const auto lost = co_await capture::lost(*reader_, stored);
  const auto unpinned = co_await capture::unpinned(*reader_, stored);
  const auto& back = ddl_.changes.rejoined;
  const bool noted = std::all_of(back.begin(), back.end(), [&](const auto& one) {
    const auto known = ddl_.noted.find(one.first);
    return known != ddl_.noted.end() && known->second == one.second;
  });
  co_return lost.empty() && unpinned.empty() && noted;
}

/// Lists what the primary has now, captures it, and notes the rows that came before the triggers, or while they were away.
asio::awaitable<void> MirrorLoop::bring_capture() {
  auto connection = co_await databases_.open(settings_.primary, "ddl", pg::Duration{5'000});
  const auto& known = ddl_.known;
  const auto exclude = settings_.exclude;
  const auto writes = ddl_.behind_bar ? ddl::Primary::barred : ddl::Primary::open;
  const auto back = ddl_.changes.rejoined;
  co_await ddl::list_and_capture(*connection, known, exclude, writes);
  if (back.empty()) {
    ++ddl_.changes_made;
    co_return;
  }
  if (ddl_.behind_bar) throw with_state("PGJ04", "partitions that came back are to be read anew");
  co_await ddl::note_rejoined(*connection, back);
  ddl_.noted = back;
  ++ddl_.changes_made;
}

// Tables that wait for a lock, or are being loaded, while this batch goes on without their rows: whichever
// batch takes them up reads them whole. Committed before the batch is; more of it than needed does no harm.
asio::awaitable<void> MirrorLoop::owe_whole(std::set<int> tables) {
  if (ddl_.behind_bar) throw with_state("PGJ04", "tables that wait are to be read anew");
  std::string list = "{";
  for (const int id : tables) list += (list.size() > 1 ? "," : "") + std::to_string(id);
  auto connection = co_await databases_.open(settings_.primary, "ddl", pg::Duration{5'000});
  co_await connection->run("INSERT INTO pgjanus.journal (xid, table_id) "
                           "SELECT pg_current_xact_id(), unnest($1::int[])", pg::params(list + "}"));
}

}  // namespace pgjanus
