#include <catch2/catch.hpp>

#include "proxy/verify/compare.hpp"
#include "proxy/verify/table_queries.hpp"

using namespace pgjanus;

namespace {

TableInfo table(std::vector<std::pair<std::string, std::string>> columns) {
  TableInfo info;
  info.id = 7;
  info.schema = "public";
  info.name = "t";
  for (auto& [name, type] : columns) {
    ColumnInfo column;
    column.name = name;
    column.type = type;
    info.columns.push_back(column);
  }
  return info;
}

}  // namespace

TEST_CASE("buckets grow with the table, within bounds, as powers of two", "[proxy][verify]") {
  CHECK(verify::buckets_for(0) == 64);
  CHECK(verify::buckets_for(16 * 100) == 128);
  CHECK(verify::buckets_for(std::int64_t{1} << 40) == 65'536);
}

TEST_CASE("columns are matched by name, and the others are named", "[proxy][verify]") {
  verify::SidesOfTable sides{table({{"id", "integer"}, {"a", "text"}, {"b", "numeric(5,2)"}}),
                             table({{"b", "numeric(6,2)"}, {"c", "text"}, {"id", "integer"}})};
  KeyColumn key;
  key.name = "id";
  sides.primary.key = {key};
  const auto pairs = verify::pair_columns(sides);
  CHECK(pairs.compared.columns == std::vector<std::string>{"id", "b"});
  CHECK(pairs.compared.key == std::vector<std::string>{"id"});
  REQUIRE(pairs.differences.size() == 3);
  CHECK(pairs.differences[0].kind == "missing");
  CHECK(pairs.differences[0].columns == std::vector<std::string>{"a"});
  CHECK(pairs.differences[1].kind == "changed");
  CHECK(pairs.differences[1].columns == std::vector<std::string>{"b"});
  CHECK(pairs.differences[2].kind == "extra");
  CHECK(pairs.differences[2].columns == std::vector<std::string>{"c"});
}

TEST_CASE("the columns that differ are those whose hashes do", "[proxy][verify]") {
  const verify::Compared compared{{"a", "b", "c"}, {"a"}};
  const std::string one(16, '1'), two(16, '2'), null(16, '-');
  using Names = std::vector<std::string>;
  CHECK(verify::columns_that_differ(compared, one + one + null, one + one + null).empty());
  CHECK(verify::columns_that_differ(compared, one + one + null, one + two + one) ==
        Names{"b", "c"});
}

TEST_CASE("names are quoted wherever they stand", "[proxy][verify]") {
  auto odd = table({{"se\"lect", "integer"}});
  odd.name = "or\"der";
  const verify::Compared compared{{"se\"lect"}, {"se\"lect"}};
  for (const auto& sql : {verify::buckets_sql(odd, compared, 64, "", verify::Hashing::same_encoding),
                          verify::sum_sql(odd, compared, "", verify::Hashing::quick),
                          verify::rows_sql(odd, compared, 64, {1, 2}, "", verify::Hashing::as_utf8)}) {
    CAPTURE(sql);
    CHECK(sql.find("t.\"se\"\"lect\"") != std::string::npos);
    CHECK(sql.find("ONLY \"public\".\"or\"\"der\" AS t") != std::string::npos);
  }
}

TEST_CASE("parts of a table take each value of the key exactly once", "[proxy][verify]") {
  const auto parts = verify::parts_between({"10", "20"}, 301);
  REQUIRE(parts.size() == 3);
  CHECK(!parts[0].low);
  CHECK(parts[0].high == "10");
  CHECK(parts[1].low == "10");
  CHECK(parts[1].high == "20");
  CHECK(parts[2].low == "20");
  CHECK(!parts[2].high);
  CHECK(parts[0].bytes + parts[1].bytes + parts[2].bytes == 301);
  CHECK(verify::parts_between({}, 5).size() == 1);
  const auto keyed = table({{"id", "bigint"}});
  CHECK(verify::condition_of(keyed, verify::parts_between({}, 5)[0]).empty());
}

TEST_CASE("only keys that every server orders alike are cut into ranges", "[proxy][verify]") {
  const auto sides = [](const std::string& type) {
    auto one = table({{"id", type}});
    one.columns[0].plain_type = type;
    one.columns[0].not_null = true;
    KeyColumn key;
    key.name = "id";
    one.key = {key};
    return verify::SidesOfTable{one, one};
  };
  CHECK(verify::may_be_cut(sides("bigint")));
  CHECK(verify::may_be_cut(sides("timestamp with time zone")));
  CHECK(!verify::may_be_cut(sides("text")));
  CHECK(!verify::may_be_cut(sides("double precision")));
  auto other_type = sides("bigint");
  other_type.mirror.columns[0].type = "integer";
  CHECK(!verify::may_be_cut(other_type));
  auto nullable = sides("bigint");
  nullable.mirror.columns[0].not_null = false;
  CHECK(!verify::may_be_cut(nullable));
  const auto parts = verify::parts_between({"10"}, 2);
  CHECK(verify::condition_of(sides("bigint").primary, parts[1]) ==
        "t.\"id\" OPERATOR(pg_catalog.>=) '10'::pg_catalog.int8");
}
