#include "proxy/schema/privileges.hpp"

#include <nlohmann/json.hpp>

#include "proxy/log.hpp"
#include "sql_texts.hpp"

namespace pgjanus::schema {

namespace asio = boost::asio;

namespace {

// In one transaction: a round trip for each would take seconds with thousands of tables.
constexpr std::size_t statements_at_once = 200;
constexpr std::size_t refusals_told = 5;

std::string object_of(const GrantedObject& object) {
  if (object.kind == "DEFAULT") return object.name;
  if (object.kind == "SCHEMA") return "SCHEMA " + pg::quote_name(object.name);
  auto text = object.kind + " " + pg::qualified(object.schema, object.name);
  if (object.kind == "ROUTINE") text += "(" + object.arguments + ")";
  return text;
}

std::string statement(const Privilege& one, bool grants) {
  const auto& object = one.object;
  std::string sql;
  if (object.kind == "DEFAULT") {
    sql = "ALTER DEFAULT PRIVILEGES ";
    if (!object.schema.empty()) sql += "IN SCHEMA " + pg::quote_name(object.schema) + " ";
  }
  sql += (grants ? "GRANT " : "REVOKE ") + one.privilege;
  if (!object.column.empty()) sql += " (" + pg::quote_name(object.column) + ")";
  sql += " ON " + object_of(object);
  sql += (grants ? " TO " : " FROM ") + (one.role.empty() ? std::string{"PUBLIC"} : pg::quote_name(one.role));
  if (one.grantable) sql += grants ? " WITH GRANT OPTION" : " CASCADE";
  return sql;
}

std::string joined(const std::vector<std::string>& statements, std::size_t from, std::size_t to) {
  std::string text;
  for (; from < to; ++from) text += statements[from] + ";";
  return text;
}

// What came of statements that failed: the server's words, or none where their object is not there.
using Failures = std::map<std::string, std::optional<std::string>>;

asio::awaitable<std::size_t> run_statements(pg::Connection& mirror, const std::vector<std::string>& statements, Failures& failures) {
  std::size_t run = 0;
  for (std::size_t from = 0; from < statements.size(); from += statements_at_once) {
    const auto to = std::min(from + statements_at_once, statements.size());
    bool whole = true;
    try {
      co_await mirror.run(joined(statements, from, to));  // One transaction.
    } catch (const pg::Error& error) {
      if (error.lost) throw;
      whole = false;
    }
    if (whole) {
      run += to - from;
      continue;
    }
    for (auto at = from; at < to; ++at) {
      std::optional<pg::Error> failure;
      try {
        co_await mirror.run(statements[at]);
      } catch (const pg::Error& error) {
        if (error.lost) throw;
        failure = error;
      }
      if (!failure) ++run;
      else if (failure->is("42P01") || failure->is("42883") || failure->is("3F000") || failure->is("42703")) failures[statements[at]] = std::nullopt;
      else failures[statements[at]] = failure->message;
    }
  }
  co_return run;
}

// A table of its own, made when it is first needed: what is taken away while nobody runs is known by it afterwards.
asio::awaitable<std::optional<Privileges>> stored_privileges(pg::Connection& side, std::uint64_t epoch) {
  const auto there = co_await side.run("SELECT to_regclass('pgjanus.granted') IS NOT NULL");
  if (!there.boolean(0, 0)) co_return std::nullopt;
  const auto rows = co_await side.run("SELECT privileges FROM pgjanus.granted WHERE epoch = $1", pg::params(std::to_string(epoch)));
  if (rows.empty()) co_return std::nullopt;
  Privileges privileges;
  for (const auto& one : nlohmann::json::parse(rows.text(0, 0))) {
    GrantedObject object{one.at(1), one.at(2), one.at(3), one.at(4), one.at(5)};
    privileges.objects[one.at(0)] = object;
    if (one.size() > 6) privileges.all.emplace(Privilege{std::move(object), one.at(6), one.at(7), one.at(8), one.at(9)}, one.at(0));
  }
  co_return privileges;
}

// Killed between a flip and the first look behind it: what the primary had been brought while it was the mirror. Whose
// objects those were by their oids is another server's business.
asio::awaitable<Privileges> privileges_at_flip(pg::Connection& primary, const NameMap& names, Side mirror_side, std::uint64_t epoch) {
  Privileges privileges;
  if (epoch == 0) co_return privileges;
  auto stored = co_await stored_privileges(primary, epoch - 1);
  if (!stored) co_return privileges;
  for (const auto& [one, id] : stored->all) privileges.all.emplace(one, "");
  co_return renamed(std::move(privileges), names, mirror_side);
}

asio::awaitable<void> store_privileges(pg::Connection& mirror, std::uint64_t epoch, const Privileges& privileges) {
  auto list = nlohmann::json::array();
  const auto object = [](const std::string& id, const GrantedObject& one) {
    return nlohmann::json{id, one.kind, one.schema, one.name, one.arguments, one.column};
  };
  for (const auto& [id, one] : privileges.objects) list.push_back(object(id, one));
  for (const auto& [one, id] : privileges.all) {
    auto entry = object(id, one.object);
    for (auto value : {nlohmann::json(one.privilege), nlohmann::json(one.role), nlohmann::json(one.grantable), nlohmann::json(one.withheld)}) {
      entry.push_back(std::move(value));
    }
    list.push_back(std::move(entry));
  }
  co_await mirror.run("CREATE TABLE IF NOT EXISTS pgjanus.granted (epoch bigint NOT NULL, privileges text NOT NULL)");
  auto values = pg::params(std::to_string(epoch), list.dump());
  co_await mirror.run("WITH former AS (DELETE FROM pgjanus.granted) INSERT INTO pgjanus.granted VALUES ($1, $2)", std::move(values));
}

}  // namespace

std::string granting(const Privilege& one) { return statement(one, !one.withheld); }
std::string revoking(const Privilege& one) { return statement(one, one.withheld); }

Privileges renamed(Privileges privileges, const NameMap& names, Side to) {
  if (names.empty()) return privileges;
  Privileges result;
  const auto there = [&](GrantedObject object) {
    if (object.kind != "TABLE" && object.kind != "SEQUENCE") return object;
    const QualifiedName here{object.schema, object.name};
    const auto name = to == Side::target ? names.on(to, here) : names.of(Side::target, here);
    object.schema = name.schema;
    object.name = name.name;
    return object;
  };
  for (auto& [id, object] : privileges.objects) result.objects.emplace(id, there(object));
  for (const auto& [one, id] : privileges.all) {
    auto copy = one;
    copy.object = there(copy.object);
    result.all.emplace(std::move(copy), id);
  }
  return result;
}

namespace {

// Whether default privileges of the mirror's give this to what is made there.
bool given_by_default(const Privilege& one, const Privileges& mirror) {
  static const std::map<std::string, std::string> plurals{
      {"TABLE", "TABLES"}, {"SEQUENCE", "SEQUENCES"}, {"ROUTINE", "ROUTINES"}, {"TYPE", "TYPES"}, {"SCHEMA", "SCHEMAS"}};
  const auto plural = plurals.find(one.object.kind);
  if (plural == plurals.end() || !one.object.column.empty()) return false;
  for (const auto& schema : {std::string{}, one.object.schema}) {
    for (const bool grantable : {false, true}) {
      const Privilege by_default{{"DEFAULT", schema, plural->second, "", ""}, one.privilege, one.role, grantable, one.withheld};
      if (mirror.all.contains(by_default)) return true;
    }
  }
  return false;
}

std::set<GrantedObject> values(const std::map<std::string, GrantedObject>& objects) {
  std::set<GrantedObject> found;
  for (const auto& [id, object] : objects) found.insert(object);
  return found;
}

}  // namespace

std::map<Privilege, std::string> owed_revokes(const Privileges& primary, const Privileges& before, const Privileges& mirror,
                                               const std::string& self) {
  std::map<Privilege, std::string> owed;
  for (const auto& [was, id] : before.all) {
    // Columns and default privileges are no objects of the query's once they have none any more.
    const auto object = primary.objects.find(id);
    auto one = was;
    if (object != primary.objects.end()) one.object = object->second;
    if (one.role != self && !primary.all.contains(one) && mirror.all.contains(one)) owed.emplace(std::move(one), id);
  }
  return owed;
}

PrivilegePlan plan_privileges(const Privileges& primary, const Privileges& before, const Privileges& mirror,
                              const std::set<std::string>& roles, const std::string& self) {
  PrivilegePlan plan;
  // First: a privilege that lost its grant option is taken away whole, and granted anew.
  for (const auto& [one, id] : owed_revokes(primary, before, mirror, self)) plan.statements.push_back(revoking(one));
  // What was made since, and is without a privilege that default ones gave it on the mirror: it was taken away in the transaction
  // that made it. Not where nothing is known of before: what the target has besides stays.
  std::set<GrantedObject> made;
  for (const auto& [id, object] : primary.objects) {
    if (!before.objects.empty() && !before.objects.contains(id)) made.insert(object);
  }
  for (const auto& [one, id] : mirror.all) {
    if (made.contains(one.object) && !primary.all.contains(one) && given_by_default(one, mirror)) plan.statements.push_back(revoking(one));
  }
  for (const auto& [one, id] : primary.all) {
    const auto owner = mirror.owners.find(one.object);
    if (mirror.all.contains(one) || one.role == self || (owner != mirror.owners.end() && owner->second == one.role)) continue;
    if (one.role.empty() || roles.contains(one.role)) plan.statements.push_back(granting(one));
    else plan.absent.insert(one.role);
  }
  return plan;
}

asio::awaitable<Privileges> read_privileges(pg::Connection& connection) {
  const auto rows = co_await connection.run(std::string{sql::privileges});
  Privileges privileges;
  for (int row = 0; row < rows.size(); ++row) {
    GrantedObject object{rows.str(row, 1), rows.str(row, 2), rows.str(row, 3), rows.str(row, 4), rows.str(row, 5)};
    privileges.objects[rows.str(row, 0)] = object;
    if (rows.text(row, 6).empty()) {
      privileges.owners[object] = rows.str(row, 7);
      continue;
    }
    Privilege one{std::move(object), rows.str(row, 6), rows.str(row, 7), rows.boolean(row, 8), rows.boolean(row, 9)};
    privileges.all.emplace(std::move(one), rows.str(row, 0));
  }
  co_return privileges;
}

asio::awaitable<PrivilegesBrought> bring_privileges(pg::Connection& primary, pg::Connection& mirror, const NameMap& names,
                                                    Side mirror_side, std::uint64_t epoch, std::optional<Privileges> before) {
  PrivilegesBrought brought;
  auto read = co_await read_privileges(primary);
  brought.primary = renamed(std::move(read), names, mirror_side);
  if (!before) before = co_await stored_privileges(mirror, epoch);
  if (!before) before = co_await privileges_at_flip(primary, names, mirror_side, epoch);
  if (brought.primary.all.empty() && before->all.empty()) co_return brought;
  auto there = co_await read_privileges(mirror);
  const auto known = co_await mirror.run("SELECT rolname, rolname = current_user FROM pg_roles");
  std::set<std::string> roles;
  std::string self;
  for (int row = 0; row < known.size(); ++row) {
    roles.insert(known.str(row, 0));
    if (known.boolean(row, 1)) self = known.str(row, 0);
  }
  // What is not there yet is new to the next look, too.
  const auto stands = values(there.objects);
  auto plan = plan_privileges(brought.primary, *before, there, roles, self);
  Failures failures;
  // Twice, as CASCADE may take away more than is meant. And looked at: a server only warns of what is not this role's to give or to
  // take away (01007, 01006).
  for (int round = 0; round < 2 && !plan.statements.empty(); ++round) {
    failures.clear();
    const auto run = co_await run_statements(mirror, plan.statements, failures);
    brought.run += run;
    there = co_await read_privileges(mirror);
    plan = plan_privileges(brought.primary, *before, there, roles, self);
    if (run == 0) break;
  }
  for (const auto& statement : plan.statements) {
    const auto failure = failures.find(statement);
    if (failure == failures.end()) brought.refused.push_back(statement + ": the server took it, and it is not so: it is another role's to do");
    else if (failure->second) brought.refused.push_back(statement + ": " + *failure->second);
    else ++brought.homeless;
  }
  brought.absent = std::move(plan.absent);
  const auto owed = owed_revokes(brought.primary, *before, there, self);
  std::erase_if(brought.primary.objects, [&](const auto& one) { return !stands.contains(one.second); });
  brought.primary.all.insert(owed.begin(), owed.end());
  if (brought.primary != *before) co_await store_privileges(mirror, epoch, brought.primary);
  co_return brought;
}

void log_privileges(const PrivilegesBrought& brought, Side side) {
  if (brought.run > 0 || brought.homeless > 0) {
    log_event(LogLevel::info, "privileges_followed", {{"side", to_string(side)}, {"statements", brought.run}, {"without_object", brought.homeless}});
  }
  for (std::size_t i = 0; i < std::min(brought.refused.size(), refusals_told); ++i) {
    log_event(LogLevel::warn, "privilege_refused", {{"side", to_string(side)}, {"what", brought.refused[i]}, {"refused", brought.refused.size()}});
  }
  for (const auto& role : brought.absent) {
    log_event(LogLevel::warn, "role_absent", {{"side", to_string(side)}, {"role", role}, {"why", "it has privileges on the other side"}});
  }
}

}  // namespace pgjanus::schema
