// Who may do what on the mirror: brought behind the batch whose look found that the catalog had changed.

#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"
#include "proxy/schema/differences.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto follow_interval = 1s;  // DDL after DDL is not followed after each.
constexpr auto again_interval = 15s;  // Roles are no part of a database's catalog: nothing tells that one was made.
}  // namespace

// A flip waits for it: what was granted before is there when the mirror becomes the primary. Never a reason to stall: an app whose role
// lacks something there is told so by its server, and the log by us.
asio::awaitable<void> MirrorLoop::follow_privileges() {
  const auto now = Clock::now();
  const bool again = granted_.again_at && now >= *granted_.again_at;
  if (!ddl_.on || (!granted_.due && !again)) co_return;
  const bool unread = granted_.at_flip && !granted_.at_flip->over;
  if (!ddl_.behind_bar && (unread || now < granted_.not_before)) co_return;
  co_await connect();  // A batch with types that are gone drops its connections.
  granted_.not_before = now + follow_interval;
  granted_.again_at = now + again_interval;
  std::optional<schema::PrivilegesBrought> brought;
  std::string trouble;
  try {
    const auto differences = co_await read_differences(*applier_);
    const auto marked = std::exchange(granted_.at_flip, nullptr);
    if (marked && marked->privileges) granted_.before = schema::renamed(std::move(*marked->privileges), differences.names, mirror_side());
    brought = co_await schema::bring_privileges(*reader_, *applier_, differences.names, mirror_side(), settings_.epoch.value, granted_.before);
  } catch (const pg::Error& error) {
    if (error.lost) throw;
    trouble = error.what();
  }
  if (!brought) {
    log_event(LogLevel::warn, "privileges_not_followed", {{"why", trouble}});
    co_return;
  }
  granted_.due = false;
  if (brought->absent.empty() && brought->refused.empty()) granted_.again_at.reset();
  granted_.before = std::move(brought->primary);
  auto told = *brought;
  std::erase_if(told.absent, [&](const std::string& role) { return granted_.absent.contains(role); });
  if (told.refused == granted_.refused) told.refused.clear();
  granted_.absent = std::move(brought->absent);
  granted_.refused = std::move(brought->refused);
  schema::log_privileges(told, mirror_side());
}

}  // namespace pgjanus
