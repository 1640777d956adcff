// From one catalog to the next: the statements, and which tables are read anew.

#include <algorithm>
#include <catch2/catch.hpp>

#include "proxy/ddl/beside_load.hpp"
#include "proxy/ddl/order.hpp"
#include "proxy/ddl/shape.hpp"

using namespace pgjanus::ddl;
using nlohmann::json;

namespace {

const std::string boundary = "100:100:";

json table(const char* name, int file = 1) {
  return {{"name", name}, {"ns", 7}, {"relkind", "r"}, {"file", file}, {"label", std::string{"table "} + name},
          {"create", std::string{"CREATE TABLE "} + name}, {"drop", std::string{"DROP TABLE "} + name},
          {"rename", "ALTER TABLE s.%s RENAME TO %s"}};
}

json column(const char* name, const char* type, int xmin) {
  return {{"name", name}, {"on", 1}, {"xmin", std::to_string(xmin)}, {"inherited", false}, {"label", name},
          {"create", std::string{"ADD "} + name}, {"drop", std::string{"DROP "} + name},
          {"rename", "RENAME %s TO %s"},
          {"props", {{"type", {{"v", type}, {"e", "TYPE"}, {"clear", "CLEAR"}}}}}};
}

Shape base() {
  return {{{"schema", 7, 0}, {{"name", "s"}, {"create", ""}, {"drop", ""}}},
          {{"table", 1, 0}, table("a")},
          {{"table", 2, 0}, table("b")},
          {{"column", 1, 1}, column("x", "int", 10)}};
}

std::vector<std::string> texts(const std::vector<Step>& steps) {
  std::vector<std::string> list;
  for (const auto& step : steps) {
    list.push_back(step.sql);
    std::erase(list.back(), '"');  // For the reader's sake: every name is quoted.
  }
  return list;
}

}  // namespace

TEST_CASE("equal shapes lead to nothing, nor does what only statements say", "[proxy][ddl]") {
  auto now = base();
  CHECK(compare(base(), now, boundary, true).empty());
  now[{"table", 1, 0}]["create"] = "CREATE TABLE a (otherwise)";
  CHECK(compare(base(), now, boundary, true).empty());
}

TEST_CASE("properties folded into text lead to the same statements", "[proxy][ddl]") {
  auto before = base(), now = base();
  now[{"column", 1, 1}] = column("x", "bigint", 150);
  const auto plain = compare(before, now, boundary, true);
  REQUIRE_FALSE(plain.empty());
  for (auto* shape : {&before, &now}) {
    for (auto& [key, doc] : *shape) doc = folded(doc);
  }
  CHECK(now.at({"column", 1, 1}).at("props").is_string());
  CHECK(props_of(now.at({"column", 1, 1})) == column("x", "bigint", 150).at("props"));
  const auto same = compare(before, now, boundary, true);
  CHECK(texts(same.early) == texts(plain.early));
  CHECK(texts(same.late) == texts(plain.late));
  CHECK(same.anew == plain.anew);
  CHECK(compare(before, before, boundary, true).empty());
}

TEST_CASE("what goes can give up its name, and is dropped by another then", "[proxy][ddl]") {
  const json role{{"name", "role"}, {"ns", 7}, {"label", "type role"}, {"create", "CREATE TYPE role"}, {"drop", "DROP TYPE role"},
                  {"rename", "ALTER TYPE s.%s RENAME TO %s"}};
  auto before = base(), now = base();
  before[{"type", 50, 0}] = role;
  now[{"type", 60, 0}] = role;
  now[{"column", 1, 1}] = column("x", "60", 150);
  now.erase({"table", 2, 0});
  auto early = compare(before, now, boundary, true).early;
  REQUIRE(early.size() == 5);  // What is kept, two drops, CREATE, TYPE.
  CHECK(early[2].sql == "DROP TYPE role");
  CHECK(early[2].aside.set == R"(SELECT pgjanus.set_type_aside('"s"."role"', 'pgjanus_gone_type_50'))");
  CHECK(early[2].aside.drop == "SELECT pgjanus.drop_aside('type', 'pgjanus_gone_type_50')");
  CHECK(early[1].aside.set == R"(SELECT pgjanus.set_aside('"s"."b"', 'pgjanus_gone_table_2'))");  // With its indexes' names.
  before[{"column", 1, 2}] = column("y", "int", 10);
  early = compare(before, now, boundary, true).early;
  CHECK(early[1].aside.set == R"(SELECT pgjanus.set_column_aside('"s"."a"', 'y', 'pgjanus_gone_column_1_2'))");
}

TEST_CASE("what is inside a table that is renamed waits until that has its name", "[proxy][ddl]") {
  auto before = base(), now = base();
  before[{"schema", 7, 0}]["rename"] = "ALTER SCHEMA %s RENAME TO %s";
  now[{"schema", 7, 0}] = {{"name", "s2"}, {"create", ""}, {"drop", ""}, {"rename", "ALTER SCHEMA %s RENAME TO %s"}};
  now[{"table", 1, 0}]["name"] = "c";
  now[{"column", 1, 1}]["name"] = "z";
  now[{"column", 1, 2}] = column("y", "int", 150);
  const auto steps = compare(before, now, boundary, true).early;
  REQUIRE(steps.size() == 5);  // What is kept, schema, table, column, ADD.
  std::vector<const Step*> open;
  for (const auto& step : steps) open.push_back(&step);
  CHECK_FALSE(waits_for_another(steps[1], open));
  for (const std::size_t at : {2, 3, 4}) CHECK(waits_for_another(steps[at], open));
  open.erase(open.begin(), open.begin() + 2);
  CHECK_FALSE(waits_for_another(steps[2], open));
  CHECK(waits_for_another(steps[3], open));
  open.erase(open.begin());
  for (const std::size_t at : {3, 4}) CHECK_FALSE(waits_for_another(steps[at], open));
}

TEST_CASE("tables that exchange names meet half way", "[proxy][ddl]") {
  auto now = base();
  now[{"table", 1, 0}]["name"] = "b";
  now[{"table", 2, 0}]["name"] = "a";
  const auto early = texts(compare(base(), now, boundary, true).early);
  const auto at = [&](const std::string& from, const std::string& to) {
    return std::find(early.begin(), early.end(), "ALTER TABLE s." + from + " RENAME TO " + to) - early.begin();
  };
  CHECK(at("a", "pgjanus_aside_1_0") < at("pgjanus_aside_1_0", "b"));
  CHECK(at("b", "pgjanus_aside_2_0") < at("pgjanus_aside_1_0", "b"));
  CHECK(at("pgjanus_aside_1_0", "b") < static_cast<std::ptrdiff_t>(early.size()));
  CHECK(at("pgjanus_aside_2_0", "a") < static_cast<std::ptrdiff_t>(early.size()));
}

TEST_CASE("what is kept follows names at once and ahead of all, whatever the hops", "[proxy][ddl]") {
  auto before = base();
  const auto key = [](const char* name) {
    return json{{"name", name}, {"on", 1}, {"contype", "f"}, {"label", name}, {"create", "ADD"}, {"drop", "DROP"},
                {"rename", "RENAME CONSTRAINT %s TO %s"}};
  };
  before[{"schema", 7, 0}]["rename"] = "ALTER SCHEMA %s RENAME TO %s";
  before[{"schema", 8, 0}] = {{"name", "t"}, {"create", ""}, {"drop", ""}};
  before[{"constraint", 5, 0}] = key("one");
  before[{"constraint", 6, 0}] = key("two");
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  // A schema is renamed, and one of its tables moves out of it and exchanges its keys' names.
  auto now = before;
  now[{"schema", 7, 0}]["name"] = "other";
  now[{"table", 1, 0}]["ns"] = 8;
  now[{"constraint", 5, 0}]["name"] = "two";
  now[{"constraint", 6, 0}]["name"] = "one";
  auto early = texts(compare(before, now, boundary, false).early);
  CHECK(has(early[0], "(false, 's', 'a', 't', 'a'), (false, 's', 'b', 'other', 'b')"));
  CHECK(has(early[0], "('constraint', 's', 'a', 'one', 't', 'a', 'two'), ('constraint', 's', 'a', 'two', 't', 'a', 'one')"));
  CHECK(std::none_of(early.begin() + 1, early.end(), [&](const auto& sql) { return has(sql, "kept") || has(sql, "CONSTRAINT"); }));
  CHECK(texts(compare(before, now, boundary, true).early)[2] == "RENAME CONSTRAINT one TO pgjanus_aside_5_0");
  // A sequence that a column owns goes with its table, by no statement of its own.
  before[{"sequence", 9, 0}] = {{"name", "a_x_seq"}, {"ns", 7}, {"label", "a_x_seq"}, {"create", ""}, {"drop", ""}, {"move", nullptr}};
  now = before;
  now[{"sequence", 9, 0}]["ns"] = 8;
  early = texts(compare(before, now, boundary, true).early);
  REQUIRE(early.size() == 1);
  CHECK(has(early[0], "(true, 's', 'a_x_seq', 't', 'a_x_seq')"));
  // What is gone leaves before another takes its name.
  now.erase({"table", 1, 0});
  now[{"table", 2, 0}]["name"] = "a";
  early = texts(compare(before, now, boundary, true).early);
  CHECK(early[0].starts_with("DELETE FROM pgjanus.kept WHERE kind <> 'sequence' AND (schema_name, table_name) = ('s', 'a'); UPDATE"));
}

TEST_CASE("a new column needs no rows anew, unless the file changed or rows passed without it", "[proxy][ddl]") {
  auto now = base();
  now[{"column", 1, 2}] = column("y", "int", 150);
  const auto usual = compare(base(), now, boundary, true);
  CHECK(texts(usual.early) == std::vector<std::string>{"ADD y"});
  CHECK(usual.anew.empty());
  now[{"column", 1, 2}] = column("y", "int", 50);
  CHECK(compare(base(), now, boundary, true).anew == std::set<std::int64_t>{1});
  CHECK(compare(base(), now, "40:100:50", true).anew.empty());
  now[{"column", 1, 2}] = column("y", "int", 150);
  now[{"table", 1, 0}]["file"] = 2;
  CHECK(compare(base(), now, boundary, true).anew == std::set<std::int64_t>{1});
}

TEST_CASE("a type that was rewritten is changed on an empty table", "[proxy][ddl]") {
  auto now = base();
  now[{"column", 1, 1}] = column("x", "text", 150);
  CHECK(texts(compare(base(), now, boundary, true).early) == std::vector<std::string>{"TYPE"});
  now[{"table", 1, 0}]["file"] = 2;
  CHECK(texts(compare(base(), now, boundary, true).early) ==
        std::vector<std::string>{"DELETE FROM ONLY s.a", "CLEAR"});
  // USING may rewrite without another type; VACUUM FULL touches no column.
  now[{"column", 1, 1}] = column("x", "int", 150);
  CHECK(compare(base(), now, boundary, true).anew == std::set<std::int64_t>{1});
  now[{"column", 1, 1}] = column("x", "int", 10);
  CHECK(compare(base(), now, boundary, true).empty());
}

TEST_CASE("what goes with its table is not dropped by itself", "[proxy][ddl]") {
  auto before = base(), now = base();
  before[{"index", 5, 0}] = {{"name", "i"}, {"on", 1}, {"create", "CREATE INDEX i"}, {"drop", "DROP INDEX i"}};
  now.erase({"table", 1, 0});
  now.erase({"column", 1, 1});
  const auto early = texts(compare(before, now, boundary, true).early);
  CHECK(early == std::vector<std::string>{"DELETE FROM pgjanus.kept WHERE kind <> 'sequence' AND (schema_name, table_name) = ('s', 'a')", "DROP TABLE a"});
}

TEST_CASE("an inherited column goes with its parent's, also when another one of its name comes", "[proxy][ddl]") {
  const json link{{"name", "b"}, {"on", 2}, {"label", "partition"}, {"create", "ATTACH"}, {"drop", "DETACH"}};
  auto before = base();
  before[{"partition", 2, 1}] = link;
  before[{"column", 2, 1}] = column("x", "int", 10);
  before[{"column", 2, 1}]["on"] = 2;
  before[{"column", 2, 1}]["inherited"] = true;
  auto now = before;
  for (const int table : {1, 2}) {
    now.erase({"column", table, 1});
    now[{"column", table, 2}] = before[{"column", table, 1}];
    now[{"column", table, 2}]["xmin"] = "150";
  }
  CHECK(texts(compare(before, now, boundary, true).early) == std::vector<std::string>{"DROP x", "ADD x"});
  now.erase({"partition", 2, 1});
  const auto early = texts(compare(before, now, boundary, true).early);
  CHECK(std::count(early.begin(), early.end(), "DROP x") == 2);
}

TEST_CASE("what makes whole rows read otherwise is told", "[proxy][ddl]") {
  auto now = base();
  now[{"column", 1, 2}] = column("y", "int", 150);
  CHECK(compare(base(), now, boundary, true).reshaped == std::set<std::int64_t>{1});
  now = base();
  now[{"column", 1, 1}]["xmin"] = "150";
  CHECK(compare(base(), now, boundary, true).reshaped.empty());
}

TEST_CASE("what we cannot make is named", "[proxy][ddl]") {
  auto now = base();
  now[{"other", 9, 1}] = {{"label", "operator =="}, {"create", nullptr}, {"drop", nullptr}};
  CHECK(compare(base(), now, boundary, true).strange == std::vector<std::string>{"operator == was created"});
}

namespace {

json constraint(const char* name, int on, const char* contype, const char* state = "1") {
  return {{"name", name}, {"on", on}, {"contype", contype}, {"state", state}, {"label", name},
          {"create", std::string{"ADD "} + name}, {"drop", std::string{"DROP "} + name}};
}

auto count_of(const std::vector<Step>& steps, const char* begin) {
  return std::ranges::count_if(texts(steps), [&](const auto& sql) { return sql.starts_with(begin); });
}

}  // namespace

TEST_CASE("beside a load what it builds is left to it", "[proxy][ddl]") {
  auto known = base();
  known[{"constraint", 20, 0}] = constraint("stays", 1, "u");
  known[{"constraint", 21, 0}] = constraint("goes", 2, "u");
  known[{"index", 22, 0}] = constraint("goes_with_b", 2, "");
  auto now = known;
  now[{"constraint", 20, 0}]["state"] = "2";
  now.erase({"constraint", 21, 0});
  now[{"index", 23, 0}] = constraint("late", 1, "");
  now[{"table", 3, 0}] = table("fresh");
  now[{"constraint", 24, 0}] = constraint("fresh_pkey", 3, "p");
  now[{"constraint", 25, 0}] = constraint("fresh_fkey", 3, "f");
  now[{"table", 4, 0}] = table("leaf");
  now[{"table", 4, 0}]["partition"] = true;
  now[{"constraint", 26, 0}] = constraint("leaf_pkey", 4, "p");

  auto seen = without_post_data(known, now);
  CHECK(seen.at({"constraint", 20, 0}) == known.at({"constraint", 20, 0}));
  const auto changes = compare(known, seen, boundary, true);
  CHECK(texts(changes.late) == std::vector<std::string>{"ADD fresh_pkey"});
  CHECK(count_of(changes.early, "DROP goes") == 1);

  keep_post_data(known, seen);
  CHECK(seen.contains({"constraint", 21, 0}));
  // In full at the load's end: what came is made, what went is dropped once more, what changed is made anew.
  const auto full = compare(seen, now, boundary, true);
  const auto late = texts(full.late);
  for (const auto* made : {"ADD stays", "ADD late", "ADD fresh_fkey", "ADD leaf_pkey"}) CHECK(std::ranges::count(late, made) == 1);
  CHECK(count_of(full.early, "DROP goes") == 1);

  now.erase({"table", 2, 0});
  now.erase({"index", 22, 0});
  seen = without_post_data(known, now);
  keep_post_data(known, seen);
  CHECK(!seen.contains({"index", 22, 0}));
}

TEST_CASE("a partition that comes back to its tree is emptied, and its rows are to be noted", "[proxy][ddl]") {
  json link{{"on", 2}, {"of", 1}, {"label", "partition"}, {"partition", true}, {"state", "one"}, {"xmin", "150"},
            {"create", "ATTACH"}, {"drop", "DETACH"}, {"clear", "CLEAR"}, {"checks", "CHECKS; "}};
  auto before = base(), now = base();
  now[{"partition", 2, 1}] = link;
  auto changes = compare(before, now, boundary, true);
  CHECK(texts(changes.early) == std::vector<std::string>{"CLEAR", "CHECKS; ", "ATTACH"});
  CHECK(changes.rejoined.empty());  // Another's triggers: they are noted with the new ones.
  before[{"partition", 2, 1}] = link;
  CHECK(compare(before, now, boundary, true).empty());
  before[{"partition", 2, 1}]["xmin"] = "90";
  now[{"column", 1, 2}] = column("y", "int", 150);
  changes = compare(before, now, boundary, true);
  CHECK(texts(changes.early) == std::vector<std::string>{"ADD y", "DETACH", "CLEAR", "CHECKS; ", "ATTACH"});
  CHECK(changes.rejoined == std::map<std::int64_t, std::string>{{2, "150"}});
  CHECK(changes.emptied.contains(1));
  before[{"partition", 2, 1}].erase("xmin");  // Stored by a version that did not look.
  CHECK(compare(before, now, boundary, true).rejoined.empty());
  before[{"partition", 2, 1}]["state"] = "other";
  CHECK(compare(before, now, boundary, true).rejoined.contains(2));
}

TEST_CASE("every partition is emptied before any is attached, and a default one gives up rows", "[proxy][ddl]") {
  auto now = base();
  for (const int oid : {2, 3}) {
    now[{"table", oid, 0}] = table(oid == 2 ? "b" : "c");
    now[{"partition", oid, 1}] = {{"on", oid}, {"of", 1}, {"label", "partition"}, {"partition", true}, {"create", "ATTACH"},
                                  {"clear", "CLEAR"}, {"default", "GIVE UP"}};
  }
  const auto changes = compare(base(), now, boundary, true);
  CHECK(texts(changes.early) ==
        std::vector<std::string>{"CREATE TABLE c", "CLEAR", "GIVE UP", "GIVE UP", "ATTACH", "ATTACH"});
  CHECK(changes.emptied.count(1) == 2);
  CHECK(changes.early[1].kind == Step::Kind::empty);
  CHECK(changes.early[4].trees == std::vector<std::int64_t>{2, 1});
}

TEST_CASE("a table that was somebody's child in between is read anew", "[proxy][ddl]") {
  auto now = base();
  now[{"column", 1, 1}]["xmin"] = "150";
  const auto unseen = compare(base(), now, boundary, true);  // A parent that came and went.
  CHECK(unseen.anew == std::set<std::int64_t>{1});
  CHECK(unseen.uncounted.empty());
  now[{"column", 1, 2}] = column("y", "int", 150);  // Or this is why.
  CHECK(compare(base(), now, boundary, true).anew.empty());
  // A table that has no other columns may have been the parent, whatever else was done to the child.
  auto before = base();
  before[{"column", 2, 1}] = now[{"column", 2, 1}] = column("x", "int", 10);
  const auto known = compare(before, now, boundary, true);
  CHECK(known.anew == std::set<std::int64_t>{1});
  CHECK(known.uncounted == std::set<std::int64_t>{2});
  now[{"column", 1, 1}]["acl"] = "{app=r/app}";  // GRANT.
  CHECK(compare(before, now, boundary, true).anew.empty());
  now[{"column", 1, 1}].erase("acl");
  before[{"column", 2, 2}] = now[{"column", 2, 2}] = column("z", "int", 10);
  CHECK(compare(before, now, boundary, true).anew.empty());
}

TEST_CASE("what takes a name waits until it is vacated, and what is inside something until that is made", "[proxy][ddl]") {
  auto before = base(), now = base();
  before[{"function", 9, 0}] = {{"name", "f"}, {"ns", 7}, {"label", "function s.f(integer)"}, {"create", "OLD"}, {"drop", "DROP"}};
  now[{"function", 10, 0}] = {{"name", "f"}, {"ns", 7}, {"label", "function s.f(integer)"}, {"create", "NEW"}, {"drop", ""}};
  now[{"function", 11, 0}] = {{"name", "f"}, {"ns", 7}, {"label", "function s.f(text)"}, {"create", "OTHER"}, {"drop", ""}};
  now[{"schema", 8, 0}] = {{"name", "s2"}, {"create", "CREATE SCHEMA"}, {"drop", ""}};
  now[{"table", 4, 0}] = table("d");
  now[{"table", 4, 0}]["ns"] = 8;
  const auto steps = compare(before, now, boundary, true).early;
  REQUIRE(texts(steps) == std::vector<std::string>{"DROP", "CREATE SCHEMA", "NEW", "OTHER", "CREATE TABLE d"});
  std::vector<const Step*> open;
  for (const auto& step : steps) open.push_back(&step);
  const auto waits = [&](std::size_t at) { return waits_for_another(steps[at], open); };
  CHECK_FALSE(waits(0));
  CHECK(waits(2));
  CHECK_FALSE(waits(3));
  CHECK(waits(4));
  open.erase(open.begin(), open.begin() + 2);
  CHECK_FALSE(waits(2));
  CHECK_FALSE(waits(4));
}
