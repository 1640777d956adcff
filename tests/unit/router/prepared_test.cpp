#include "router/prepared.hpp"

#include <catch2/catch.hpp>

#include "router/exchange.hpp"

using namespace pgjanus;
using wire::Backend;
using wire::Frontend;
using State = ServerStatements::State;

TEST_CASE("equal texts, types and contexts are one statement", "[router][prepared]") {
  StatementTexts texts;
  const auto one = texts.intern("SELECT $1", {23}, "", Side::source);
  CHECK(texts.intern("SELECT $1", {23}, "", Side::source) == one);
  CHECK(texts.intern("SELECT $1", {23}, "", Side::target) == one);
  CHECK(texts.intern("SELECT $1", {25}, "", Side::source) != one);
  CHECK(texts.intern("SELECT $2", {23}, "", Side::source) != one);
  CHECK(texts.intern("SELECT $1", {23}, "TimeZone", Side::source) != one);
  CHECK(one->name() == "pgjanus_1");
}

TEST_CASE("types of one's own making are numbered by their side", "[router][prepared]") {
  StatementTexts texts;
  const auto here = texts.intern("SELECT $1, $2", {23, 16384}, "", Side::source);
  CHECK(texts.intern("SELECT $1, $2", {23, 16384}, "", Side::target) != here);
  CHECK(here->types_at(Side::source) == std::vector<std::int32_t>{23, 16384});
  CHECK(here->types_at(Side::target) == std::vector<std::int32_t>{23, 0});
}

TEST_CASE("texts are bounded by bytes, and freed with the last who uses them", "[router][prepared]") {
  StatementTexts texts{10'000};
  const std::string long_text(6'000, 'x');
  auto first = texts.intern(long_text, {}, "", Side::source);
  CHECK(first->kept);
  CHECK(texts.bytes() > long_text.size());
  CHECK_FALSE(texts.intern(long_text + "y", {}, "", Side::source)->kept);
  CHECK(texts.intern(long_text, {}, "", Side::source)->kept);  // The same text is there already.
  first.reset();
  CHECK(texts.bytes() == 0);
  CHECK(texts.intern(long_text + "y", {}, "", Side::source)->kept);
  CHECK_FALSE(StatementTexts{}.intern(std::string(StatementTexts::text_max + 1, 'x'), {}, "", Side::source)->kept);
}

TEST_CASE("after a retirement the same text is another statement", "[router][prepared]") {
  StatementTexts texts;
  const auto old = texts.intern("SELECT * FROM t", {}, "", Side::source);
  texts.retire(*old);
  const auto fresh = texts.intern("SELECT * FROM t", {}, "", Side::source);
  CHECK(fresh->id != old->id);
  texts.retire(*old);  // Again: it is not the one that is there now.
  CHECK(texts.intern("SELECT * FROM t", {}, "", Side::source) == fresh);
}

TEST_CASE("what a server has: sent, confirmed, doubted", "[router][prepared]") {
  ServerStatements there;
  CHECK_FALSE(there.usable(1, 7));
  there.sent(1, 100, 7);
  CHECK(there.usable(1, 7));
  CHECK_FALSE(there.usable(1, 8));  // It may have failed with its batch.
  there.confirmed(1);
  CHECK(there.usable(1, 8));
  there.distrust(1);
  CHECK_FALSE(there.usable(1, 8));
  CHECK(there.state(1) == State::stale);
  there.confirmed(1);  // A late answer to what came before the doubt.
  CHECK(there.state(1) == State::stale);
  there.forget(1);
  CHECK(there.state(1) == State::absent);
}

TEST_CASE("DEALLOCATE ALL takes what was there, not what was sent behind it", "[router][prepared]") {
  ServerStatements there;
  there.sent(1, 100, 1);
  there.confirmed(1);
  there.sent(2, 100, 2);
  there.clear();
  CHECK(there.state(1) == State::absent);
  CHECK(there.state(2) == State::sent);
}

TEST_CASE("the one used longest ago makes room, by count and by bytes", "[router][prepared]") {
  ServerStatements there;
  for (std::uint32_t id = 1; id <= ServerStatements::count_max; ++id) {
    CHECK_FALSE(there.victim(10));
    there.sent(id, 10, 1);
    there.confirmed(id);
  }
  CHECK(there.victim(10) == 1U);
  there.use(1);
  CHECK(there.victim(10) == 2U);
  there.forget(2);
  CHECK_FALSE(there.victim(10));
  CHECK(there.victim(ServerStatements::bytes_max) == 3U);
  ServerStatements busy;
  busy.sent(1, ServerStatements::bytes_max, 1);
  CHECK_FALSE(busy.victim(1));  // It is on its way.
}

TEST_CASE("a client's name stands once the server has said so", "[router][prepared]") {
  StatementTexts texts;
  const auto one = texts.intern("SELECT 1", {}, "", Side::source);
  ClientStatements names;
  names.add("a", one, 1);
  CHECK(names.find("a")->tentative);
  CHECK(names.name_of(one->id) == "a");
  SECTION("answered") {
    names.parse_answered(one->id);
    CHECK_FALSE(names.find("a")->tentative);
  }
  SECTION("failed") {
    names.parse_lost(one->id);
    CHECK(names.find("a") == nullptr);
  }
  SECTION("two names of one text") {
    names.add("b", one, 1);
    names.parse_answered(one->id);
    names.parse_lost(one->id);
    CHECK_FALSE(names.find("a")->tentative);
    CHECK(names.find("b") == nullptr);
  }
  SECTION("DEALLOCATE ALL before it was answered leaves it") {
    names.clear();
    CHECK(names.find("a") != nullptr);
    names.parse_answered(one->id);
    names.clear();
    CHECK(names.find("a") == nullptr);
  }
}

TEST_CASE("a Close that was skipped has closed nothing", "[router][prepared]") {
  StatementTexts texts;
  const auto one = texts.intern("SELECT 1", {}, "", Side::source);
  const auto two = texts.intern("SELECT 2", {}, "", Side::source);
  ClientStatements names;
  names.add("a", one, 1);
  names.parse_answered(one->id);
  names.close("a");
  CHECK(names.find("a") == nullptr);
  SECTION("skipped") {
    names.close_lost();
    CHECK(names.find("a")->prepared == one);
  }
  SECTION("answered") {
    names.close_answered();
    names.close_lost();
    CHECK(names.find("a") == nullptr);
  }
  SECTION("skipped, and with it the Parse behind it that gave the name anew") {
    CHECK(names.closing("a"));
    names.add("a", two, 2);
    names.close_lost();
    names.parse_lost(two->id);
    CHECK_FALSE(names.closing("a"));
    REQUIRE(names.find("a") != nullptr);
    CHECK(names.find("a")->prepared == one);
    CHECK_FALSE(names.find("a")->tentative);
  }
}

TEST_CASE("statements that only their server knows are counted", "[router][prepared]") {
  StatementTexts texts;
  ClientStatements names;
  const auto unseen = texts.unseen();
  names.add("a", unseen, 1);
  CHECK(names.unkept() == 1);
  SECTION("its text came after all") {
    names.replace(unseen->id, texts.separate("SELECT 1", {}, Side::source, unseen->id));
    CHECK(names.unkept() == 0);
    CHECK(names.find("a")->prepared->name() == unseen->name());
  }
  SECTION("closed, and not") {
    names.close("a");
    CHECK(names.unkept() == 0);
    names.close_lost();
    CHECK(names.unkept() == 1);
  }
  SECTION("deallocated") {
    names.remove("a");
    CHECK(names.unkept() == 0);
  }
}

TEST_CASE("the name in a DEALLOCATE is read as the server reads it", "[router][prepared]") {
  CHECK(deallocated_name("DEALLOCATE a") == "a");
  CHECK(deallocated_name("  deallocate prepare _PG3_0 ; ") == "_pg3_0");
  CHECK(deallocated_name("DEALLOCATE \"A \"\"b\"") == "A \"b");
  CHECK(deallocated_name("DEALLOCATE \"all\"") == "all");
  for (const auto* text : {"DEALLOCATE ALL", "DEALLOCATE", "DEALLOCATE a, b", "DEALLOCATE a; SELECT 1", "DISCARD ALL",
                           "DEALLOCATEa", "DEALLOCATE \"a"})
    CHECK_FALSE(deallocated_name(text));
}

TEST_CASE("a name whose Parse and Close were sent together means what was answered", "[router][prepared]") {
  StatementTexts texts;
  ClientStatements names;
  const auto one = texts.intern("SELECT 1", {}, "", Side::source);
  names.add("a", one, 1);
  names.close("a");
  names.parse_lost(one->id);
  names.close_lost();
  CHECK(names.find("a") == nullptr);  // Both were skipped.
  names.add("a", one, 2);
  names.close("a");
  names.parse_answered(one->id);
  names.close_lost();
  REQUIRE(names.find("a") != nullptr);
  CHECK_FALSE(names.find("a")->tentative);
  // The same text under two names: answers come in the order of what was sent.
  names.add("b", one, 3);
  names.add("c", one, 3);
  names.close("b");
  names.parse_answered(one->id);
  names.parse_lost(one->id);
  names.close_lost();
  CHECK(names.find("b") != nullptr);
  CHECK(names.find("c") == nullptr);
}

TEST_CASE("marks come back with the reply, or are lost with the batch", "[router][prepared]") {
  const Mark own{Mark::What::own_parse, 1}, use{Mark::What::use, 1}, later{Mark::What::parse, 2};
  Exchange exchange;
  exchange.from_client(Frontend::parse, own);
  exchange.from_client(Frontend::bind, use);
  exchange.from_client(Frontend::execute);
  exchange.from_client(Frontend::parse, later);
  exchange.from_client(Frontend::sync);
  CHECK(own.hidden());
  CHECK(exchange.answered_by(Backend::parse_complete) == own);
  CHECK(exchange.answered_by(Backend::close_complete) == Mark{});
  exchange.from_server(Backend::parse_complete, {});
  exchange.from_server(Backend::error_response, {});
  CHECK(exchange.take_lost() == std::vector<Mark>{use, later});
  CHECK_FALSE(exchange.any_lost());
  exchange.from_server(Backend::ready_for_query, wire::TransactionStatus::idle);
  CHECK(exchange.quiescent());
}

TEST_CASE("marks of messages that the server skips are lost as they come", "[router][prepared]") {
  Exchange exchange;
  exchange.from_client(Frontend::parse);
  exchange.from_server(Backend::error_response, {});
  CHECK(exchange.take_lost() == std::vector<Mark>{{}});  // What failed comes first, marked or not.
  exchange.from_client(Frontend::parse, {Mark::What::parse, 5});
  CHECK(exchange.take_lost() == std::vector<Mark>{{Mark::What::parse, 5}});
}
