// What a load asks both sides for while the mirror still follows the schema: with many small tables that is most of what it waits for.

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/engine/side_by_side.hpp"
#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

constexpr pg::Duration dump_limit{10 * 60'000};

asio::awaitable<void> describe(pg::Connection& side, std::vector<TableInfo>& tables) { tables = co_await stored_tables(side); }

// Of nothing that belongs to the loader, which may be gone before pg_dump is.
asio::awaitable<void> dump_early(ConnectionParameters parameters, std::shared_ptr<EarlyDump> dump) {
  auto primary = co_await pg::Connection::open(parameters, "load", pg::Duration{10'000});
  dump->catalog = co_await catalog_of_dump(*primary);
  dump->columns = co_await versions_of_columns(*primary);
  primary.reset();
  auto dumped = co_await dump_post_data(parameters);
  if (dumped.ok()) dump->dumped = std::move(dumped);
}

// Whoever needs the dump runs another one, and fails with that one's error.
void told(std::exception_ptr failure) {
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    log_event(LogLevel::info, "schema_not_read_ahead", {{"why", error.what()}});
  }
}

}  // namespace

namespace load {

// Versions, not only names: a dump from between two exchanges of names would be by the other ones. Tables that come and go meanwhile are
// no matter, and temporary ones none of ours.
asio::awaitable<ColumnVersions> versions_of_columns(pg::Connection& primary) {
  const auto rows = co_await primary.run(
      "SELECT a.attrelid::bigint, md5(string_agg(concat(a.attnum, ':', a.xmin), ',' ORDER BY a.attnum)) FROM pg_attribute a "
      "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
      "AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus') AND a.attnum > 0 GROUP BY 1");
  ColumnVersions versions;
  for (int row = 0; row < rows.size(); ++row) versions[static_cast<std::uint32_t>(rows.integer(row, 0))] = rows.str(row, 1);
  co_return versions;
}

bool changed(const ColumnVersions& before, const ColumnVersions& after) {
  return std::any_of(before.begin(), before.end(), [&](const auto& one) {
    const auto now = after.find(one.first);
    return now != after.end() && now->second != one.second;
  });
}

asio::awaitable<pg::SubprocessResult> dump_post_data(ConnectionParameters primary) {
  const auto program = pg::for_program(primary);
  std::vector<std::string> command{"pg_dump",
                                   "--section=post-data",
                                   "--no-publications",
                                   "--no-subscriptions",
                                   "--no-security-labels",
                                   "--no-tablespaces",
                                   "--no-owner",
                                   "--exclude-schema=pgjanus",
                                   "--lock-wait-timeout=500",
                                   "--dbname=" + program.dbname};
  auto dumped = co_await pg::run_program(std::move(command), program.environment, {}, dump_limit);
  co_return dumped;
}

}  // namespace load

asio::awaitable<void> Loader::Impl::follow_schema() {
  auto executor = co_await asio::this_coro::executor;
  early = std::make_shared<EarlyDump>();
  auto dumping = dump_early(databases.parameters(primary_side), early);
  asio::co_spawn(executor, std::move(dumping), [dump = early](std::exception_ptr failure) {
    told(failure);
    dump->over = true;
  });
  const auto changes = control.schema_changes();
  std::function<asio::awaitable<void>(Pair&)> act = [this](Pair&) { return control.catch_up(pg::Duration{60'000}); };
  auto follow = retrying("the mirror to follow the schema", std::move(act));
  auto describing = describe_early();
  std::function<void()> nothing;
  co_await side_by_side(std::move(follow), std::move(describing), std::move(nothing));
  if (control.schema_changes() != changes) described.reset();
}

asio::awaitable<void> Loader::Impl::describe_early() {
  Pair pair;
  const Listed listed{pairs, pair};
  try {
    co_await connect(pair);
    co_await describe_both(pair);
  } catch (const std::exception&) {
    described.reset();  // choose() asks again, and says what is wrong.
  }
}

asio::awaitable<void> Loader::Impl::describe_both(Pair& pair) {
  Described both;
  auto here = describe(*pair.primary, both.primary);
  auto there = describe(*pair.mirror, both.mirror);
  std::function<void()> nothing;
  co_await side_by_side(std::move(here), std::move(there), std::move(nothing));
  described = std::move(both);
}

asio::awaitable<std::optional<pg::SubprocessResult>> Loader::Impl::take_early_dump(pg::Connection& primary) {
  const auto dump = std::exchange(early, nullptr);
  if (!dump) co_return std::nullopt;
  while (!dump->over) {  // pg_dump has a limit.
    require_running();
    co_await pause(std::chrono::milliseconds{10});
  }
  if (!dump->dumped) co_return std::nullopt;
  const auto now = co_await catalog_of_dump(primary);
  const auto columns = co_await versions_of_columns(primary);
  if (now != dump->catalog || changed(dump->columns, columns)) co_return std::nullopt;
  co_return std::move(dump->dumped);
}

}  // namespace pgjanus
