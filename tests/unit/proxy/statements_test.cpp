#include "proxy/session/statements.hpp"

#include <catch2/catch.hpp>

#include "proxy/session/read_batch.hpp"

using namespace pgjanus;

namespace {

wire::ParseView parse(std::string_view name, std::string_view text) { return {name, text, {}}; }

wire::Bytes batch(std::string_view statement, bool with_parse, bool with_sync = true) {
  wire::Bytes out;
  if (with_parse) wire::encode_parse(out, statement, "SELECT 1", {});
  wire::MessageWriter writer{out};
  writer.begin('B').cstring("").cstring(statement).int16(0).int16(0).int16(0).end();
  wire::encode_describe(out, 'P', "");
  writer.begin('E').cstring("").int32(0).end();
  if (with_sync) wire::encode_sync(out);
  return out;
}

}  // namespace

TEST_CASE("statements are found by name until they are closed", "[session]") {
  Statements statements;
  statements.parse(parse("s", "SELECT 1"));
  REQUIRE(statements.find("s") != nullptr);
  CHECK(statements.find("s")->text == "SELECT 1");
  CHECK(statements.find("t") == nullptr);
  statements.close("s");
  CHECK(statements.find("s") == nullptr);
}

TEST_CASE("the unnamed statement is replaced, and destroyed by a simple query", "[session]") {
  Statements statements;
  statements.parse(parse("", "SELECT 1"));
  statements.parse(parse("", "SELECT 2"));
  CHECK(statements.find("")->text == "SELECT 2");
  statements.simple_query();
  CHECK(statements.find("") == nullptr);
}

TEST_CASE("a name that is parsed again means we know not what", "[session]") {
  Statements statements;
  statements.parse(parse("s", "SELECT 1"));
  statements.parse(parse("s", "DELETE FROM t"));
  CHECK_FALSE(statements.find("s")->kept);
  CHECK(statements.find("s")->kind->kind == StatementKind::other);
}

TEST_CASE("what is kept of statements is bounded", "[session]") {
  Statements statements;
  const std::string large(Statements::text_max + 1, ' ');
  statements.parse(parse("large", large));
  CHECK_FALSE(statements.find("large")->kept);
  const std::string megabyte(Statements::text_max, ' ');
  for (int number = 0; number < 20; ++number)
    statements.parse(parse("s" + std::to_string(number), megabyte));
  CHECK(statements.find("s15")->kept);
  CHECK_FALSE(statements.find("s16")->kept);
  statements.close("s0");
  statements.parse(parse("again", megabyte));
  CHECK(statements.find("again")->kept);
}

TEST_CASE("a whole read batch is recognised, and nothing less", "[session]") {
  const auto whole = batch("", true);
  const auto found = read_batch(whole);
  REQUIRE(found);
  CHECK(found->bytes == whole.size());
  CHECK(found->text == "SELECT 1");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(read_batch(wire::ByteView{whole}.first(size)));
  }
  CHECK_FALSE(read_batch(batch("named", true)));
  const auto bound = batch("named", false);
  REQUIRE(read_batch(bound));
  CHECK(read_batch(bound)->statement == "named");
}

TEST_CASE("what follows a read batch is not part of it", "[session]") {
  auto bytes = batch("s", false);
  const auto size = bytes.size();
  wire::encode_query(bytes, "DELETE FROM t");
  REQUIRE(read_batch(bytes));
  CHECK(read_batch(bytes)->bytes == size);
  wire::Bytes query;
  wire::encode_query(query, "SELECT 1");
  const auto alone = query.size();
  wire::encode_query(query, "SELECT 2");
  REQUIRE(read_batch(query));
  CHECK(read_batch(query)->bytes == alone);
  CHECK(read_batch(query)->simple);
}
