// What each side is like, and how the two fit together.

#include <algorithm>
#include <map>
#include <set>

#include "proxy/check/findings.hpp"
#include "proxy/mirror/mirror.hpp"
#include "proxy/pg/subprocess.hpp"
#include "proxy/schema/state.hpp"
#include "proxy/schema/table.hpp"
#include "sql_texts.hpp"

namespace pgjanus::check {
namespace {

// Control work of one proxy: the loop's three, the loader's workers on either side, the verifier's,
// the flip's, with some to spare. Sessions of the app come on top.
constexpr std::int64_t control_connections = 20;

/// Catalog checks of check_source.sql: those that find nothing pass with this sentence.
struct CatalogCheck {
  const char *id, *fine;
};
constexpr CatalogCheck catalog_checks[] = {
    {"subscriptions", "no table is written by a logical-replication subscription"},
    {"large_objects", "no large objects"},
    {"unlogged_tables", "no unlogged tables"},
    {"foreign_tables", "no foreign tables"},
    {"materialized_views", "no materialized views"},
    {"row_security", "row level security hides nothing from the owner"},
    {"rules", "no rules on tables"},
    {"event_triggers", "no event triggers"},
    {"extension_tables", "no rows in tables of extensions"},
    {"long_transactions", "no transaction is open for more than a minute"},
    {"prepared_transactions", "no prepared transaction is left over"}};

std::string plural(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

void add(Findings& findings, const pg::Rows& rows) {
  for (int row = 0; row < rows.size(); ++row) {
    if (rows.text(row, 1) == "fail") {
      findings.fail(rows.str(row, 0), rows.str(row, 2), rows.str(row, 3), rows.str(row, 4));
    } else {
      findings.warn(rows.str(row, 0), rows.str(row, 2), rows.str(row, 3), rows.str(row, 4));
    }
  }
}

void judge_tables(const std::vector<TableInfo>& tables, Findings& findings) {
  std::size_t keyless = 0;
  for (const auto& table : tables) {
    if (table.keyed()) continue;
    ++keyless;
    findings.warn("tables_without_key", "table " + table.display(),
                  "no primary key and no unique index over NOT NULL columns: whole rows are "
                  "journaled, and a TRUNCATE or a repair reads the table anew",
                  "give it a primary key, if it is large or often changed");
  }
  if (tables.empty()) {
    findings.warn("tables", "source", "there are no tables to mirror", "is it the right database?");
  } else {
    findings.pass("tables", "source", plural(tables.size(), "table") + " to mirror");
  }
  if (keyless == 0) findings.pass("tables_without_key", "source", "every table has a key");
}

boost::asio::awaitable<void> judge_rights(pg::Connection& source,
                                          const std::vector<TableInfo>& tables,
                                          Findings& findings) {
  const auto all = co_await discover_tables(source, {});
  std::vector<std::string> names;
  for (const auto& table : all) {
    const bool wanted = std::any_of(tables.begin(), tables.end(),
                                    [&](const TableInfo& t) { return t.oid == table.oid; });
    if (wanted) continue;
    for (const auto& relation : table.relations) {
      names.push_back(relation.schema + "." + relation.name);
    }
  }
  const std::vector<std::optional<std::string_view>> excluded{names.begin(), names.end()};
  pg::Parameters parameters{pg::array_literal(excluded)};
  const pg::Rows lacking =
      co_await source.run(std::string{sql::source_rights}, std::move(parameters));
  for (int row = 0; row < lacking.size(); ++row) {
    findings.fail("rights", "source: " + lacking.str(row, 0), lacking.str(row, 1),
                  lacking.str(row, 2));
  }
  if (lacking.empty()) {
    findings.pass("rights", "source", "the role may CREATE in the database and owns the tables");
  }
}

boost::asio::awaitable<void> judge_foreign_partitions(pg::Connection& source,
                                                      const std::vector<TableInfo>& tables,
                                                      Findings& findings) {
  const pg::Rows foreign = co_await source.run(std::string{sql::foreign_partitions});
  for (int row = 0; row < foreign.size(); ++row) {
    const bool ours = std::any_of(tables.begin(), tables.end(), [&](const TableInfo& table) {
      return table.display() == foreign.text(row, 0);
    });
    if (!ours) continue;
    findings.fail("foreign_partitions", "table " + foreign.str(row, 0),
                  "has foreign tables as partitions (" + foreign.str(row, 1) +
                      "): capture would make the app's statements fail",
                  "detach them, or --exclude the table");
  }
  if (!findings.has("foreign_partitions")) {
    findings.pass("foreign_partitions", "source", "no foreign tables as partitions");
  }
}

/// True as well for a table that this role may not read: nothing we could load.
boost::asio::awaitable<bool> has_rows(pg::Connection& connection, const TableInfo& table) {
  try {
    const pg::Rows rows =
        co_await connection.run("SELECT EXISTS (SELECT FROM " + table.sql_rows() + ")");
    co_return rows.boolean(0, 0);
  } catch (const pg::Error& error) {
    if (!error.is("42501")) throw;
  }
  co_return true;
}

/// Whether the target is what prepare needs: empty, or prepared for this source before.
boost::asio::awaitable<void> judge_emptiness(pg::Connection& source, pg::Connection& target,
                                             Findings& findings) {
  const auto source_state = co_await read_state(source);
  const auto target_state = co_await read_state(target);
  const bool swapped = (source_state && source_state->side != Side::source) ||
                       (target_state && target_state->side != Side::target);
  if (swapped) {
    findings.fail("migration", "both", "source and target are swapped: the databases remember",
                  "exchange the two URLs");
  } else if (source_state &&
             (!target_state || source_state->migration != target_state->migration)) {
    findings.fail("migration", "both", "the source is prepared for another target",
                  "give the URL of that target, or `abort` and prepare again");
  } else {
    findings.pass("migration", "both",
                  source_state ? "both sides belong to one migration" : "not prepared yet");
  }
  if (target_state) {
    findings.pass("target_empty", "target", "prepared before");
    co_return;
  }
  const auto tables = co_await discover_tables(target, {});
  std::string example;
  for (const auto& table : tables) {
    const bool filled = co_await has_rows(target, table);
    if (!filled) continue;
    example = table.display();
    break;
  }
  if (!example.empty()) {
    findings.fail("target_empty", "target", "the target already holds rows, in " + example,
                  "give an empty database");
  } else {
    findings.pass("target_empty", "target", tables.empty() ? "no tables of users" : "its tables are empty");
  }
}

boost::asio::awaitable<void> judge_extensions(pg::Connection& source, pg::Connection& target,
                                              Findings& findings) {
  const pg::Rows wanted =
      co_await source.run("SELECT extname, extversion FROM pg_extension ORDER BY 1");
  const pg::Rows offered = co_await target.run(
      "SELECT name, coalesce(installed_version, default_version), "
      "(SELECT string_agg(v.version, ' ') FROM pg_available_extension_versions v WHERE v.name = "
      "a.name) "
      "FROM pg_available_extensions a");
  std::map<std::string, std::string, std::less<>> versions;
  for (int row = 0; row < offered.size(); ++row)
    versions[offered.str(row, 0)] = offered.str(row, 1);
  for (int row = 0; row < wanted.size(); ++row) {
    const auto name = wanted.str(row, 0);
    const auto found = versions.find(name);
    if (found == versions.end()) {
      findings.fail("extensions", "extension " + name, "the target does not offer it",
                    "install or allow it there, or drop it on the source");
    } else if (found->second != wanted.text(row, 1)) {
      findings.warn(
          "extensions", "extension " + name,
          "version " + wanted.str(row, 1) + " on the source, " + found->second + " on the target",
          "compare the two versions' release notes");
    }
  }
  if (!findings.has("extensions")) {
    findings.pass("extensions", "target", "offers every extension of the source, same versions");
  }
}

std::string describe_setting(const pg::Rows& rows, int row) {
  const std::string of_role = rows.text(row, 0).empty() ? "" : "ROLE " + rows.str(row, 0) + " ";
  return of_role + (rows.boolean(row, 1) ? "DATABASE " : "") + "SET " + rows.str(row, 2);
}

boost::asio::awaitable<void> judge_settings(pg::Connection& source, pg::Connection& target,
                                            Findings& findings) {
  const pg::Rows there = co_await source.run(std::string{sql::check_settings});
  const pg::Rows here = co_await target.run(std::string{sql::check_settings});
  std::set<std::string> set;
  for (int row = 0; row < here.size(); ++row) set.insert(describe_setting(here, row));
  for (int row = 0; row < there.size(); ++row) {
    const auto setting = describe_setting(there, row);
    if (set.contains(setting)) continue;
    findings.warn("database_settings", "setting", "ALTER " + setting + " holds on the source only",
                  "set it on the target: the app would run with other settings after the cutover");
  }
  if (!findings.has("database_settings")) {
    findings.pass("database_settings", "both",
                  "no ALTER DATABASE or ROLE … SET is missing on the target");
  }
}

boost::asio::awaitable<void> judge_program(int newest_server, Findings& findings) {
  std::vector<std::string> command{"pg_dump", "--version"};
  const auto result = co_await pg::run_program(std::move(command), {}, {}, pg::Duration{10'000});
  const int version = program_version(result.out);
  if (!result.ok() || version == 0) {
    findings.fail("pg_dump", "this host",
                  result.ok() ? "cannot read its version" : result.describe("pg_dump"),
                  "install the package postgresql-client");
  } else if (version < newest_server / 10000) {
    findings.fail(
        "pg_dump", "this host",
        "pg_dump " + std::to_string(version) + " is older than the source, " +
            std::to_string(newest_server / 10000) + ", and refuses it",
        "install postgresql-client-" + std::to_string(newest_server / 10000) + ", first on PATH");
  } else {
    findings.pass("pg_dump", "this host", "pg_dump " + std::to_string(version));
  }
}

void judge_side(Side side, const SideFacts& facts, Findings& findings) {
  const std::string name{pgjanus::to_string(side)};
  const auto version = std::to_string(facts.version / 10000);
  if (facts.version < 130000) {
    findings.fail("version", name, "PostgreSQL " + version, "13 or later is needed");
  } else {
    findings.pass("version", name, "PostgreSQL " + version);
  }
  if (facts.read_only) {
    findings.fail("writable", name,
                  "this server takes no writes: a standby, or read-only by default",
                  "give the URL of the primary (the writer endpoint)");
  } else {
    findings.pass("writable", name, "takes writes");
  }
  if (facts.encrypted || facts.local) {
    findings.pass("encryption", name, facts.encrypted ? "TLS" : "this host");
  } else {
    findings.warn("encryption", name, "the connection is not encrypted",
                  "sslmode=verify-full in its URL, with the host's root certificate");
  }
}

/// A statement of the probe that fails is the finding.
boost::asio::awaitable<void> probe(Side side, pg::Connection& connection, Findings& findings) {
  const std::string name{pgjanus::to_string(side)};
  std::optional<pg::Error> failure;
  try {
    co_await connection.run(std::string{sql::check_probe});
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) {
    findings.pass("probe", name, "schema, function and trigger can be made (tried, rolled back)");
    co_return;
  }
  if (failure->lost) throw *failure;
  co_await connection.run("ROLLBACK");
  findings.fail("probe", name, "what prepare does is refused: " + failure->message,
                failure->is("42501") ? "GRANT CREATE ON DATABASE to the role of the URL"
                                     : "see the server's message");
}

}  // namespace

boost::asio::awaitable<void> look_at_source(pg::Connection& source,
                                            std::vector<std::string> exclude, Findings& findings) {
  co_await probe(Side::source, source, findings);
  const auto tables = co_await discover_tables(source, exclude);
  judge_tables(tables, findings);
  co_await judge_rights(source, tables, findings);
  co_await judge_foreign_partitions(source, tables, findings);
  const pg::Rows rows = co_await source.run(std::string{sql::check_source});
  add(findings, rows);
  for (const auto& check : catalog_checks) {
    if (!findings.has(check.id)) findings.pass(check.id, "source", check.fine);
  }
}

boost::asio::awaitable<void> look_at_target(pg::Connection& source, pg::Connection& target,
                                            Findings& findings) {
  co_await probe(Side::target, target, findings);
  co_await judge_emptiness(source, target, findings);
  co_await judge_extensions(source, target, findings);
  co_await judge_settings(source, target, findings);
}

boost::asio::awaitable<void> compare_sides(PerSide<SideFacts>& sides, Findings& findings) {
  const auto& source = sides[Side::source];
  const auto& target = sides[Side::target];
  for (const Side side : {Side::source, Side::target}) judge_side(side, sides[side], findings);
  if (target.version / 10000 < source.version / 10000) {
    findings.fail("version", "target", "older than the source",
                  "use a target of the source's version or later");
  }
  if (source.encoding != target.encoding) {
    findings.warn("encoding", "both",
                  source.encoding + " on the source, " + target.encoding + " on the target",
                  "create the target database with ENCODING '" + source.encoding + "'");
  } else {
    findings.pass("encoding", "both", source.encoding);
  }
  if (source.collate != target.collate || source.ctype != target.ctype) {
    findings.warn("collation", "both",
                  source.collate + "/" + source.ctype + " on the source, " + target.collate + "/" +
                      target.ctype + " on the target: ORDER BY of text may differ",
                  "create the target database with the same LC_COLLATE and LC_CTYPE");
  } else {
    findings.pass("collation", "both", source.collate);
  }
  for (const Side side : {Side::source, Side::target}) {
    const std::string name{pgjanus::to_string(side)};
    const auto needed = control_connections + (side == Side::target ? source.app_connections : 0);
    const auto detail = std::to_string(sides[side].free_connections) +
                        " connections are free, about " + std::to_string(needed) +
                        " will be needed";
    if (sides[side].free_connections < needed) {
      findings.warn("connections", name, detail, "raise max_connections, or close what is idle");
    } else {
      findings.pass("connections", name, detail);
    }
    const bool granted = co_await may_set_replica_role(*sides[side].connection);
    if (granted) {
      findings.pass("replica_role", name, "session_replication_role may be set");
    } else if (side == Side::source) {
      findings.pass(
          "replica_role", name,
          "session_replication_role is refused: as mirror, its foreign keys are dropped and "
          "come back at the rollback");
    } else {
      findings.warn(
          "replica_role", name,
          "session_replication_role is refused: while it is the mirror its triggers are "
          "disabled by name and its foreign keys dropped",
          "GRANT SET ON PARAMETER session_replication_role to the role, where the host allows it");
    }
  }
  const bool same = co_await same_database(*source.connection, *target.connection);
  if (same) {
    findings.fail("same_database", "both", "source and target are the same database",
                  "the two URLs must lead to different databases");
  } else {
    findings.pass("same_database", "both", "source and target are different databases");
  }
  co_await judge_program(source.version, findings);
}

boost::asio::awaitable<void> look_for_pooler(const Databases& databases, Side side,
                                             pg::Connection& connection, Findings& findings) {
  const std::string name{pgjanus::to_string(side)};
  // A pooler that hands one server to many: while ours is between statements, another client gets
  // the same server process.
  const auto other = co_await databases.open(side, "check pooler");
  bool shared = false;
  for (int round = 0; round < 3 && !shared; ++round) {
    const pg::Rows ours = co_await connection.run("SELECT pg_backend_pid()");
    co_await other->run("BEGIN");
    const pg::Rows theirs = co_await other->run("SELECT pg_backend_pid()");
    const pg::Rows again = co_await connection.run("SELECT pg_backend_pid()");
    co_await other->run("ROLLBACK");
    shared = ours.text(0, 0) == theirs.text(0, 0) || ours.text(0, 0) != again.text(0, 0);
  }
  if (shared) {
    findings.fail(
        "pooler", name,
        "the URL leads to a transaction pooler: snapshots, locks and SET would break quietly",
        "give the URL of the database itself (or of a session pooler)");
  } else {
    findings.pass("pooler", name, "no transaction pooler between");
  }
}

}  // namespace pgjanus::check
