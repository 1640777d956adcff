#include <catch2/catch.hpp>

#include "proxy/schema/privileges.hpp"

using namespace pgjanus;
using namespace pgjanus::schema;

namespace {

Privilege on_table(const char* name, const char* privilege, const char* role, bool grantable = false) {
  return {{"TABLE", "public", name, "", ""}, privilege, role, grantable, false};
}

Privileges of(const std::vector<std::pair<const char*, Privilege>>& list) {
  Privileges privileges;
  for (const auto& [id, one] : list) {
    privileges.objects[id] = one.object;
    privileges.all.emplace(one, id);
  }
  return privileges;
}

using Statements = std::vector<std::string>;

}  // namespace

TEST_CASE("a privilege is a statement, and its opposite") {
  const Privilege column{{"TABLE", "Odd s", "t\"x", "", "c d"}, "UPDATE", "The \"role\"", true, false};
  CHECK(granting(column) == "GRANT UPDATE (\"c d\") ON TABLE \"Odd s\".\"t\"\"x\" TO \"The \"\"role\"\"\" WITH GRANT OPTION");
  CHECK(revoking(column) == "REVOKE UPDATE (\"c d\") ON TABLE \"Odd s\".\"t\"\"x\" FROM \"The \"\"role\"\"\" CASCADE");
  const Privilege withheld{{"ROUTINE", "s", "f", "a integer, VARIADIC b text[]", ""}, "EXECUTE", "", false, true};
  CHECK(granting(withheld) == "REVOKE EXECUTE ON ROUTINE \"s\".\"f\"(a integer, VARIADIC b text[]) FROM PUBLIC");
  CHECK(revoking(withheld) == "GRANT EXECUTE ON ROUTINE \"s\".\"f\"(a integer, VARIADIC b text[]) TO PUBLIC");
  const Privilege later{{"DEFAULT", "s", "TABLES", "", ""}, "SELECT", "r", false, false};
  CHECK(granting(later) == "ALTER DEFAULT PRIVILEGES IN SCHEMA \"s\" GRANT SELECT ON TABLES TO \"r\"");
  const Privilege schema{{"SCHEMA", "", "s", "", ""}, "USAGE", "r", false, false};
  CHECK(granting(schema) == "GRANT USAGE ON SCHEMA \"s\" TO \"r\"");
}

TEST_CASE("what the mirror lacks is granted, what it has besides stays") {
  const auto primary = of({{"1", on_table("a", "SELECT", "r")}, {"1", on_table("a", "INSERT", "r")}, {"1", on_table("a", "SELECT", "gone")},
                           {"1", on_table("a", "SELECT", "me")}});
  const auto mirror = of({{"9", on_table("a", "SELECT", "r")}, {"9", on_table("a", "DELETE", "r")}});
  const auto plan = plan_privileges(primary, {}, mirror, {"r", "me"}, "me");
  CHECK(plan.statements == Statements{"GRANT INSERT ON TABLE \"public\".\"a\" TO \"r\""});
  CHECK(plan.absent == std::set<std::string>{"gone"});
}

TEST_CASE("what the primary had, and has no more, is taken away under the name of now") {
  const auto before = of({{"1", on_table("a", "SELECT", "r")}, {"1", on_table("a", "DELETE", "r")}, {"2", on_table("b", "UPDATE", "r", true)}});
  auto primary = of({{"1", on_table("z", "SELECT", "r")}, {"2", on_table("b", "UPDATE", "r")}});
  const auto mirror = of({{"8", on_table("z", "SELECT", "r")}, {"8", on_table("z", "DELETE", "r")}, {"9", on_table("b", "UPDATE", "r", true)}});
  const auto plan = plan_privileges(primary, before, mirror, {"r"}, "me");
  CHECK(plan.statements == Statements{"REVOKE UPDATE ON TABLE \"public\".\"b\" FROM \"r\" CASCADE", "REVOKE DELETE ON TABLE \"public\".\"z\" FROM \"r\"",
                                      "GRANT UPDATE ON TABLE \"public\".\"b\" TO \"r\""});
  const auto owed = owed_revokes(primary, before, mirror, "me");
  REQUIRE(owed.size() == 2);
  CHECK(owed.at(on_table("z", "DELETE", "r")) == "1");
  CHECK(owed.at(on_table("b", "UPDATE", "r", true)) == "2");
}

TEST_CASE("an owner is granted nothing") {
  auto mirror = of({{"9", on_table("a", "SELECT", "r")}});
  mirror.owners[on_table("a", "", "").object] = "o";
  const auto plan = plan_privileges(of({{"1", on_table("a", "INSERT", "o")}, {"1", on_table("a", "SELECT", "r")}}), {}, mirror, {"r", "o"}, "me");
  CHECK(plan.statements.empty());
}

TEST_CASE("a renamed table's privileges go by its other name, on either side") {
  NameMap names;
  REQUIRE(names.add({{"public", "a"}, {"auth", "people"}}));
  const auto there = renamed(of({{"1", on_table("a", "SELECT", "r")}}), names, Side::target);
  REQUIRE(there.all.size() == 1);
  CHECK(granting(there.all.begin()->first) == "GRANT SELECT ON TABLE \"auth\".\"people\" TO \"r\"");
  const auto back = renamed(there, names, Side::source);
  CHECK(back.all.begin()->first == on_table("a", "SELECT", "r"));
  CHECK(back.objects.at("1").name == "a");
}
