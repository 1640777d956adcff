#include "proxy/admin/command.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;
using namespace pgjanus::admin;
using namespace std::chrono_literals;

namespace {

Command one(std::string_view text) {
  auto parsed = parse_commands(text);
  if (auto* error = std::get_if<SyntaxError>(&parsed)) FAIL(error->message);
  auto& commands = std::get<std::vector<Command>>(parsed);
  REQUIRE(commands.size() == 1);
  return commands.front();
}

SyntaxError refused(std::string_view text) {
  auto parsed = parse_commands(text);
  CAPTURE(text);
  REQUIRE(std::holds_alternative<SyntaxError>(parsed));
  return std::get<SyntaxError>(parsed);
}

}  // namespace

TEST_CASE("commands are read in any case, with or without a semicolon", "[admin]") {
  for (const auto* text : {"SHOW STATUS", "show status;", " Show /* now */ Status ; -- please"}) {
    const auto command = one(text);
    CHECK(command.verb == Verb::show);
    CHECK(command.what == "status");
    CHECK_FALSE(command.json);
  }
  CHECK(one("check json").json);
}

TEST_CASE("several statements in one text come in order", "[admin]") {
  const auto parsed = parse_commands("BEGIN; PAUSE TIMEOUT '5s';; RESUME JSON; COMMIT");
  const auto& commands = std::get<std::vector<Command>>(parsed);
  REQUIRE(commands.size() == 4);
  CHECK(commands[0].transaction == 'T');
  CHECK(commands[1].verb == Verb::pause);
  CHECK(commands[1].timeout == 5s);
  CHECK(commands[2].json);
  CHECK(commands[3].transaction == 'I');
  CHECK(std::get<std::vector<Command>>(parse_commands(" ;; -- nothing")).empty());
}

TEST_CASE("the options of a flip come in any order", "[admin]") {
  const auto flip = one("CUTOVER FORCE TIMEOUT '2s' DRY RUN TERMINATE WAIT 500ms JSON");
  CHECK(flip.flip.to == Side::target);
  CHECK(flip.flip.force);
  CHECK(flip.flip.dry_run);
  CHECK(flip.flip.terminate);
  CHECK(flip.flip.timeout == 2s);
  CHECK(flip.flip.wait == 500ms);
  CHECK(flip.json);
  const auto back = one("cutover wait '1m' to source");
  CHECK(back.flip.to == Side::source);
  CHECK(back.flip.wait == 60s);
  CHECK(back.tag == "CUTOVER TO SOURCE");
  CHECK(one("CUTOVER").flip.timeout == 2s);
}

TEST_CASE("ROLLBACK is the driver's word and never a flip", "[admin]") {
  const auto command = one("ROLLBACK");
  CHECK(command.verb == Verb::driver);
  CHECK(command.transaction == 'I');
}

TEST_CASE("tables are named in every spelling of SQL", "[admin]") {
  const std::vector<std::string> two{"public.orders", "Shop.Line Items"};
  CHECK(one("VERIFY public.orders \"Shop.Line Items\"").tables == two);
  CHECK(one("VERIFY public.orders, \"Shop\".\"Line Items\" JSON").tables == two);
  CHECK(one("REPAIR 'public.orders', 'Shop.Line Items'").tables == two);
  CHECK(one("LOAD \"a\"\"b.c\"").tables == std::vector<std::string>{"a\"b.c"});
  CHECK(one("VERIFY").tables.empty());
}

TEST_CASE("finish and abort want the database's name", "[admin]") {
  const auto finish = one("FINISH CONFIRM 'it''s' UNFENCE");
  CHECK(finish.confirm == "it's");
  CHECK(finish.unfence);
  CHECK(one("finish unfence confirm \"shop\"").confirm == "shop");
  CHECK(one("ABORT CONFIRM shop").verb == Verb::abort);
  CHECK(refused("FINISH").message.find("CONFIRM") != std::string::npos);
  CHECK(refused("ABORT").message.find("CONFIRM") != std::string::npos);
  (void)refused("ABORT CONFIRM 'shop' UNFENCE");
}

TEST_CASE("stop says what is to end", "[admin]") {
  CHECK(one("STOP LOAD").load);
  CHECK(one("STOP LOAD").verb == Verb::stop);
  CHECK_FALSE(one("stop verify").load);
  CHECK_FALSE(one("STOP REPAIR JSON").load);
  CHECK(refused("STOP").message.find("LOAD or VERIFY") != std::string::npos);
  (void)refused("STOP LOAD public.orders");
}

TEST_CASE("reads take a role, a side or a share", "[admin]") {
  CHECK(one("READS mirror").reads.kind == ReadsPolicy::Kind::mirror);
  CHECK(one("READS '25%'").reads.target_percent == 25);
  CHECK(one("reads 25%").reads.kind == ReadsPolicy::Kind::percent);
  (void)refused("READS");
  (void)refused("READS elsewhere");
  (void)refused("READS 101%");
}

TEST_CASE("what is no command is refused with what would be right", "[admin]") {
  CHECK(refused("DROP TABLE x").sqlstate == "42601");
  CHECK(refused("CUTOVER WAIT").message.find("duration") != std::string::npos);
  CHECK(refused("CUTOVER WAIT 'soon'").message.find("'60s'") != std::string::npos);
  CHECK(refused("SHOW ME").message.find("STATUS") != std::string::npos);
  CHECK(refused("CHECK EVERYTHING").message.find("EVERYTHING") != std::string::npos);
  (void)refused("VERIFY 'a.b");
  (void)refused("CHECK /* ");
  (void)refused("CUTOVER TIMEOUT 0");
}

TEST_CASE("what drivers send by themselves is answered", "[admin]") {
  CHECK(one("SELECT 1").value == "1");
  CHECK(one("SHOW TimeZone").value == "UTC");
  CHECK(one("show transaction isolation level").value == "read committed");
  CHECK(one("SET extra_float_digits = 3").tag == "SET");
  CHECK(one("DISCARD ALL").tag == "DISCARD ALL");
  CHECK(one("select version()").value->starts_with("PostgreSQL 15"));
  CHECK(one("ROLLBACK TO SAVEPOINT x").transaction == 0);
  CHECK(one("START TRANSACTION READ ONLY").transaction == 'T');
}
