#include <catch2/catch.hpp>

#include "proxy/ddl/marks.hpp"

using pgjanus::ddl::changed_between;
using pgjanus::ddl::Marks;

namespace {

Marks four() { return {{{1, "9.a 1:5"}, {2, "9.b 1:5"}, {3, "9.c 1:5"}, {4, "9.d 1:5"}}, "r", {{2, 1}}}; }

}  // namespace

TEST_CASE("relations that changed are found, with those that they belong to", "[ddl]") {
  auto now = four();
  CHECK(changed_between(four(), now)->empty());
  now.relations[3] = "9.c 2:8";
  CHECK(*changed_between(four(), now) == std::set<std::int64_t>{3});
  now.relations[2] = "9.b 2:8";
  CHECK(*changed_between(four(), now) == std::set<std::int64_t>{1, 2, 3});
}

TEST_CASE("what left a tree, or joined one, takes both ends along", "[ddl]") {
  auto now = four();
  now.links = {{4, 3}};
  CHECK(*changed_between(four(), now) == std::set<std::int64_t>{1, 2, 3, 4});
  now = four();
  now.relations.erase(2);
  now.relations.emplace(5, "9.e 1:5");
  CHECK(*changed_between(four(), now) == std::set<std::int64_t>{1, 2, 5});
}

TEST_CASE("a name, what belongs to no relation, and a first look mean everything", "[ddl]") {
  auto now = four();
  now.relations[3] = "9.with space 1:6";
  CHECK_FALSE(changed_between(four(), now));
  now = four();
  now.rest = "s";
  CHECK_FALSE(changed_between(four(), now));
  CHECK_FALSE(changed_between(Marks{}, four()));
}
