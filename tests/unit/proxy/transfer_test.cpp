#include "proxy/session/transfer.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;

namespace {

std::vector<std::string> names_in(std::string_view text) {
  std::vector<std::string> names;
  note_custom_names(text, names);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("settings with a dot are noticed however they are set", "[session]") {
  CHECK(names_in("SET app.tenant = '7'") == Names{"app.tenant"});
  CHECK(names_in("set session App.Tenant to 7") == Names{"App.Tenant"});
  CHECK(names_in("SET LOCAL app.tenant = 7") == Names{"app.tenant"});
  CHECK(names_in("SELECT set_config('app.tenant', '7', false)") == Names{"app.tenant"});
  CHECK(names_in("select pg_catalog.set_config('a.b', $1, false)") == Names{"a.b"});
  CHECK(names_in("SELECT 1; SET a.b = 1; SET c.d = 2") == Names{"a.b", "c.d"});
}

TEST_CASE("texts without such settings give no names", "[session]") {
  CHECK(names_in("SELECT a.b FROM a").empty());
  CHECK(names_in("SET work_mem = '1MB'").empty());
  CHECK(names_in("SELECT setting FROM reset.t").empty());
  CHECK(names_in("").empty());
  CHECK(names_in("set").empty());
}

TEST_CASE("a name is noted once, and only so many are", "[session]") {
  std::vector<std::string> names;
  for (int turn = 0; turn < 300; ++turn)
    note_custom_names("SET a.b" + std::to_string(turn / 2) + " = 1", names);
  CHECK(names.size() == custom_names_max);
}

TEST_CASE("literals mean the same whatever standard_conforming_strings is", "[session]") {
  CHECK(literal("plain") == "'plain'");
  CHECK(literal("it's") == "'it''s'");
  CHECK(literal("a\\b'c") == " E'a\\\\b''c'");
}

TEST_CASE("equal states need no change", "[session]") {
  SessionState state;
  state.settings = {{"work_mem", "1024"}};
  state.role = "other";
  state.channels = {"news"};
  CHECK(settings_change(state, state).empty());
  CHECK(prepared_missing(state, state).empty());
}

TEST_CASE("a change sets what is new, resets what is gone, and takes the roles back last",
          "[session]") {
  SessionState present, wanted;
  present.settings = {{"a.b", "1"}, {"work_mem", "1024"}};
  present.role = "low";
  present.channels = {"old"};
  wanted.settings = {{"work_mem", "2048"}};
  wanted.role = "low";
  wanted.channels = {"new"};
  const auto queries = settings_change(present, wanted);
  REQUIRE(queries.size() == 1);
  CHECK(queries.front() ==
        "RESET ROLE;RESET a.b;SELECT pg_catalog.set_config('work_mem', '2048', false);"
        "SET ROLE 'low';UNLISTEN \"old\";LISTEN \"new\";");
}

TEST_CASE("the client's encoding is set first and alone", "[session]") {
  SessionState wanted;
  wanted.settings = {{"app.name", "x"}, {"client_encoding", "LATIN1"}};
  const auto queries = settings_change({}, wanted);
  REQUIRE(queries.size() == 2);
  CHECK(queries.front() == "SELECT pg_catalog.set_config('client_encoding', 'LATIN1', false);");
}

TEST_CASE("a statement that changed under its name is prepared again", "[session]") {
  SessionState present, wanted;
  present.prepared["s"] = {"SELECT 1", {}};
  wanted.prepared["s"] = {"SELECT $1", {"integer"}};
  wanted.prepared["t"] = {"SELECT 2", {}};
  CHECK(prepared_missing(present, wanted) == Names{"s", "t"});
}

TEST_CASE("an answer that is not one is no state", "[session]") {
  Answer answer;
  CHECK_FALSE(state_of(answer, "app"));
  answer.results.resize(5);
  answer.results[0] = {{""}};
  CHECK_FALSE(state_of(answer, "app"));  // No row of roles.
  answer.results[2] = {{"app", "none"}};
  answer.results[4] = {{"s", "SELECT $1, $2", "integer\x01mood"}};
  const auto state = state_of(answer, "app");
  REQUIRE(state);
  CHECK(state->authorization.empty());
  CHECK(state->role.empty());
  CHECK(state->pin.empty());
  CHECK(state->prepared.at("s").types == Names{"integer", "mood"});
  answer.lost = true;
  CHECK_FALSE(state_of(answer, "app"));
}
