// Others who wait for what the load has locked: it gives way, but not for ever (README.md, "Being a guest").

#include <algorithm>

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"
#include "proxy/pg/waited_for.hpp"

namespace pgjanus {

using namespace load;

namespace {

constexpr const char* waiters_sql =
    "SELECT w.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), left(coalesce(a.query, ''), 80), "
    "coalesce(floor(extract(epoch FROM clock_timestamp() - a.query_start)), 0)::bigint "
    "FROM pg_locks w LEFT JOIN pg_stat_activity a ON a.pid = w.pid "
    "WHERE NOT w.granted AND w.locktype = 'relation' AND $1::int = ANY (pg_blocking_pids(w.pid)) ORDER BY a.query_start LIMIT 1";

}  // namespace

// DDL of the app waits for the lock of a COPY, and everybody else's queries behind it: that part is copied again.
asio::awaitable<void> Loader::Impl::look_for_waiters(pg::ConnectionPtr& guard) {
  std::vector<int> pids;
  for (const auto* pair : *pairs) {
    if (pair->primary && pair->primary->usable()) pids.push_back(pair->primary->process_id());
  }
  std::set<int> waited_for;
  try {
    if (!guard || !guard->usable()) guard = co_await open(primary_side);
    waited_for = co_await pg::waited_for(*guard, pids);
  } catch (const std::exception& error) {  // Whatever it is: the workers refer to the frame above.
    log_event(LogLevel::warn, "load_guard_failed", {{"why", error.what()}});
    co_return;
  }
  const auto now = Clock::now();
  if (now - gave_way_at > way_forgotten) looks_waited = looks_waited_least;
  bool gives_way = false;
  int standing = 0;
  for (auto* pair : *pairs) {
    if (!pair->primary || !pair->primary->usable()) continue;
    const int pid = pair->primary->process_id();
    const bool waits = waited_for.contains(pid);
    const bool before = std::exchange(pair->waited_for, waits ? pid : 0) == pid;
    pair->looks = !waits ? 0 : before ? pair->looks + 1 : 1;
    if (!waits || !before) pair->cancelled = false;
    if (waits && pair->stands()) standing = pid;
    if (pair->stands()) continue;
    if (pair->cancelled && waits) {
      // A server process that waits for us to take more of its rows hears of no cancel, only of the socket's end.
      pair->primary->close();
      continue;
    }
    if (pair->looks < std::min(std::max(looks_waited, looks_waited_least << pair->ways), looks_waited_most)) continue;
    log_event(LogLevel::info, "load_gives_way", {{"side", to_string(primary_side)}});
    pair->primary->cancel();
    pair->cancelled = pair->asked = true;
    pair->looks = 0;
    gives_way = true;
  }
  if (standing == 0 && std::exchange(told_who_waits, false)) state.waiting.clear();
  if (standing != 0) co_await tell_who_waits(*guard, standing);
  if (!gives_way) co_return;
  gave_way_at = now;
  looks_waited = std::min(looks_waited * 2, looks_waited_most);
}

// Of a part that does not give way any more.
asio::awaitable<void> Loader::Impl::tell_who_waits(pg::Connection& guard, int standing) {
  try {
    const auto who = co_await guard.run(waiters_sql, pg::params(std::to_string(standing)));
    const auto at = std::find_if(pairs->begin(), pairs->end(), [&](const Pair* pair) { return pair->waited_for == standing; });
    if (who.empty() || at == pairs->end()) co_return;  // It has ended meanwhile.
    const auto& pair = **at;
    const auto what = pair.worker == nullptr ? std::string{"the load"} : pair.worker->what;
    const auto waiter = "pid " + who.str(0, 0) + ", user " + who.str(0, 1) + ", application " + who.str(0, 2) + ", for " + who.str(0, 4) + " s: " + who.str(0, 3);
    if (!std::exchange(told_who_waits, true)) {
      log_event(LogLevel::warn, "load_keeps_app_waiting", {{"what", what}, {"gave_way", pair.ways}, {"waits", waiter}});
    }
    state.waiting = what + " gave way " + std::to_string(pair.ways) + " times and goes on to its end now; the app waits for it (" + waiter + "); STOP LOAD lets it go";
  } catch (const std::exception& error) {
    log_event(LogLevel::warn, "load_guard_failed", {{"why", error.what()}});
  }
}

// Whether a part failed since somebody wanted what it has locked: on the primary as found above, on the mirror by the loop (clear_way()).
bool Loader::Impl::gave_way(Pair& pair, const std::optional<pg::Error>& failure) {
  const bool asked = std::exchange(pair.asked, false);
  if (!failure || (!failure->is("57014") && !(asked && failure->lost))) return false;
  ++pair.ways;
  return true;
}

// The loop cancels who has the load's name.
asio::awaitable<void> Loader::Impl::stand(pg::Connection& mirror, unsigned ways) {
  const bool stands = ways >= ways_most;
  if (!stands && ways_of_step.empty()) co_return;
  const std::string name = stands ? "pgjanus load to its end" : "pgjanus load";
  co_await mirror.run("SET application_name = " + pg::quote_literal(name));
  if (stands) log_event(LogLevel::info, "load_goes_on_to_its_end", {{"gave_way", ways}});
}

// A chunk that gave way after a while: what is copied of it next has more chance to come to its end, and stays then.
asio::awaitable<void> Loader::Impl::split_chunk(Pair& pair, TableLoad& table, std::size_t index) {
  const auto whole = table.chunks.at(index);
  if (table.file == whole_file || primary_version < 140'000) co_return;  // One snapshot; no ranges.
  try {
    co_await connect(pair);
    auto end = whole.end_page;
    if (!end) {  // As large as it was found: its size of now would have to wait for whoever has the lock.
      const auto which = co_await pair.primary->run("SELECT coalesce(to_regclass($1)::oid::bigint, 0)", pg::params(whole.relation));
      for (const auto& relation : table.info.relations)
        if (relation.oid == which.integer(0, 0)) end = relation.pages;
    }
    if (!end || *end - whole.first_page < 2 * split_pages_least) co_return;
    Chunk second = whole;
    second.first_page = whole.first_page + (*end - whole.first_page) / 2;
    second.bytes = whole.bytes / 2;
    const auto here = whole.end_page ? std::optional{std::to_string(*whole.end_page)} : std::nullopt;
    const auto made = co_await pair.mirror->run(
        "WITH first AS (UPDATE pgjanus.chunks SET end_page = $3::bigint, bytes = bytes - $5::bigint WHERE table_id = $1::int AND part = $2::int "
        "AND NOT done AND end_page IS NOT DISTINCT FROM $4::bigint RETURNING table_id, relation) "
        "INSERT INTO pgjanus.chunks (table_id, part, relation, first_page, end_page, bytes) "
        "SELECT f.table_id, (SELECT max(part) + 1 FROM pgjanus.chunks c WHERE c.table_id = f.table_id), f.relation, $3::bigint, $4::bigint, $5::bigint "
        "FROM first f RETURNING part",
        pg::params(std::to_string(table.info.id), std::to_string(whole.part), std::to_string(second.first_page), here, std::to_string(second.bytes)));
    if (made.empty()) co_return;  // Another loader's: claim_chunk() will say so.
    second.part = static_cast<int>(made.integer(0, 0));
    auto& first = table.chunks.at(index);
    first.end_page = second.first_page;
    first.bytes -= second.bytes;
    table.chunks.push_back(second);
    add(JobKind::chunk, table, table.chunks.size() - 1);
    log_event(LogLevel::info, "load_part_halved", {{"table", table.progress.name}, {"part", whole.part}, {"pages", *end - whole.first_page}});
  } catch (const std::exception& error) {  // Two at a time want the same number, for one: it is tried as it is.
    log_event(LogLevel::info, "load_part_not_halved", {{"table", table.progress.name}, {"why", error.what()}});
    pair.close();
  }
}

}  // namespace pgjanus
