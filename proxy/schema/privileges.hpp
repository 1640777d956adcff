#pragma once
// Who may do what with the app's objects: read on both sides, compared, and brought from the primary to the mirror.

#include <boost/asio/awaitable.hpp>
#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/differences.hpp"

namespace pgjanus::schema {

/// What a privilege is on, as a side's catalog calls it.
struct GrantedObject {
  std::string kind;           // TABLE, SEQUENCE, SCHEMA, ROUTINE, TYPE, or DEFAULT: ALTER DEFAULT PRIVILEGES.
  std::string schema, name;   // Of DEFAULT: in which schema ('': in all), and for what kind of objects.
  std::string arguments, column;
  friend auto operator<=>(const GrantedObject&, const GrantedObject&) = default;
};

/// One privilege of one role on one object. Owners' own are none.
struct Privilege {
  GrantedObject object;
  std::string privilege, role;  // '': PUBLIC.
  bool grantable = false;
  bool withheld = false;  // PUBLIC has it by default, and not here.
  friend auto operator<=>(const Privilege&, const Privilege&) = default;
};

/// A side's, as one query found them (sql/privileges.sql).
struct Privileges {
  std::map<std::string, GrantedObject> objects;  // By their oids; those, too, that have none any more.
  std::map<Privilege, std::string> all;          // Each with its object's oids.
  std::map<GrantedObject, std::string> owners;   // As read: neither stored nor renamed.
  friend bool operator==(const Privileges& a, const Privileges& b) { return a.objects == b.objects && a.all == b.all; }
};

/// Of the side's objects outside of extensions and schema pgjanus. Throws pg::Error.
boost::asio::awaitable<Privileges> read_privileges(pg::Connection& connection);
/// One side's in the names of the other (`to`); objects that are not in `names` are called the same. Pure.
[[nodiscard]] Privileges renamed(Privileges privileges, const NameMap& names, Side to);
/// The statement that makes it so, and the one that undoes it (with what a role gave on that had it with grant option). Pure.
[[nodiscard]] std::string granting(const Privilege& one);
[[nodiscard]] std::string revoking(const Privilege& one);

/// What has to be run on the mirror, and the roles that it lacks.
struct PrivilegePlan {
  std::vector<std::string> statements;
  std::set<std::string> absent;
};
/// What the primary has and the mirror has not is granted. What the mirror has besides stays: it may be meant so; except what
/// the primary had `before`, by whichever name, and has no more, and what default privileges gave to what is new. `roles`: the
/// mirror's; `self`: the one that runs this there, and owns what it made. Owners are granted nothing. All in the mirror's names. Pure.
[[nodiscard]] PrivilegePlan plan_privileges(const Privileges& primary, const Privileges& before, const Privileges& mirror,
                                            const std::set<std::string>& roles, const std::string& self);
/// What the primary had `before` and has no more, and the mirror has still (of roles but `self`): as it is called now, with the primary's oids. Pure.
[[nodiscard]] std::map<Privilege, std::string> owed_revokes(const Privileges& primary, const Privileges& before, const Privileges& mirror,
                                                             const std::string& self);

/// What came of it.
struct PrivilegesBrought {
  Privileges primary;            // As read, in the mirror's names, and what could not be taken away there: `before` of the next time. Stored.
  std::size_t run = 0;           // Statements that the mirror took,
  std::vector<std::string> refused;  // and those it did not, or took and did nothing, each with the reason. Trying again may help.
  std::size_t homeless = 0;      // Of objects that the mirror does not have: excluded, or left out for good.
  std::set<std::string> absent;  // Roles that the mirror lacks.
};
/// Reads both sides and runs the plan on the mirror; neither connection may be in a transaction. What is refused keeps nothing else
/// from being run. `before`: none is what this migration's `epoch` has stored on the mirror, where the primary's of now is stored for the
/// next time. Throws pg::Error when a side cannot be read or a connection is lost. Control thread.
boost::asio::awaitable<PrivilegesBrought> bring_privileges(pg::Connection& primary, pg::Connection& mirror, const NameMap& names,
                                                           Side mirror_side, std::uint64_t epoch, std::optional<Privileges> before);
/// One line an event: how many were granted or taken away on `side`, what it refused, which roles it lacks.
void log_privileges(const PrivilegesBrought& brought, Side side);

}  // namespace pgjanus::schema
