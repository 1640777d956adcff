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
  for (const auto& sql : {verify::buckets_sql(odd, compared, 64, verify::Hashing::same_encoding),
                          verify::rows_sql(odd, compared, 64, {1, 2}, verify::Hashing::as_utf8)}) {
    CAPTURE(sql);
    CHECK(sql.find("t.\"se\"\"lect\"") != std::string::npos);
    CHECK(sql.find("ONLY \"public\".\"or\"\"der\" AS t") != std::string::npos);
  }
}
