#include "proxy/verify/both.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <exception>

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

struct Attempt {
  std::vector<pg::Rows> rows;
  std::exception_ptr error;
};

// Both sides run at the same time; a failure of one must neither hide behind the other's nor leave
// it running.
asio::awaitable<Attempt> attempt(pg::Connection& side, std::vector<pg::Statement> statements,
                                 pg::Connection& peer) {
  Attempt result;
  try {
    result.rows = co_await side.batch(std::move(statements), scan_limit);
  } catch (...) {
    result.error = std::current_exception();
  }
  if (result.error) peer.cancel();
  co_return result;
}

}  // namespace

asio::awaitable<BothRows> run_both(TwinSnapshots& twins, std::string primary_sql,
                                   std::string mirror_sql) {
  std::vector<pg::Statement> on_primary(1), on_mirror(1);
  on_primary.front().sql = std::move(primary_sql);
  on_mirror.front().sql = std::move(mirror_sql);
  const auto both = co_await run_both(twins, std::move(on_primary), std::move(on_mirror));
  co_return BothRows{both.primary.front(), both.mirror.front()};
}

asio::awaitable<BothBatches> run_both(TwinSnapshots& twins, std::vector<pg::Statement> on_primary,
                                      std::vector<pg::Statement> on_mirror) {
  using namespace asio::experimental::awaitable_operators;
  auto both = attempt(*twins.primary, std::move(on_primary), *twins.mirror) &&
              attempt(*twins.mirror, std::move(on_mirror), *twins.primary);
  auto [primary, mirror] = co_await std::move(both);
  twins.disturbed = twins.disturbed || primary.error || mirror.error;
  // The one that was cancelled says 57014; the other one knows why.
  const auto cancelled = [](const std::exception_ptr& error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const pg::Error& failure) {
      return failure.is("57014");
    } catch (...) {
      return false;
    }
    return false;
  };
  if (primary.error && (!mirror.error || !cancelled(primary.error))) {
    std::rethrow_exception(primary.error);
  }
  if (mirror.error) std::rethrow_exception(mirror.error);
  co_return BothBatches{std::move(primary.rows), std::move(mirror.rows)};
}

asio::awaitable<void> let_go(TwinSnapshots& twins) {
  if (!twins.primary || !twins.mirror) co_return;
  bool failed = false;
  try {
    co_await twins.primary->run("ROLLBACK");
    co_await twins.mirror->run("ROLLBACK");
  } catch (const pg::Error&) {
    failed = true;
  }
  if (failed) twins = {};
}

}  // namespace pgjanus::verify
