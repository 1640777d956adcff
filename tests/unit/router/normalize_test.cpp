#include "router/normalize.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;

namespace {

std::string of(std::string_view text) {
  std::string buffer;
  return std::string{normalized(text, buffer)};
}

void stays(std::string_view text) {
  CAPTURE(text);
  std::string buffer;
  CHECK(normalized(text, buffer).data() == text.data());
}

}  // namespace

TEST_CASE("constants go, everything else stays", "[router][classify]") {
  CHECK(of("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;") ==
        "SELECT abalance FROM pgbench_accounts WHERE aid = 0;");
  CHECK(of("insert into t values (12, -1.50, 'it''s', '')") == "insert into t values (0, -0.0, '', '')");
  CHECK(of("UPDATE t1 SET c2 = $1, \"d'3\" = 'x' WHERE a=ANY(ARRAY[1,2])") ==
        "UPDATE t1 SET c2 = $1, \"d'3\" = '' WHERE a=ANY(ARRAY[0,0])");
  CHECK(of("\n WITH x AS (DELETE FROM t RETURNING *) SELECT $2::int8[1:2] FROM x ; \n") ==
        "\n WITH x AS (DELETE FROM t RETURNING *) SELECT $2::int8[0:0] FROM x ; \n");
  CHECK(of("select 'a'\n'b', a$1, tab\xc3\xa9 2") == "select ''\n'', a$1, tab\xc3\xa9 0");
}

TEST_CASE("a number keeps its size class, as the grammar sees it", "[router][classify]") {
  CHECK(of("SELECT 2147483647, 2147483648, 0002147483647, 12345678901234567890, 000") ==
        "SELECT 0, 9999999999, 0, 9999999999, 0");
}

TEST_CASE("what is not certain is left alone", "[router][classify]") {
  stays("SET work_mem = 5");
  stays("EXPLAIN (ANALYZE 0) SELECT 1");
  stays("selects 1");
  stays("");
  stays("  ");
  for (const auto* text :
       {"SELECT E'\\'' , 1", "SELECT U&'x'", "SELECT U&\"x\"", "SELECT b'01'", "SELECT 1 -- '", "SELECT /* ' */ 1",
        "SELECT $$'$$", "SELECT $a$1$a$", "SELECT 'open", "SELECT \"open", "SELECT 1e5", "SELECT .5", "SELECT 1.",
        "SELECT 1..2", "SELECT 12abc", "SELECT $1a", "SELECT 1; SELECT 2", "SELECT 'pg_temp.t'", "SELECT 1_000"})
    stays(text);
  stays(std::string_view{"SELECT '\0'", 11});
}
