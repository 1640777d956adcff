// The catalog from which a direction begins: marked while a flip holds clients, read and stored beside the first batches.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration mark_limit{1'000};  // Clients are held meanwhile.
constexpr int readings_max = 5;
constexpr auto storing_limit = std::chrono::seconds{2};
constexpr const char* mark = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '1s'; SELECT 1";

asio::awaitable<bool> keep(pg::Connection& side, const ddl::Shape& shape, std::uint64_t epoch) {
  std::string trouble;
  try {
    co_await side.run("BEGIN; SET LOCAL lock_timeout = '1s'", mark_limit);
    co_await ddl::store_shape(side, ddl::Shape{}, shape, epoch);
    co_await side.run("COMMIT", mark_limit);
  } catch (const pg::Error& error) {
    trouble = error.what();
  }
  if (!trouble.empty()) log_event(LogLevel::warn, "catalog_not_kept", {{"why", trouble}});
  co_return trouble.empty();
}

/// What a look at the whole catalog would find besides the shape: lists and capture, of which a forced flip may have left some
/// wanting. Where nothing is missing the first look need not do it again, for which commits would wait.
asio::awaitable<void> look_through(pg::Connection& connection, MarkedCatalog& marked, const std::vector<std::string>& exclude) {
  auto marks = co_await ddl::read_marks(connection);
  const auto listing = co_await ddl::read_listing(connection);
  const auto listable = co_await ddl::candidates(connection, listing, exclude, marked.found, marks);
  if (!listable.beyond_us.empty() || !ddl::listed_rightly(listing, listable.tables)) co_return;
  const auto doubtful = ddl::unsure(co_await stored_tables(connection), marked.found);
  const auto lost = co_await capture::lost(connection, doubtful);
  const auto unpinned = co_await capture::unpinned(connection, doubtful);
  if (!lost.empty() || !unpinned.empty()) co_return;
  for (const auto& table : doubtful) marked.found.whole.emplace(table.id, table.oid);
  marked.marks = std::move(marks);
}

/// DDL waits for what is done with it.
std::shared_ptr<asio::steady_timer> close_late(const asio::any_io_executor& executor, const std::shared_ptr<pg::Connection>& connection) {
  auto timer = std::make_shared<asio::steady_timer>(executor, storing_limit);
  timer->async_wait([timer, connection](boost::system::error_code cancelled) {
    if (!cancelled) connection->close();
  });
  return timer;
}

/// Owns all that it uses: the loop may end before. The server describes objects as they are now, whatever
/// snapshot asks: DDL in between, which then bypasses us, makes that an error, and what is there by now is read.
asio::awaitable<void> read_marked(pg::ConnectionPtr connection, std::shared_ptr<pg::Connection> mirror, std::shared_ptr<MarkedCatalog> marked,
                                  std::uint64_t epoch, std::vector<std::string> exclude) {
  marked->exact = true;
  try {
    marked->privileges = co_await schema::read_privileges(*connection);
  } catch (const pg::Error&) {  // What is taken away right behind the flip stays on the mirror.
  }
  if (!marked->privileges && connection->usable()) {
    co_await connection->run("ROLLBACK", mark_limit);
    marked->exact = false;
  }
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
  try {
    if (marked->shape) co_await look_through(*connection, *marked, exclude);
  } catch (const pg::Error&) {  // The first look comes to the same, and says so.
  }
  if (!marked->shape || !marked->exact) co_return;
  co_await connection->run("ROLLBACK", mark_limit);
  if (mirror && mirror->usable()) {
    const auto executor = co_await asio::this_coro::executor;
    const auto timer = close_late(executor, mirror);
    marked->stored = co_await keep(*mirror, *marked->shape, epoch);
    timer->cancel();
  }
  // Should the mirror be away and we be killed, whoever comes next begins with it all the same.
  if (!marked->stored) co_await keep(*connection, *marked->shape, epoch);
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

// The snapshot is taken while clients are held; what it shows is read by a connection of its own, beside the first
// batches: thousands of tables take a second, for which the first commits would otherwise wait.
asio::awaitable<void> MirrorLoop::mark_catalog() {
  auto marker = std::move(marker_), keeper = std::move(keeper_);
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
  ddl_.at_flip = granted_.at_flip = std::make_shared<MarkedCatalog>();
  // DDL goes on once it is stored, or where the mirror is away.
  asio::co_spawn(executor, read_marked(std::move(marker), std::move(keeper), ddl_.at_flip, settings_.epoch.value, settings_.exclude),
                 [marked = ddl_.at_flip, changed = changed_, executor](std::exception_ptr) {
    marked->over = true;
    changed();
    limit_storing(executor, marked, changed);
  });
}

// Until the catalog of a flip is read nobody looks: partitions that came since go on refusing what meets their rows.
void MirrorLoop::forget_newcomers(std::vector<TableInfo>& primary) const {
  if (!ddl_.at_flip || ddl_.at_flip->over) return;
  for (auto& table : primary) {
    const auto before = tables_.by_id.find(table.id);
    if (before == tables_.by_id.end()) continue;
    const auto& known = before->second.primary.relations;
    std::erase_if(table.relations, [&](const RelationInfo& one) {
      return std::none_of(known.begin(), known.end(), [&](const RelationInfo& was) { return was.oid == one.oid; });
    });
  }
}

// A process that was killed right after a flip may not have stored what replaying begins with. Then DDL that comes
// before we have read it would be taken for what was there.
void MirrorLoop::begin_catalog() {
  if (!ddl_.on || ddl_.beside_load || ddl_.at_flip) return;  // Where a load runs, `prepare` has stored it.
  ddl_.at_flip = std::make_shared<MarkedCatalog>();
  ddl_.at_flip->over = ddl_.at_flip->begins = true;
  limit_storing(executor_, ddl_.at_flip, changed_);
  changed_();
}

}  // namespace pgjanus
