// DDL that comes between a snapshot and what is read of it: noticed, waited for, and no fault (proxy/ddl/README.md, "When
// DDL gets in the way").

#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto hold_max = 500ms;
constexpr std::chrono::milliseconds motion_pause_max{50};
// What is right for reading a few keys is slow for thousands of tables.
constexpr const char* whole_catalogs =
    "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on";

/// As of now; none where it cannot be asked, as the failure before has its own tale to tell.
asio::awaitable<ddl::Marks> marks_now(pg::ConnectionPtr& reader) {
  ddl::Marks now;
  if (!reader || !reader->usable()) co_return now;
  try {
    co_await reader->run(std::string{"BEGIN READ ONLY; "} + whole_catalogs);
    now = co_await ddl::read_marks(*reader);
    co_await reader->run("COMMIT");
  } catch (const pg::Error&) {
    now.clear();
  }
  if (now.empty() && reader->usable() && reader->in_transaction()) reader.reset();
  co_return now;
}

}  // namespace

/// Whether the primary's catalog is another one than the failed batch took it for: values of a column that
/// has another type since, or of another table of that name, are no reason to stand still.
asio::awaitable<bool> MirrorLoop::catalog_moved_on() {
  const auto& taken_for = ddl_.looking ? ddl_.seen : ddl_.probe;
  const auto now = co_await marks_now(reader_);
  if (now.empty() || now == taken_for) co_return false;
  ddl_.due = true;
  co_return true;
}

// Connecting reads catalogs, too: by names and ids that DDL takes away meanwhile.
asio::awaitable<void> MirrorLoop::judge_connect_failure(pg::Error& failure) {
  if (!ddl_.on || failure.lost || !passing(failure)) co_return;
  auto now = co_await marks_now(reader_);
  ddl_.in_motion = !now.empty() && now != ddl_.at_failure;
  ddl_.at_failure = std::move(now);
}

// Nothing is wrong: DDL came between a snapshot and what was read of it. The next look is made at once; where that
// fails again, in peace.
void MirrorLoop::catalog_in_motion() {
  ++ddl_.unsettled;
  pause_ = std::min(ddl_.unsettled * 2ms, motion_pause_max);
  if (ddl_.unsettled >= holds_from) hold_ddl();
  if (ddl_.unsettled >= surprises_max) set_state(MirrorState::degraded, "the schema changes faster than it can be looked at");
}

/// DDL through us waits in its sessions until a look is over; half of the time at most, as DDL around us may spoil that
/// one, too, and a transaction that waits may hold what the look needs.
void MirrorLoop::hold_ddl() {
  if (Clock::now() < ddl_.hold_again_at) return;
  ddl_.hold_again_at = Clock::now() + 2 * hold_max;
  ddl_.held = std::make_shared<bool>(true);
  const auto timer = std::make_shared<asio::steady_timer>(executor_, hold_max);
  timer->async_wait([timer, held = ddl_.held, changed = changed_](boost::system::error_code) {
    if (std::exchange(*held, false)) changed();
  });
  changed_();
}

void MirrorLoop::let_ddl_go() {
  if (!ddl_.held || !std::exchange(*ddl_.held, false)) return;
  ddl_.hold_again_at = Clock::now();
  changed_();
}

}  // namespace pgjanus
