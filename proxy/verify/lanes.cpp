// The workers of a comparison.

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "proxy/engine/wakeup.hpp"
#include "proxy/log.hpp"
#include "proxy/pg/waited_for.hpp"
#include "proxy/verify/both.hpp"
#include "proxy/verify/run.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Of big tables whoever watches is told one by one.
constexpr std::int64_t told_bytes_least = 128LL << 20;
constexpr std::size_t group_pieces_max = 128;  // Each table's locks, and those of its indexes.
// How often limits and the end are looked at, and how often the locks of others.
constexpr auto look_interval = 100ms;
constexpr int looks_a_guard = 5;
constexpr auto longest_rest = 250ms;
// While a limit acts, a table that cannot be cut is read in scans of so many pages; with a limit of
// bytes in fewer, for rests that are short.
constexpr std::int64_t slice_pages_least = 16, slice_pages_most = 1024, slice_seconds = 2;

/// Another try under other snapshots may do: changed files, locks of the app, way made for it, a
/// batch or transaction that has to be run again, a lost connection.
bool passes(const pg::Error& error) {
  return error.lost || error.is("PGJ03") || error.is("PGJ01") || error.is("55P03") ||
         error.is("57014") || error.is("40001") || error.is("40P01") || error.is("42P01");
}

pg::Error way_made() {
  pg::Error error{"the comparison made way"};
  error.message = error.what();
  error.sqlstate = "57014";
  return error;
}

pg::Error not_that_boundary() {
  pg::Error error{"the mirror shows another boundary than the one just stored: it answers from two servers (a failover?); verify again"};
  error.message = error.what();
  error.sqlstate = "55000";
  return error;
}

std::string label(const Piece& piece) {
  const auto& work = *piece.work;
  auto text = work.table.primary.display();
  if (work.parts.size() > 1) {
    text += ", part " + std::to_string(piece.part->number + 1) + " of " +
            std::to_string(work.parts.size());
  }
  return text;
}

}  // namespace

bool Run::left() const {
  return std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
    return !piece.part->done && !piece.part->running && !piece.work->given_up();
  });
}

bool Run::complete() const {
  return std::all_of(pass_.work.begin(), pass_.work.end(),
                     [](const Work& work) { return work.done() || work.given_up(); });
}

std::vector<Piece> Run::take() {
  std::vector<Piece> group;
  std::int64_t bytes = 0;
  if (stopped()) return group;
  std::erase_if(pieces_, [](const Piece& p) { return p.part->done || p.work->given_up(); });
  for (const auto& piece : pieces_) {
    if (piece.part->running) continue;
    if (group.size() >= group_pieces_max) break;
    if (!group.empty() && bytes + piece.part->bytes > group_bytes_) continue;
    group.push_back(piece);
    bytes += piece.part->bytes;
  }
  for (const auto& piece : group) piece.part->running = true;
  return group;
}

// Workers end when nothing is left to begin. More are added when the limit is raised.
asio::awaitable<void> Run::work_off() {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer finished{executor};
  unsigned begun = 0, alive = 0, looks = 0;
  std::exception_ptr broken;
  // The handlers below refer to this frame: not even a cancellation may end it before them.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  do {
    look_around();
    tell();
    while (!stopped() && begun < pace_.limits().workers && (begun == 0 || left())) {
      ++alive;
      asio::co_spawn(executor, work(begun++), [&](std::exception_ptr failure) {
        if (failure && !broken) broken = failure;
        if (failure) ended_ = true;
        if (--alive == 0) finished.cancel();
      });
    }
    finished.expires_after(look_interval);
    co_await finished.async_wait(asio::as_tuple(asio::use_awaitable));
    if (alive == 0) break;
    if (stopped()) {
      for (auto& lane : lanes_) cancel(lane);
    } else if (++looks % looks_a_guard == 0) {
      co_await look_for_waiters();
    }
  } while (alive > 0);
  look_around();
  lanes_.clear();
  if (broken) std::rethrow_exception(broken);
}

// Somebody who waits for a moment is let wait: two looks in a row must find it.
asio::awaitable<void> Run::look_for_waiters() {
  if (!guard_ || !guard_->usable()) co_return;  // Without the guard the comparison goes on.
  std::vector<int> pids;
  for (const auto& lane : lanes_) {
    if (lane.scanner != nullptr) pids.push_back(lane.scanner->process_id());
  }
  std::set<int> waited_for;
  try {
    waited_for = co_await pg::waited_for(*guard_, pids);
  } catch (const pg::Error& error) {
    log_event(LogLevel::warn, "verify_guard_failed", {{"why", error.what()}});
    co_return;
  }
  for (auto& lane : lanes_) {
    if (lane.scanner == nullptr) continue;
    const int pid = lane.scanner->process_id();
    const bool now = waited_for.contains(pid);
    const bool before = std::exchange(lane.waited_for, now ? pid : 0) == pid;
    if (now && before) cancel(lane);
  }
}

void Run::cancel(Lane& lane) {
  if (lane.scanner == nullptr) return;
  lane.made_way = true;
  lane.scanner->cancel();
  if (stopped() && lane.twins.mirror) lane.twins.mirror->cancel();
}

asio::awaitable<void> Run::rest(const Lane* lane, std::int64_t rows, std::int64_t bytes,
                                Clock::duration took) {
  auto now = Clock::now();
  const auto until = now + pace_.passed(static_cast<std::uint64_t>(rows),
                                        static_cast<std::uint64_t>(bytes), took, now);
  const auto limits = pace_.limits();
  while (now < until && !stopped() && pace_.limits() == limits) {
    if (lane != nullptr && lane->made_way) throw way_made();
    const Clock::duration most = longest_rest;
    co_await pause_for(std::chrono::ceil<std::chrono::milliseconds>(std::min(until - now, most)));
    now = Clock::now();
  }
  if (lane != nullptr && (lane->made_way || stopped())) throw way_made();
}

asio::awaitable<void> Run::work(unsigned number) {
  auto& lane = lanes_.emplace_back();
  lane.number = number;
  lane.records = co_await databases_.open(request_.primary, "verify");
  for (;;) {
    if (number >= pace_.workers()) lane.twins = {};
    while (!stopped() && left() && number >= pace_.workers()) co_await pause_for(longest_rest);
    auto group = take();
    if (group.empty()) break;
    const bool again = std::any_of(group.begin(), group.end(),
                                   [](const Piece& piece) { return piece.part->attempts > 0; });
    if (again) co_await pause_for(pause_between_attempts);
    const auto pieces = group;
    std::exception_ptr failure;
    try {
      co_await compare_group(lane, std::move(group));
    } catch (...) {
      failure = std::current_exception();
    }
    lane.what.clear();
    for (const auto& piece : pieces) piece.part->running = false;
    lane.scanner = nullptr;
    // A cancellation may arrive later than what it was meant for.
    if (failure || lane.made_way || lane.twins.disturbed) lane.twins = {};
    co_await let_go(lane.twins);
    lane.made_way = false;
    lane.waited_for = 0;
    if (failure) std::rethrow_exception(failure);
    const auto rows = std::exchange(lane.rows, 0), bytes = std::exchange(lane.bytes, 0);
    const auto took = std::exchange(lane.took, Clock::duration{});
    if (bytes > 0) co_await rest(nullptr, rows, bytes, took);
  }
  lane.twins = {};
}

asio::awaitable<void> Run::give_up(Lane& lane, Work& work) {
  pass_.findings.forget_rows(work.table.primary.id);
  co_await forget_table(*lane.records, work.table.primary.id);
}

asio::awaitable<void> Run::compare_group(Lane& lane, std::vector<Piece> group) {
  lane.what = group.size() == 1 ? label(group.front())
                                : std::to_string(group.size()) + " small tables";
  lane.twins = co_await snapshots(std::move(lane.twins));
  pass_.boundary = lane.twins.boundary;
  lane.scanner = lane.twins.primary.get();
  // Under the mirror's snapshot: which tables equal this boundary.
  std::string ids = "{";
  for (const auto& piece : group) ids += (ids.size() > 1 ? "," : "") + std::to_string(piece.work->table.primary.id);
  const auto shown = co_await lane.twins.mirror->run("SELECT coalesce(max(snapshot), '') FROM pgjanus.boundary");
  if (shown.text(0, 0) != lane.twins.boundary) throw not_that_boundary();
  const auto states = co_await lane.twins.mirror->run(
      "SELECT id, state, boundary IS NULL FROM pgjanus.tables WHERE id = ANY ($1::int[])", pg::params(ids + "}"));
  std::map<int, std::pair<std::string, bool>> by_id;
  for (int i = 0; i < states.size(); ++i) {
    by_id[static_cast<int>(states.integer(i, 0))] = {states.str(i, 1), states.boolean(i, 2)};
  }
  std::vector<Piece> small;
  for (const auto& piece : group) {
    const auto& [state, at_boundary] = by_id[piece.work->table.primary.id];
    if (state == "mirrored" && at_boundary) small.push_back(piece);
  }
  const bool stands = co_await look_at_group(lane, std::move(small));
  if (!stands) co_return;
  Record record{*lane.records, pass_.findings};
  std::vector<Piece> compared;
  std::vector<Work*> lost;
  for (const auto& piece : group) {
    auto& [work, part] = piece;
    if (part->rows) {
      compared.push_back(piece);
      continue;
    }
    const auto& table = work->table.primary;
    const auto& [state, at_boundary] = by_id[table.id];
    if (state != "mirrored" || !at_boundary) {
      // Held up for a moment, or for longer than we wait.
      const bool may_join = state == "mirrored" || state == "held_up";
      if (may_join && ++part->attempts < attempts_max) continue;
      work->left_out =
          "not mirrored at this boundary: " + (state == "mirrored" ? "held up" : state);
      lost.push_back(work);
      continue;
    }
    std::optional<pg::Error> failure;
    try {
      co_await compare_piece(lane, record, piece);
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) {
      compared.push_back(piece);
      continue;
    }
    co_await record.drop_part();
    if (stopped()) break;
    log_event(LogLevel::info, "verify_interrupted",
              {{"table", table.display()},
               {"error", failure->what()},
               {"attempt", part->attempts + 1}});
    if (!passes(*failure) || ++part->attempts >= attempts_max) {
      work->failed = true;
      work->left_out = failure->what();
      lost.push_back(work);
    }
    break;
  }
  auto note = done_note(compared);
  co_await record.commit(std::move(note.sql), std::move(note.parameters));
  for (const auto& piece : compared) {
    piece.part->done = true;
    pass_.rows_compared += piece.part->rows.value_or(0);
  }
  for (auto* work : lost) co_await give_up(lane, *work);
}

// Round trips cost small tables more than their rows do. Whatever fails here, and whatever is not
// equal, is compared one by one; false when that needs other snapshots.
asio::awaitable<bool> Run::look_at_group(Lane& lane, std::vector<Piece> group) {
  std::vector<Piece> pieces;
  std::vector<PartOfTable> parts;
  for (const auto& piece : group) {
    const auto& table = piece.work->table;
    const auto compared = pair_columns(table).compared;
    const bool keys = std::all_of(compared.key.begin(), compared.key.end(), [&](const auto& key) {
      return std::find(compared.columns.begin(), compared.columns.end(), key) !=
             compared.columns.end();
    });
    if (piece.part->looked_at || !keys || table.primary.kind != 'r' || table.mirror.kind != 'r')
      continue;
    piece.part->looked_at = true;
    pieces.push_back(piece);
    parts.push_back({&table, piece.part});
  }
  if (pieces.size() < 2) co_return true;
  const auto began = Clock::now();
  std::vector<std::optional<std::int64_t>> rows;
  bool failed = false;
  try {
    rows = co_await look_at_many(lane.twins, std::move(parts), pass_.hashing);
  } catch (const pg::Error&) {
    failed = true;  // Which of them it was is found out one by one.
  }
  if (failed) co_return false;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].part->rows = rows[i];
    if (!rows[i]) continue;
    lane.rows += *rows[i];
    lane.bytes += pieces[i].part->bytes;
  }
  lane.took += Clock::now() - began;
  co_return true;
}

asio::awaitable<void> Run::compare_piece(Lane& lane, Record& record, Piece piece) {
  auto& [work, part] = piece;
  if (lane.made_way) throw way_made();
  Manner manner;
  manner.hashing = pass_.hashing;
  if (limited()) {
    const auto rate = static_cast<std::int64_t>(pace_.limits().bytes_per_second);
    manner.slice_pages = rate == 0 ? slice_pages_most
                                   : std::clamp(rate * slice_seconds / 8192, slice_pages_least,
                                                slice_pages_most);
    manner.rest = [this, &lane](std::int64_t rows, std::int64_t bytes, Clock::duration took) {
      return rest(&lane, rows, bytes, took);
    };
  }
  const auto began = Clock::now();
  const auto result = co_await compare_part(lane.twins, work->table, *part, manner, record);
  part->rows = result.rows;
  part->differences = record.found();
  co_await record.keep_part();
  if (!result.rested) {  // That is made up for when the snapshots are closed.
    lane.rows += result.rows.value_or(0);
    lane.bytes += part->bytes;
    lane.took += Clock::now() - began;
  }
  if (request_.progress && work->parts.size() == 1 && work->bytes >= told_bytes_least) {
    request_.progress(label(piece) + ": " + plural(part->rows.value_or(0), "row") + ", " +
                      plural(pass_.findings.of_table(work->table.primary.id), "difference"));
  }
}

}  // namespace pgjanus::verify
