#include "proxy/verify/verifier.hpp"

#include <algorithm>

#include "proxy/engine/wakeup.hpp"
#include "proxy/log.hpp"
#include "proxy/verify/objects.hpp"
#include "proxy/verify/pass.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using verify::differences_text;
using verify::Findings;
using verify::pages_of;
using verify::Pass;
using verify::plural;
using verify::Scope;
using verify::Work;

namespace {

constexpr pg::Duration rest_limit{60'000};  // For the mirror loop to stand between two batches.
constexpr pg::Duration catch_up_limit{120'000};
constexpr int attempts_max = 8;
constexpr auto pause_between_attempts = 500ms;
// Small tables share a pair of snapshots; nothing is held for longer than reading this much.
constexpr std::int64_t group_pages_max = 16'384;  // 128 MB
constexpr std::size_t group_tables_max = 64;
// Beyond this share of a table it is read anew as a whole instead of key by key.
constexpr std::int64_t repair_keys_max = 100'000;

/// Another try under other snapshots may do: changed files, locks of the app, way made for it, a
/// batch or transaction that has to be run again, a lost connection.
bool passes(const pg::Error& error) {
  return error.lost || error.is("PGJ03") || error.is("PGJ01") || error.is("55P03") ||
         error.is("57014") || error.is("40001") || error.is("40P01") || error.is("42P01");
}

class Verifier {
 public:
  Verifier(const Databases& databases, MirrorControl& mirror, Side primary,
           std::function<bool()> stop)
      : databases_{databases}, mirror_{mirror}, primary_{primary}, stop_{std::move(stop)} {}

  /// Compares what the scope takes; the pass holds what came of it.
  asio::awaitable<void> compare(const Scope& scope, Pass& pass, const Progress& progress);
  /// Marks the rows that a pass found different as changed, and waits for the mirror.
  asio::awaitable<void> repair(Pass& pass, const Progress& progress);

 private:
  asio::awaitable<void> compare_group(Pass& pass, std::vector<Work*> group,
                                      const Progress& progress);
  asio::awaitable<TwinSnapshots> snapshots();

  const Databases& databases_;
  MirrorControl& mirror_;
  Side primary_;
  std::function<bool()> stop_;
};

asio::awaitable<void> Verifier::compare(const Scope& scope, Pass& pass, const Progress& progress) {
  pass.primary = co_await databases_.open(primary_, "verify");
  pass.guard = co_await databases_.open(primary_, "verify guard");
  pass.mirror = co_await databases_.open(other(primary_), "verify");
  pass.findings = std::make_unique<Findings>(*pass.primary);
  co_await pass.findings->begin();
  const auto encoding_here = co_await pass.primary->run("SHOW server_encoding");
  const auto encoding_there = co_await pass.mirror->run("SHOW server_encoding");
  if (encoding_here.text(0, 0) != encoding_there.text(0, 0)) {
    pass.hashing = verify::Hashing::as_utf8;
  }
  const auto on_primary = co_await stored_tables(*pass.primary);
  const auto on_mirror = co_await stored_tables(*pass.mirror);
  for (const auto& pattern : scope.patterns) {
    if (std::none_of(on_primary.begin(), on_primary.end(),
                     [&](const TableInfo& table) { return table_matches(pattern, table); })) {
      pass.unknown.push_back(pattern);
    }
  }
  if (!pass.unknown.empty()) co_return;
  for (const auto& table : on_primary) {
    const auto twin = std::find_if(on_mirror.begin(), on_mirror.end(),
                                   [&](const TableInfo& t) { return t.id == table.id; });
    if (!scope.takes(table) || table.oid == 0 || twin == on_mirror.end() || twin->oid == 0)
      continue;
    Work work;
    work.table = {table, *twin};
    pass.pages_total += pages_of(table);
    const auto columns = verify::pair_columns(work.table);
    for (const auto& difference : columns.differences) co_await pass.findings->add(difference);
    pass.work.push_back(std::move(work));
  }
  if (scope.patterns.empty()) {
    const auto objects = co_await verify::compare_objects(*pass.primary, *pass.mirror, on_primary,
                                                          on_mirror, scope.exclude);
    for (const auto& difference : objects) co_await pass.findings->add(difference);
  }
  for (;;) {
    std::vector<Work*> group;
    std::int64_t pages = 0;
    bool again = false;
    for (auto& work : pass.work) {
      if (work.done || group.size() >= group_tables_max) continue;
      if (!group.empty() && pages + pages_of(work.table.primary) > group_pages_max) continue;
      group.push_back(&work);
      pages += pages_of(work.table.primary);
      again = again || work.attempts > 0;
    }
    if (group.empty()) break;
    if (stop_ && stop_()) {
      pg::Error error{"the comparison made way for another command"};
      error.message = error.what();
      error.sqlstate = "57014";
      throw error;
    }
    if (again) co_await pause_for(pause_between_attempts);
    co_await compare_group(pass, std::move(group), progress);
  }
  co_await pass.findings->flush();
}

asio::awaitable<TwinSnapshots> Verifier::snapshots() {
  for (int attempt = 1;; ++attempt) {
    std::exception_ptr failure;
    TwinSnapshots twins;
    try {
      twins = co_await mirror_.twin_snapshots(rest_limit);
    } catch (const pg::Error& error) {
      // A batch that met DDL is run again; whatever else it is, the loop meets it too.
      if (!error.is("PGJ01") || attempt >= attempts_max) throw;
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

asio::awaitable<void> Verifier::compare_group(Pass& pass, std::vector<Work*> group,
                                              const Progress& progress) {
  auto twins = co_await snapshots();
  pass.boundary = twins.boundary;
  // Under the mirror's snapshot: which tables equal this boundary.
  const auto states =
      co_await twins.mirror->run("SELECT id, state, boundary IS NULL FROM pgjanus.tables");
  std::map<int, std::pair<std::string, bool>> by_id;
  for (int i = 0; i < states.size(); ++i) {
    by_id[static_cast<int>(states.integer(i, 0))] = {states.str(i, 1), states.boolean(i, 2)};
  }
  for (auto* work : group) {
    const auto& table = work->table.primary;
    const auto& [state, at_boundary] = by_id[table.id];
    if (state != "mirrored" || !at_boundary) {
      // Held up for a moment, or for longer than we wait.
      const bool may_join = state == "mirrored" || state == "held_up";
      if (may_join && ++work->attempts < attempts_max) continue;
      work->done = true;
      work->left_out =
          "not mirrored at this boundary: " + (state == "mirrored" ? "held up" : state);
      continue;
    }
    bool snapshots_gone = false;
    std::string why;
    co_await pass.findings->forget_rows(table.id);
    try {
      const auto result = co_await verify::compare_table(twins, work->table, pass.hashing,
                                                         *pass.findings, *pass.guard);
      work->rows = result.rows;
      work->done = true;
    } catch (const pg::Error& error) {
      snapshots_gone = true;
      why = error.what();
      if (!passes(error) || ++work->attempts >= attempts_max) {
        work->done = work->failed = true;
        work->left_out = why;
      }
    }
    if (snapshots_gone) {
      log_event(LogLevel::info, "verify_interrupted",
                {{"table", table.display()}, {"error", why}, {"attempt", work->attempts}});
      if (work->done) co_await pass.findings->forget_rows(table.id);
      break;
    }
    pass.pages_done += pages_of(table);
    if (progress) {
      progress(
          table.display() + ": " + plural(work->rows.value_or(0), "row") + ", " +
          plural(pass.findings->of_table(table.id), "difference") + " (" +
          std::to_string(pass.pages_total > 0 ? pass.pages_done * 100 / pass.pages_total : 100) +
          " % compared)");
    }
  }
  twins.primary->close();
  twins.mirror->close();
}

asio::awaitable<void> Verifier::repair(Pass& pass, const Progress& progress) {
  std::vector<int> whole;
  for (const auto& work : pass.work) {
    const auto& table = work.table.primary;
    const auto found = pass.findings->rows_by_table().find(table.id);
    if (found == pass.findings->rows_by_table().end()) continue;
    const auto count = found->second;
    // Without a key the journal holds counts, and a correction of counts would be wrong if the
    // table was emptied or read anew since our snapshot: such a table is read anew as well.
    if (!table.keyed() || (count > repair_keys_max && count > work.rows.value_or(0) / 2)) {
      whole.push_back(table.id);
      continue;
    }
    co_await pass.primary->run(
        "INSERT INTO pgjanus.journal (xid, table_id, key) "
        "SELECT pg_current_xact_id(), d.table_id, ARRAY(SELECT d.key ->> k.name "
        "FROM unnest(t.key_columns) WITH ORDINALITY AS k(name, n) ORDER BY k.n) "
        "FROM pgjanus.differences d JOIN pgjanus.tables t ON t.id = d.table_id "
        "WHERE d.table_id = $1 AND d.key <> '{}'",
        pg::params(std::to_string(table.id)), 600'000ms);
    if (progress) progress(table.display() + ": " + plural(count, "key") + " marked as changed");
  }
  if (!whole.empty()) {
    if (progress) progress(plural(static_cast<std::int64_t>(whole.size()), "table") + " read anew");
    co_await mirror_.reload(whole, rest_limit);
  }
  co_await mirror_.catch_up(catch_up_limit);
}

}  // namespace

asio::awaitable<VerifyResult> run_verification(const Databases& databases, MirrorControl& mirror,
                                               VerifyRequest request) {
  Verifier verifier{databases, mirror, request.primary, request.stop};
  Scope scope{request.tables, request.exclude, std::nullopt};
  Pass first, second;
  VerifyResult result;
  auto& outcome = result.outcome;
  co_await verifier.compare(scope, first, request.progress);
  if (!first.unknown.empty()) {
    result.whole_database = false;
    outcome = {Ended::error, "no mirrored table is called " + first.unknown.front(),
               "SHOW TABLES lists them", nullptr};
    co_return result;
  }
  const auto found = first.findings->total();
  std::int64_t repaired = 0;
  Pass* last = &first;
  if (request.repair && !first.findings->rows_by_table().empty()) {
    scope.only.emplace();
    for (const auto& [id, count] : first.findings->rows_by_table()) {
      scope.only->insert(id);
      repaired += count;
    }
    co_await verifier.repair(first, request.progress);
    co_await verifier.compare(scope, second, request.progress);
    last = &second;
  }
  // A table that could not be compared again after its repair was left out just as well.
  const auto left_out = std::max(first.left_out(), last->left_out());
  result.whole_database = request.tables.empty() && left_out == 0 && !first.work.empty();
  result.tables = static_cast<std::int64_t>(first.compared());
  result.differences = last->findings->total();
  result.rows = static_cast<std::uint64_t>(first.rows() + second.rows());

  outcome.document = last->document();
  outcome.document["tables"] = first.tables(last == &first ? nullptr : last);
  outcome.document["repaired"] = repaired;
  outcome.document["complete"] = result.whole_database;
  for (const auto& table : outcome.document["tables"]) {
    if (table["differences"].is_null()) continue;
    result.by_table[table["name"].get<std::string>()] = table["differences"].get<std::int64_t>();
  }
  outcome.message = first.summary(found);
  if (repaired > 0) {
    outcome.message += "; repaired and compared again: " + differences_text(result.differences);
  }
  outcome.message += last->what_was_left_out();
  if (result.differences > 0) {
    outcome.ended = Ended::differences;
    outcome.hint = "SHOW DIFFERENCES lists them; REPAIR heals those of rows";
  } else if (left_out > 0) {
    outcome.ended = first.failed() || last->failed() ? Ended::error : Ended::not_ready;
  } else if (first.work.empty()) {
    outcome.ended = Ended::not_ready;
    outcome.hint = "PREPARE and LOAD come first";
  }
  co_return result;
}

}  // namespace pgjanus
