#include <catch2/catch.hpp>

#include "proxy/capture/capture.hpp"
#include "proxy/check/findings.hpp"
#include "proxy/schema/copy.hpp"
#include "proxy/schema/table.hpp"

using namespace pgjanus;

TEST_CASE("a pattern without a dot means the table in any schema", "[schema]") {
  TableInfo table;
  table.schema = "public";
  table.name = "order_items";
  CHECK(table_matches("public.order_items", table));
  CHECK(table_matches("order_items", table));
  CHECK(table_matches("*.order_*", table));
  CHECK(table_matches("public.order?items", table));
  CHECK(table_matches("*", table));
  CHECK(table_matches("pub*.*it*s", table));
  CHECK_FALSE(table_matches("public.order", table));
  CHECK_FALSE(table_matches("other.*", table));
  CHECK_FALSE(table_matches("order?", table));
  CHECK_FALSE(table_matches("", table));
  table.name = std::string(5000, 'a');
  CHECK_FALSE(table_matches("*a*a*a*a*a*a*a*a*a*b", table));  // No exponential backtracking.
}

TEST_CASE("lines of pg_restore's list are taken apart", "[schema]") {
  const auto table = schema::parse_toc_line("222; 1259 16921 TABLE d ci postgres");
  CHECK(table.type == "TABLE");
  CHECK(table.schema == "d");
  CHECK(table.name == "ci");
  const auto owned = schema::parse_toc_line("3518; 0 0 SEQUENCE OWNED BY public t_id_seq postgres");
  CHECK(owned.type == "SEQUENCE OWNED BY");
  CHECK(owned.name == "t_id_seq");
  const auto extension = schema::parse_toc_line("2; 3079 16790 EXTENSION - citext ");
  CHECK(extension.type == "EXTENSION");
  CHECK(extension.schema == "-");
  CHECK(extension.name == "citext");
  const auto function =
      schema::parse_toc_line("229; 1255 16396 FUNCTION b f(integer, text) some owner");
  CHECK(function.name.starts_with("f(integer, text)"));
  const auto comment = schema::parse_toc_line("3517; 0 0 COMMENT - EXTENSION citext ");
  CHECK(comment.name == "EXTENSION citext");
  const schema::BlankNames blanks{{"Odd Schema", "Odd"}, {"some owner"}};
  const auto odd = schema::parse_toc_line("215; 1259 16390 TABLE Odd Schema my table some owner", blanks);
  CHECK(odd.schema == "Odd Schema");
  CHECK(odd.name == "my table");
  CHECK(schema::parse_toc_line("215; 1259 16390 TABLE Odd t postgres", blanks).schema == "Odd");
  CHECK(schema::parse_toc_line("; Archive created at 2026").type.empty());
  CHECK(schema::parse_toc_line("").type.empty());
}

TEST_CASE("a script falls into one piece an object", "[schema]") {
  const auto pieces = schema::split_script(
      "SET x = 1;\n\n--\n-- Name: ci; Type: TABLE; Schema: d; Owner: -\n--\n\nCREATE TABLE d.ci ();\n"
      "\n--\n-- Name: e; Type: EXTENSION; Schema: -; Owner: -\n--\n\nCREATE EXTENSION e;\n");
  REQUIRE(pieces.size() == 3);
  CHECK(pieces[0].object.empty());
  CHECK(pieces[1].object == "TABLE d.ci");
  CHECK(pieces[1].sql.find("CREATE TABLE") != std::string::npos);
  CHECK(pieces[2].object == "EXTENSION e");
  CHECK(schema::split_script("").size() == 1);
}

TEST_CASE("pg_dump's version is read as the packages print it", "[check]") {
  CHECK(check::program_version("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n") == 15);
  CHECK(check::program_version("pg_dump (PostgreSQL) 17beta1") == 17);
  CHECK(check::program_version("something else") == 0);
  CHECK(check::program_version("pg_dump (PostgreSQL) ") == 0);
}

TEST_CASE("settings are pinned only where the text of a value needs it", "[capture]") {
  TableInfo table;
  table.id = 7;
  table.schema = "public";
  table.name = "t";
  table.columns.resize(2);
  table.columns[0].name = "id";
  table.columns[1].name = "at";
  table.columns[1].text_depends = text_depends::date_style;
  KeyColumn id, at;
  id.name = "id";
  at.name = "at";
  at.text_depends = text_depends::date_style;
  table.key = {id};
  CHECK(capture::functions_sql(table).find("DateStyle") == std::string::npos);
  table.key.push_back(at);
  CHECK(capture::functions_sql(table).find("DateStyle") != std::string::npos);
  table.key.clear();  // Whole rows: of all columns.
  CHECK(capture::functions_sql(table).find("DateStyle") != std::string::npos);
  CHECK(capture::functions_sql(table).find("TimeZone") == std::string::npos);
  CHECK(capture::functions_sql(table).find("search_path") == std::string::npos);
  CHECK(capture::functions_sql(table).find("pgjanus.capture_7_truncate()") != std::string::npos);
  table.columns[0].text_depends = text_depends::unknown;
  CHECK(capture::functions_sql(table).find("TimeZone") != std::string::npos);
  CHECK(capture::functions_sql(table).find("search_path") != std::string::npos);
}
