#include "proxy/ddl/shape.hpp"
#include "proxy/schema/differences.hpp"
#include "proxy/flip/roles.hpp"

#include <map>

#include "proxy/engine/wakeup.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// The app's relations: pg_class c, pg_namespace n.
const std::string app_relations =
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
    "AND c.relpersistence <> 't' AND n.nspname <> 'pgjanus' AND n.nspname !~ '^pg_' "
    "AND n.nspname <> 'information_schema'";

/// Runs one transaction of DDL with a short lock timeout, again and again within the limit.
asio::awaitable<void> run_patiently(pg::Connection& connection, std::string sql,
                                    std::string relation, Clock::time_point deadline) {
  for (std::chrono::milliseconds wait = 20ms;; wait = std::min(wait * 2, 500ms + 0ms)) {
    std::optional<pg::Error> failure;
    try {
      co_await connection.run("BEGIN; SET LOCAL lock_timeout = '300ms'; " + sql + "; COMMIT");
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) co_return;
    if (failure->lost) throw *failure;
    co_await connection.run("ROLLBACK");
    const bool again = failure->is("55P03") || failure->is("40P01");
    if (!again || Clock::now() > deadline) {
      pg::Error error{relation + ": " + failure->message};
      error.message = error.what();
      error.sqlstate = failure->sqlstate;
      throw error;
    }
    co_await pause_for(wait);
  }
}

// A constraint that came back NOT VALID and leaves again before it was validated is still owed that:
// its own `convalidated` says nothing about what the app had.
std::string keep_sql(const char* kind, const std::string& schema, const std::string& table,
                     const std::string& name, const std::string& definition) {
  return std::string{"INSERT INTO pgjanus.kept (kind, schema_name, table_name, name, definition) "
                     "VALUES ("} +
         pg::quote_literal(kind) + ", " + pg::quote_literal(schema) + ", " +
         pg::quote_literal(table) + ", " + pg::quote_literal(name) + ", " + definition +
         ") ON CONFLICT (kind, schema_name, table_name, name) DO UPDATE SET restored = false, "
         "definition = EXCLUDED.definition || CASE WHEN kept.restored "
         "AND kept.definition ->> 'validated' = 'true' "
         "THEN jsonb_build_object('validated', true) ELSE '{}' END";
}

/// Of a row of acting_triggers().
std::string quiet_sql(const pg::Rows& triggers, int row) {
  const auto schema = triggers.str(row, 0), table = triggers.str(row, 1);
  const auto name = triggers.str(row, 2), kind = triggers.str(row, 4);
  return keep_sql(kind.c_str(), schema, table, name,
                  "jsonb_build_object('enabled', '" + triggers.str(row, 3) + "')") +
         "; ALTER TABLE ONLY " + pg::qualified(schema, table) + " DISABLE " + kind + " " +
         pg::quote_name(name);
}

pg::Error moved_on(const char* role, Epoch epoch) {
  pg::Error error{std::string{"this side is not "} + role + " of an epoch before " +
                  std::to_string(epoch.value) + " any more: another flip came first"};
  error.message = error.what();
  error.sqlstate = "PGJ02";
  return error;
}

std::string constraint_definition(const std::string& oid) {
  return "(SELECT jsonb_build_object('definition', pg_get_constraintdef(oid), 'validated', "
         "convalidated) FROM pg_constraint WHERE oid = " + oid + ")";
}

/// A constraint leaves, its definition stays, in one transaction.
asio::awaitable<void> keep_constraint(pg::Connection& connection, const char* kind,
                                      std::string schema, std::string table, std::string name,
                                      std::string oid, Clock::time_point deadline) {
  auto sql = keep_sql(kind, schema, table, name, constraint_definition(oid)) + "; ALTER TABLE " +
             pg::qualified(schema, table) + " DROP CONSTRAINT " + pg::quote_name(name);
  auto relation = schema + "." + table;
  co_await run_patiently(connection, std::move(sql), std::move(relation), deadline);
}

}  // namespace

asio::awaitable<void> forget_other_direction(pg::Connection& mirror) {
  auto stale = co_await mirror.run("SELECT EXISTS (SELECT FROM pgjanus.journal)");
  if (!stale.boolean(0, 0)) co_return;
  // The lock on the state's row: a promotion either waits for this, or has made the journal its own.
  co_await run_patiently(mirror,
                         "DO $$BEGIN PERFORM FROM pgjanus.state WHERE role = 'mirror' FOR UPDATE; "
                         "IF FOUND THEN TRUNCATE pgjanus.journal; END IF; END$$",
                         "pgjanus.journal", Clock::now());
}

asio::awaitable<pg::Rows> acting_triggers(pg::Connection& connection, bool replica_role) {
  const std::string enabled = replica_role ? "('A', 'R')" : "('A', 'R', 'O')";
  auto triggers = co_await connection.run(
      "SELECT n.nspname, c.relname, r.rulename, r.ev_enabled, 'rule' FROM pg_rewrite r, " +
      app_relations + " AND r.ev_class = c.oid AND r.ev_enabled IN " + enabled + " UNION ALL "
      "SELECT n.nspname, c.relname, t.tgname, t.tgenabled, 'trigger' FROM pg_trigger t "
      "JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace, " +
      // Before version 15 those of partitions are internal, too; so is what keeps foreign and unique keys.
      app_relations + " AND t.tgrelid = c.oid AND (NOT t.tgisinternal OR (t.tgparentid <> 0 AND NOT EXISTS "
      "(SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype <> 't'))) AND pn.nspname <> 'pgjanus' "
      "AND t.tgenabled IN " + enabled);
  co_return triggers;
}

asio::awaitable<void> quiet_triggers(pg::Connection& connection, bool replica_role) {
  auto triggers = co_await acting_triggers(connection, replica_role);
  for (int row = 0; row < triggers.size(); ++row) co_await connection.run(quiet_sql(triggers, row));
}

asio::awaitable<int> become_mirror(pg::Connection& connection, bool replica_role,
                                   pg::Duration limit) {
  const auto deadline = Clock::now() + limit;
  int changed = 0;
  auto triggers = co_await acting_triggers(connection, replica_role);
  for (int row = 0; row < triggers.size(); ++row) {
    auto sql = quiet_sql(triggers, row);
    auto relation = triggers.str(row, 0) + "." + triggers.str(row, 1);
    co_await run_patiently(connection, std::move(sql), std::move(relation), deadline);
    ++changed;
  }
  if (replica_role) co_return changed;
  // Ordering deletes and upserts instead does not work: cascades would wipe rows that are in no
  // batch (design.md section 4, tried there).
  auto keys = co_await connection.run(
      "SELECT n.nspname, c.relname, k.conname, k.oid FROM pg_constraint k, " + app_relations +
      " AND k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0");
  for (int row = 0; row < keys.size(); ++row) {
    co_await keep_constraint(connection, "foreign key", keys.str(row, 0), keys.str(row, 1),
                             keys.str(row, 2), keys.str(row, 3), deadline);
    ++changed;
  }
  co_return changed;
}

asio::awaitable<bool> keep_check(pg::Connection& connection, std::string schema, std::string table,
                                 std::string constraint) {
  // The error names a partition; the constraint can only leave where it is not inherited.
  auto parameters = pg::params(pg::qualified(schema, table), constraint);
  auto found = co_await connection.run(
      "WITH RECURSIVE up AS (SELECT to_regclass($1)::oid AS oid UNION "
      "SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid) "
      "SELECT k.oid, n.nspname, c.relname FROM up JOIN pg_constraint k ON k.conrelid = up.oid "
      "JOIN pg_class c ON c.oid = up.oid JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE k.contype = 'c' AND k.conname = $2 AND k.coninhcount = 0 LIMIT 1",
      std::move(parameters));
  if (found.empty()) co_return false;
  co_await keep_constraint(connection, "check", found.str(0, 1), found.str(0, 2), constraint,
                           found.str(0, 0), Clock::now() + 10s);
  co_return true;
}

asio::awaitable<int> push_sequences(pg::Connection& primary, pg::Connection& mirror) {
  const std::string read =
      "SELECT v.schema_name, v.name, v.last_value, v.is_called, s.side, coalesce(s.extra ->> 'differences', '') "
      "FROM pgjanus.sequence_values() v, pgjanus.state s";
  auto ours = co_await primary.run(read);
  auto theirs = co_await mirror.run(read);
  if (ours.empty()) co_return 0;
  auto document = ours.str(0, 5);
  const auto side = side_from(ours.text(0, 4)).value_or(Side::source);
  const auto differences = co_await differences_of(primary, std::move(document), side);
  std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>> stand;
  for (int row = 0; row < theirs.size(); ++row) {
    stand[{theirs.str(row, 0), theirs.str(row, 1)}] = {theirs.str(row, 2), theirs.str(row, 3)};
  }
  std::vector<std::optional<std::string_view>> schemas, names, lasts, called;
  for (int row = 0; row < ours.size(); ++row) {
    const auto of_source = differences.names.of(differences.side, {ours.str(row, 0), ours.str(row, 1)});
    const auto there = differences.names.on(other(differences.side), of_source);
    const auto found = stand.find({there.schema, there.name});
    if (found == stand.end()) continue;  // Not on the mirror: the catalog comparison says so.
    if (found->second == std::pair{ours.str(row, 2), ours.str(row, 3)}) continue;
    schemas.emplace_back(found->first.first);
    names.emplace_back(found->first.second);
    lasts.emplace_back(ours.text(row, 2));
    called.emplace_back(ours.text(row, 3));
  }
  if (schemas.empty()) co_return 0;
  auto parameters = pg::params(pg::array_literal(schemas), pg::array_literal(names),
                               pg::array_literal(lasts), pg::array_literal(called));
  co_await mirror.run(
      "SELECT pgjanus.set_sequences($1::text[], $2::text[], $3::bigint[], $4::boolean[])",
      std::move(parameters));
  co_return static_cast<int>(schemas.size());
}

asio::awaitable<void> ready_promotion(pg::Connection& connection, Epoch epoch, std::string nonce,
                                      std::string last_flip) {
  // Short: whoever holds one of these tables on a mirror is not the app.
  co_await connection.run(
      "BEGIN; SET LOCAL lock_timeout = '1s'; TRUNCATE pgjanus.journal; "
      "ALTER TABLE pgjanus.journal DISABLE TRIGGER this_database_is_now_the_mirror; "
      "SELECT pgjanus.restore_kept(); SELECT pgjanus.restore_sequences(); "
      "DELETE FROM pgjanus.boundary");
  auto parameters = pg::params(std::to_string(epoch.value), nonce, last_flip);
  auto promoted = co_await connection.run(
      "UPDATE pgjanus.state SET role = 'primary', epoch = $1, nonce = $2, previous_nonce = NULL, "
      "batch = 0, phase = 'mirroring', last_flip = nullif($3, '')::jsonb "
      "WHERE role = 'mirror' AND epoch < $1", std::move(parameters));
  if (promoted.affected() != 1) throw moved_on("mirror", epoch);
}

asio::awaitable<void> keep_catalog(pg::Connection& connection, Epoch epoch) {
  auto there = co_await connection.run("SELECT to_regclass('pgjanus.shape') IS NOT NULL");
  if (!there.boolean(0, 0)) co_return;  // Prepared by an older version.
  const auto shape = co_await ddl::read_shape(connection);
  co_await ddl::store_shape(connection, ddl::Shape{}, shape, epoch.value);
}

asio::awaitable<void> ready_decision(pg::Connection& connection, Epoch epoch, std::string nonce,
                                     std::string last_flip) {
  co_await connection.run(
      "ALTER TABLE pgjanus.journal ENABLE ALWAYS TRIGGER this_database_is_now_the_mirror");
  auto state = pg::params(std::to_string(epoch.value), nonce, last_flip);
  // Looked at again under the bar: a dead proxy's decision may have arrived meanwhile (the model in
  // tests/model breaks without this).
  auto decided = co_await connection.run(
      "UPDATE pgjanus.state SET role = 'mirror', epoch = $1, nonce = $2, previous_nonce = NULL, "
      "batch = 0, phase = 'mirroring', last_flip = nullif($3, '')::jsonb "
      "WHERE role = 'primary' AND epoch < $1", std::move(state));
  if (decided.affected() != 1) throw moved_on("primary", epoch);
  co_await connection.run("DELETE FROM pgjanus.boundary");
  auto boundary = pg::params(std::to_string(epoch.value), snapshot_of_nothing, nonce);
  co_await connection.run(
      "INSERT INTO pgjanus.boundary (epoch, batch, snapshot, nonce, taken_at) "
      "VALUES ($1, 0, $2, $3, clock_timestamp())", std::move(boundary));
  // Every table is exactly what the new primary has, whatever it was before.
  co_await connection.run("UPDATE pgjanus.tables SET state = 'mirrored', boundary = NULL, "
                          "error = NULL");
}

asio::awaitable<std::vector<SessionReport>> writers_in_the_way(pg::Connection& connection) {
  auto rows = co_await connection.run(
      "SELECT a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), "
      "coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8, "
      "coalesce(a.state, '') FROM pg_stat_activity a "
      "WHERE a.pid <> pg_backend_pid() AND a.pid IN (SELECT l.pid FROM pg_locks l "
      "WHERE l.granted AND l.relation = 'pgjanus.journal'::regclass AND l.mode IN "
      "('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', "
      "'ExclusiveLock', 'AccessExclusiveLock')) ORDER BY a.xact_start");
  std::vector<SessionReport> reports;
  for (int row = 0; row < rows.size(); ++row) {
    SessionReport report;
    report.server_pid = static_cast<int>(rows.integer(row, 0));
    report.user = rows.str(row, 1);
    report.application_name = rows.str(row, 2);
    report.seconds = std::stod(rows.str(row, 3));
    report.reason = "open transaction that wrote (" + rows.str(row, 4) + ")";
    reports.push_back(std::move(report));
  }
  co_return reports;
}

asio::awaitable<bool> bar_writers(pg::Connection& connection, pg::Connection& helper,
                                  pg::Duration limit, bool terminate) {
  const auto began = Clock::now();
  for (bool ended = false;;) {
    std::optional<pg::Error> failure;
    try {
      co_await connection.run("BEGIN; SET LOCAL lock_timeout = '100ms'; "
                              "LOCK TABLE pgjanus.journal IN SHARE ROW EXCLUSIVE MODE");
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) co_return true;
    if (failure->lost || !failure->is("55P03")) throw *failure;
    co_await connection.run("ROLLBACK");
    const auto gone = Clock::now() - began;
    if (gone > limit) co_return false;
    if (terminate && !ended && gone > limit / 2) {
      ended = true;
      auto blockers = co_await writers_in_the_way(helper);
      for (const auto& blocker : blockers) {
        co_await helper.run("SELECT pg_terminate_backend(" + std::to_string(blocker.server_pid) +
                            ")");
        log_event(LogLevel::warn, "transaction_terminated",
                  {{"pid", blocker.server_pid}, {"user", blocker.user}});
      }
    }
    co_await pause_for(10ms);
  }
}

asio::awaitable<std::string> validate_restored(pg::Connection& connection) {
  auto rows = co_await connection.run(
      "SELECT kind, schema_name, table_name, name, coalesce(definition ->> 'validated', 'true') "
      "FROM pgjanus.kept WHERE restored");
  std::string trouble;
  for (int row = 0; row < rows.size(); ++row) {
    const auto relation = pg::qualified(rows.text(row, 1), rows.text(row, 2));
    if (rows.text(row, 4) == "true") {
      std::optional<pg::Error> failure;
      try {
        co_await connection.run("SET lock_timeout = '300ms'; ALTER TABLE " + relation +
                                    " VALIDATE CONSTRAINT " + pg::quote_name(rows.text(row, 3)),
                                pg::Duration{3'600'000});
      } catch (const pg::Error& error) {
        failure = error;
      }
      if (failure && failure->lost) throw *failure;
      const bool dropped = failure && (failure->sqlstate == "42704" || failure->sqlstate == "42P01" || failure->sqlstate == "3F000");
      if (failure && !dropped) {
        trouble += (trouble.empty() ? "" : "; ") + rows.str(row, 3) + ": " + failure->message;
        continue;
      }
    }
    auto which = pg::params(rows.str(row, 0), rows.str(row, 1), rows.str(row, 2), rows.str(row, 3));
    co_await connection.run("DELETE FROM pgjanus.kept WHERE kind = $1 AND schema_name = $2 AND "
                            "table_name = $3 AND name = $4", std::move(which));
  }
  co_return trouble;
}

}  // namespace pgjanus
