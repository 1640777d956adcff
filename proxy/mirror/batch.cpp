#include "proxy/mirror/batch.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/mirror/mirror.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration step_limit{600'000};
// A boundary that is not where we think makes no row, and that is an error before any COMMIT.
constexpr const char* division_by_zero = "22012";
// Small statements of several tables share a round trip up to this.
constexpr std::size_t write_bytes = 1U << 20;

}  // namespace

PairedTable& Batch::table(int id) {
  const auto found = tables_.by_id.find(id);
  if (found == tables_.by_id.end()) {
    pg::Error error{"the journal names table " + std::to_string(id) +
                    ", which pgjanus.tables does not list as mirrored"};
    error.message = error.what();
    error.sqlstate = "42P01";
    throw error;
  }
  return found->second;
}

// What opens the mirror's transaction goes ahead of the first work, in the same round trip; moving the
// boundary and the mark that lets our statements pass are one statement.
void Batch::prepare_opening() {
  opening_.push_back({"BEGIN", {}, true});
  opening_.push_back(
      {"WITH moved AS (UPDATE pgjanus.boundary SET batch = $1, snapshot = $2, nonce = $3, "
       "system = nullif($4, ''), timeline = nullif($5, ''), taken_at = clock_timestamp() "
       "WHERE epoch = $6 AND batch = $7 RETURNING 1) SELECT 1 / count(*), "
       "set_config('pgjanus.apply', 'on', true) FROM moved",
       {std::to_string(to_.batch), to_.snapshot, to_.nonce, to_.system, to_.timeline,
        std::to_string(plan_.from.epoch.value), std::to_string(plan_.from.batch)},
       true});
}

/// Sends what was gathered, in one round trip. An error names the table whose statement failed.
asio::awaitable<void> Batch::write() {
  co_await settled();
  if (work_.empty() && opening_.empty()) co_return;
  auto statements = std::move(work_);
  const auto owners = std::move(owners_);
  work_.clear();
  owners_.clear();
  work_bytes_ = 0;
  try {
    co_await on_mirror(std::move(statements));
  } catch (const pg::Error& error) {
    if (!owners.empty()) table_at_work_ = owners[std::min(error.statement, owners.size() - 1)];
    throw;
  }
}

/// The same, while the caller goes on reading: both servers work. One part at a time is under way.
asio::awaitable<void> Batch::write_behind() {
  co_await settled();
  if (work_.empty()) co_return;
  auto executor = co_await asio::this_coro::executor;
  behind_ = std::make_shared<Behind>(executor);
  behind_->owners = std::move(owners_);
  auto statements = std::move(work_);
  work_.clear();
  owners_.clear();
  work_bytes_ = 0;
  asio::co_spawn(executor, on_mirror(std::move(statements)), [behind = behind_](std::exception_ptr failure) {
    behind->failure = failure;
    behind->running = false;
    behind->ended.cancel();
  });
}

asio::awaitable<void> Batch::settled() {
  if (!behind_) co_return;
  const auto behind = std::move(behind_);
  behind_.reset();
  // As long as on_mirror() waits at most.
  while (behind->running) co_await behind->ended.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!behind->failure) co_return;
  try {
    std::rethrow_exception(behind->failure);
  } catch (const pg::Error& error) {
    if (!behind->owners.empty()) table_at_work_ = behind->owners[std::min(error.statement, behind->owners.size() - 1)];
    throw;
  }
}

asio::awaitable<void> Batch::write_when_large() {
  if (work_bytes_ >= write_bytes) co_await write_behind();
}

void Batch::add_work(int id, const std::string& sql, ColumnArrays& rows) {
  work_bytes_ += rows.bytes();
  work_.push_back({sql, rows.parameters(), true});
  owners_.push_back(id);
}

/// Runs statements in the mirror's transaction. The index in an error counts from `statements`.
asio::awaitable<void> Batch::on_mirror(std::vector<pg::Statement> statements) {
  const auto ahead = opening_.size();
  auto all = std::move(opening_);
  opening_.clear();
  for (auto& statement : statements) all.push_back(std::move(statement));
  try {
    co_await mirror_.batch(std::move(all), step_limit);
  } catch (pg::Error& error) {
    if (ahead > 0 && error.statement == ahead - 1 && error.is(division_by_zero)) {
      pg::Error moved{"the mirror's boundary is not batch " + std::to_string(plan_.from.batch) +
                      " of epoch " + std::to_string(plan_.from.epoch.value) +
                      ": another loop moved it"};
      moved.message = moved.what();
      moved.sqlstate = "PGJ02";
      throw moved;
    }
    error.statement -= std::min(error.statement, ahead);
    throw;
  }
}

asio::awaitable<void> Batch::begin_on_mirror() {
  begun_ = true;
  prepare_opening();
  std::vector<pg::Statement> nothing_more;
  co_await on_mirror(std::move(nothing_more));
}

asio::awaitable<void> Batch::apply() {
  co_await apply_rows();
  co_await commit();
}

asio::awaitable<void> Batch::apply_rows() {
  co_await read();
  if (!begun_) prepare_opening();
  for (const int id : tables_.whole) {
    table_at_work_ = id;
    co_await apply_whole(table(id));
  }
  streams_ = keys_.rows.size() >= keys_per_fetch;
  for (bool more = !keys_.empty(); more;) {
    const bool last_fetch = keys_.rows.size() < keys_per_fetch;
    co_await apply_fetched(last_fetch);
    more = !last_fetch;
    if (more) {
      std::vector<pg::Statement> fetch;
      fetch.push_back(
          {"FETCH " + std::to_string(keys_per_fetch) + " FROM pgjanus_keys", {}, true});
      auto fetched = co_await primary_.batch(std::move(fetch), step_limit);
      keys_.rows = fetched[0];
      more = !keys_.empty();
    }
  }
  table_at_work_ = 0;
  if (!primary_over_) co_await end_primary();
  co_await settled();
  if (!beaten_) {
    pg::Error error{"the primary's state is not primary of epoch " +
                    std::to_string(to_.epoch.value) + " any more"};
    error.message = error.what();
    error.sqlstate = "PGJ02";
    throw error;
  }
}

asio::awaitable<void> Batch::commit() {
  if (!plan_.own.empty()) {
    std::string joined;
    for (const auto& [id, boundary] : plan_.own) {
      joined += (joined.empty() ? "" : ",") + std::to_string(id);
    }
    // One of them may have been given up in this very batch (SKIP).
    work_.push_back({"UPDATE pgjanus.tables SET boundary = NULL, state = 'mirrored', error = NULL "
                     "WHERE state <> 'error' AND id IN (" + joined + ")", {}, false});
    owners_.push_back(0);
  }
  work_.push_back({"COMMIT", {}, true});
  owners_.push_back(0);
  co_await write();
}

asio::awaitable<void> Batch::apply_fetched(bool last_fetch) {
  const auto rows = keys_.rows;
  std::vector<Job> jobs;
  for (int first = 0; first < rows.size();) {
    const auto id = static_cast<int>(rows.integer(first, 0));
    const int last = end_of_table(first);
    const int begin = first;
    first = last;
    if (id == skip_table_ || tables_.whole.contains(id) || tables_.nobodys.contains(id)) continue;
    auto& paired = table(id);
    table_at_work_ = id;
    const bool complete = last_fetch || last < rows.size();
    if (rows.null(begin, 1)) {
      skip_table_ = id;
      co_await apply_whole(paired);
    } else if (!paired.keyed()) {
      check_members(paired);
      add_weights(paired, begin, last);
      co_await write_when_large();
    } else if (paired.delete_first && !complete) {
      skip_table_ = id;
      co_await apply_two_passes(paired);
    } else if (!read_) {
      add_jobs(paired, begin, last, jobs);
    }
    keys_applied_ += static_cast<std::uint64_t>(last - begin);
  }
  if (read_) add_rows_work(jobs_, 0, jobs_.size(), rows_, Pass::both);
  co_await run_jobs(std::move(jobs), Pass::both);
}

}  // namespace pgjanus
