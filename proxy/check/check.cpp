#include "proxy/check/check.hpp"

#include "proxy/check/findings.hpp"
#include "proxy/schema/state.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

using check::Findings;
using check::SideFacts;

boost::asio::awaitable<void> read_facts(SideFacts& facts) {
  const pg::Rows row = co_await facts.connection->run(std::string{sql::check_database});
  facts.encoding = row.str(0, 0);
  facts.collate = row.str(0, 1);
  facts.ctype = row.str(0, 2);
  facts.read_only = row.boolean(0, 3);
  facts.may_create = row.boolean(0, 4);
  facts.free_connections = row.integer(0, 5);
  facts.app_connections = row.integer(0, 6);
  facts.encrypted = row.boolean(0, 7);
  facts.local = row.boolean(0, 8);
  facts.role = row.str(0, 10);
  facts.database = row.str(0, 11);
  facts.version = facts.connection->server_version();
}

std::string remedy_of(const std::string& words) {
  const auto says = [&](const char* part) { return words.find(part) != std::string::npos; };
  if (says("remaining connection slots") || says("too many")) {
    return "close connections there, or raise max_connections";
  }
  if (says("certificate") || says("SSL") || says("TLS")) {
    return "sslmode and sslrootcert of the URL (RDS: the regional bundle, up to date)";
  }
  if (says("FATAL")) return "user, password and database of the URL; pg_hba.conf of that server";
  return "host and port of the URL; that the server runs; network and firewall";
}

/// Connects one side; what stands in the way becomes a finding.
boost::asio::awaitable<void> reach(const Databases& databases, Side side, SideFacts& facts,
                                   Findings& findings) {
  const std::string name{to_string(side)};
  std::optional<pg::Error> failure;
  std::string where;
  try {
    where = databases.parameters(side).describe();
    facts.connection = co_await databases.open(side, "check");
    co_await read_facts(facts);
  } catch (const pg::Error& error) {
    failure = error;
  } catch (const SettingsError& error) {
    failure = pg::Error{error.what()};
  }
  if (!failure) {
    findings.pass("reachable", name, where);
    co_return;
  }
  facts.connection.reset();
  findings.fail("reachable", name, failure->what(), remedy_of(failure->what()));
}

boost::asio::awaitable<void> examine(const Databases& databases, const Settings& settings,
                                     PerSide<SideFacts>& sides, Findings& findings,
                                     const Progress& progress) {
  const auto say = [&](const char* line) {
    if (progress) progress(line);
  };
  auto& source = sides[Side::source].connection;
  auto& target = sides[Side::target].connection;
  if (source) {
    say("looking for a pooler in front of the source");
    co_await check::look_for_pooler(databases, Side::source, *source, findings);
    say("reading the source's catalog");
    co_await check::look_at_source(*source, settings.exclude, findings);
  }
  if (!target) co_return;
  co_await check::look_for_pooler(databases, Side::target, *target, findings);
  if (!source) co_return;
  say("comparing both sides");
  co_await check::compare_sides(sides, findings);
  co_await check::look_at_target(*source, *target, findings);
  co_await check::look_at_roles(*source, *target, findings);
  const auto state = co_await read_state(*target);
  if (!state) co_await check::look_at_differences(*source, *target, settings, findings);
  say("sizing up the load");
  co_await check::look_at_load(databases, *source, *target, findings);
}

}  // namespace

boost::asio::awaitable<Outcome> run_check(const Databases& databases, const Settings& settings,
                                          Progress progress) {
  Findings findings;
  PerSide<SideFacts> sides;
  for (const Side side : {Side::source, Side::target}) {
    co_await reach(databases, side, sides[side], findings);
  }
  std::optional<std::string> failure;
  try {
    co_await examine(databases, settings, sides, findings, progress);
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (failure) {
    findings.fail("check", "check", "could not be finished: " + *failure,
                  "put that right, and check again");
  }
  co_return findings.outcome();
}

}  // namespace pgjanus
