#include <catch2/catch.hpp>

#include "proxy/ddl/beside_load.hpp"

using nlohmann::json;
using pgjanus::ddl::Amended;
using pgjanus::ddl::AmendedShape;
using pgjanus::ddl::as_it_stands;
using pgjanus::ddl::Shape;

namespace {

json index(const char* name, const char* create) {
  return {{"on", 1}, {"ns", 9}, {"name", name}, {"create", create}, {"drop", std::string{"DROP INDEX "} + name}};
}

Shape with_index(std::int64_t oid, const json& doc) {
  return {{{"schema", 9, 0}, {{"name", "s"}}}, {{"table", 1, 0}, {{"name", "t"}, {"ns", 9}}}, {{"index", oid, 0}, doc}};
}

}  // namespace

TEST_CASE("a shape is amended while somebody looks, and as it was before and after", "[ddl]") {
  Shape shape{{{"table", 1, 0}, 10}, {{"table", 2, 0}, 20}};
  const auto before = shape;
  {
    Amended amended{{{"table", 1, 0}, json(11)}, {{"table", 2, 0}, std::nullopt}, {{"table", 3, 0}, json(30)}, {{"table", 4, 0}, std::nullopt}};
    const AmendedShape look{shape, std::move(amended)};
    CHECK(shape == Shape{{{"table", 1, 0}, 11}, {{"table", 3, 0}, 30}});
  }
  CHECK(shape == before);
}

TEST_CASE("what a load built by the name of now is there, and only that differs", "[ddl]") {
  const auto known = with_index(5, index("a", "CREATE a"));
  const auto now = with_index(5, index("b", "CREATE b"));
  const auto built = as_it_stands(known, now, with_index(77, index("b", "CREATE b")), {});
  REQUIRE(built.size() == 1);
  CHECK(*built.begin()->second == now.at({"index", 5, 0}));
  CHECK(as_it_stands(known, now, with_index(77, index("a", "CREATE a")), {}).empty());
}

TEST_CASE("of another object by the name of one that is gone, nothing is dropped", "[ddl]") {
  const auto known = with_index(5, index("a", "CREATE a ON x"));
  const auto now = with_index(6, index("a", "CREATE a ON y"));
  const auto left = as_it_stands(known, now, with_index(77, index("a", "CREATE a ON y")), {});
  REQUIRE(left.size() == 1);
  CHECK_FALSE(left.begin()->second.has_value());
}

TEST_CASE("what came and went while a load ran is dropped, what the target has of its own is not", "[ddl]") {
  const auto before = with_index(5, index("stays", "CREATE stays"));
  auto mirror = with_index(70, index("stays", "CREATE stays"));
  mirror[{"index", 71, 0}] = index("a b", "CREATE a b");
  mirror[{"index", 72, 0}] = index("own", "CREATE own");
  const std::vector<std::string> built{"INDEX s.stays 12", "INDEX s.a b 34", "INDEX s.gone 56"};
  const auto passed = as_it_stands(before, before, mirror, built);
  REQUIRE(passed.size() == 1);
  CHECK(passed.begin()->first == pgjanus::ddl::Key{"index", 71, -1});
  CHECK(passed.begin()->second->at("drop") == "DROP INDEX a b");
  CHECK(as_it_stands(before, with_index(6, index("a b", "CREATE a b")), mirror, built).empty());
}
