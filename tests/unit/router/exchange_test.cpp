// Exchanges as scripts: one letter a message. "> PBES" is what the client sends, "< 12C" what the
// server answers; Z is followed by its status ("ZI").

#include "router/exchange.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

using namespace pgjanus;

namespace {

class Script {
 public:
  Script& client(std::string_view types) {
    for (const char type : types) {
      exchange.from_client(static_cast<wire::Frontend>(type));
      log += type;
    }
    return *this;
  }
  Script& server(std::string_view types) {
    for (std::size_t i = 0; i < types.size(); ++i) {
      const auto type = static_cast<wire::Backend>(types[i]);
      std::optional<wire::TransactionStatus> status;
      if (type == wire::Backend::ready_for_query) {
        status = static_cast<wire::TransactionStatus>(types[++i]);
      }
      exchange.from_server(type, status);
      log += types[i];
    }
    return *this;
  }
  Script& busy() {
    CAPTURE(log);
    CHECK_FALSE(exchange.quiescent());
    return *this;
  }
  Script& quiescent() {
    CAPTURE(log);
    CHECK(exchange.quiescent());
    CHECK(exchange.ready_owed() == 0);
    CHECK_FALSE(exchange.running());
    return *this;
  }

  Exchange exchange;
  std::string log;
};

}  // namespace

TEST_CASE("a new session stands between transactions", "[router][exchange]") {
  Script{}.quiescent();
}

TEST_CASE("a simple query is over with its ReadyForQuery", "[router][exchange]") {
  Script{}.client("Q").busy().server("TDDC").busy().server("ZI").quiescent();
  Script{}.client("Q").server("CTDCI").busy().server("ZI").quiescent();
  Script{}.client("Q").server("E").busy().server("ZI").quiescent();
}

TEST_CASE("an open or failed transaction keeps the session", "[router][exchange]") {
  Script{}
      .client("Q")
      .server("CZT")
      .busy()
      .client("Q")
      .server("EZE")
      .busy()
      .client("Q")
      .server("CZI")
      .quiescent();
}

TEST_CASE("messages that come at any time answer nothing", "[router][exchange]") {
  Script{}
      .server("NSA")
      .quiescent()
      .client("Q")
      .server("NSATD")
      .busy()
      .server("SDNCA")
      .busy()
      .server("ZI")
      .quiescent()
      .server("SNA")
      .quiescent();
}

TEST_CASE("an extended batch is over with the ReadyForQuery of its Sync", "[router][exchange]") {
  Script{}.client("PBDE").busy().server("12TDC").busy().client("S").busy().server("ZI").quiescent();
  Script{}.client("PDS").server("1tT").busy().server("ZI").quiescent();
  Script{}.client("PDS").server("1tnZI").quiescent();
  Script{}
      .client("BES")
      .server("2Ds")
      .busy()
      .server("ZT")
      .busy()
      .client("ES")
      .server("DCZI")
      .quiescent();
}

TEST_CASE("Flush is answered by nothing and binds nothing", "[router][exchange]") {
  Script{}
      .client("PH")
      .server("1")
      .busy()
      .client("SH")
      .server("ZI")
      .quiescent()
      .client("H")
      .quiescent();
}

TEST_CASE("several Syncs are answered one by one", "[router][exchange]") {
  Script{}
      .client("PBESPBESS")
      .server("12CZI")
      .busy()
      .server("12CZI")
      .busy()
      .server("ZI")
      .quiescent();
  CHECK(Script{}.client("SSQ").exchange.ready_owed() == 3);
}

TEST_CASE("after an error the server skips to the Sync, sent or not", "[router][exchange]") {
  Script{}.client("PBEPBES").server("12E").busy().server("ZI").quiescent();
  Script{}
      .client("PBE")
      .server("1E")
      .busy()
      .client("BE")
      .busy()
      .client("S")
      .busy()
      .server("ZI")
      .quiescent();
  // A Query is skipped as well, and owes no ReadyForQuery.
  Script{}.client("PBEQS").server("E").busy().server("ZI").quiescent();
  Script{}.client("PBEQ").server("E").busy().client("S").server("ZI").quiescent();
  // The next batch is not.
  Script{}.client("PESPBES").server("EZI").busy().server("12CZI").quiescent();
  // An error of the commit that a Sync does.
  Script{}.client("PBES").server("12CE").busy().server("ZI").quiescent();
}

TEST_CASE("a Query before the Sync ends the batch, and the Sync is answered too",
          "[router][exchange]") {
  Script{}.client("PBEQS").server("12C").busy().server("CZI").busy().server("ZI").quiescent();
  // An error of the Query itself skips nothing.
  Script{}.client("PBEQS").server("12CE").server("ZI").busy().server("ZI").quiescent();
  Script{}.client("PQ").server("1CZI").quiescent();
}

TEST_CASE("FunctionCall", "[router][exchange]") {
  Script{}.client("F").busy().server("V").busy().server("ZI").quiescent();
  Script{}.client("F").server("EZI").quiescent();
}

TEST_CASE("COPY IN by a simple query", "[router][exchange]") {
  Script{}
      .client("Q")
      .server("G")
      .busy()
      .client("dddc")
      .busy()
      .server("C")
      .busy()
      .server("ZI")
      .quiescent();
  Script{}.client("Q").server("G").client("df").server("EZI").quiescent();
  // Sync and Flush inside are ignored by the server.
  Script{}.client("Q").server("G").client("dSHdc").server("CZI").quiescent();
  // Two COPYs in one query, and sent blindly.
  Script{}
      .client("Q")
      .server("G")
      .client("dc")
      .server("CG")
      .busy()
      .client("dc")
      .server("CZI")
      .quiescent();
  Script{}.client("Qdcdc").server("G").busy().server("CGC").busy().server("ZI").quiescent();
}

TEST_CASE("COPY IN by Execute eats the Sync behind it", "[router][exchange]") {
  Script{}
      .client("PBES")
      .server("12G")
      .busy()
      .client("dc")
      .server("C")
      .busy()
      .client("S")
      .busy()
      .server("ZI")
      .quiescent();
  Script{}.client("PBESdcS").server("12G").busy().server("C").busy().server("ZI").quiescent();
  Script{}
      .client("PBE")
      .server("12G")
      .client("ddcSPBES")
      .server("CZI")
      .busy()
      .server("12CZI")
      .quiescent();
  Script s;
  s.client("PBES").server("12G");
  CHECK(s.exchange.copying_in());
  s.client("c");
  CHECK_FALSE(s.exchange.copying_in());
}

TEST_CASE("COPY IN that fails: what the client still sends is discarded", "[router][exchange]") {
  Script{}.client("Q").server("G").client("dd").server("EZI").quiescent().client("ddc").quiescent();
  Script{}
      .client("Q")
      .server("G")
      .client("d")
      .server("E")
      .client("c")
      .server("ZI")
      .quiescent()
      .client("Q")
      .server("G")
      .busy()
      .client("c")
      .server("CZI")
      .quiescent();
  Script{}
      .client("PBE")
      .server("12G")
      .client("d")
      .server("E")
      .busy()
      .client("dc")
      .busy()
      .client("S")
      .busy()
      .server("ZI")
      .quiescent();
}

TEST_CASE("COPY IN that fails with an early Sync", "[router][exchange]") {
  // Eaten, the usual case: the server had begun to read.
  auto eaten = Script{}.client("PBES").server("12G").client("dcS").server("E").busy().server("ZI");
  eaten.quiescent();
  CHECK(eaten.exchange.surplus_possible());
  eaten.client("Q").server("C").busy().server("ZI").quiescent();
  CHECK_FALSE(eaten.exchange.surplus_possible());

  // Not eaten: a BEFORE STATEMENT trigger raised. The reply that nobody else can own is the Sync's.
  Script{}
      .client("PBES")
      .server("12GE")
      .busy()
      .server("ZI")
      .quiescent()
      .client("dcS")
      .busy()
      .server("ZI")
      .quiescent();
  // Not eaten, and everything was sent before the replies came: the surplus is no reply to the
  // next query.
  Script{}
      .client("PBESdcS")
      .server("12GEZI")
      .client("Q")
      .busy()
      .server("ZI")
      .busy()
      .server("CZI")
      .quiescent();
  // What was skipped behind one COPY is not owed when a later one fails with an early Sync.
  auto later = Script{}.client("EScQDSQ").server("GE").client("dS").server("ZIGEZI");
  CHECK(later.exchange.surplus_possible());
  later.server("ZI").quiescent();
}

TEST_CASE("CopyData, CopyDone and CopyFail outside of COPY are ignored", "[router][exchange]") {
  Script{}.client("dcf").quiescent().client("cQ").server("CZI").quiescent();
  Script{}.client("PcBE").server("12C").busy().client("S").server("ZI").quiescent();
}

TEST_CASE("COPY OUT and streaming replication are busy until the end", "[router][exchange]") {
  Script{}.client("Q").server("Hddc").busy().server("CZI").quiescent();
  Script{}.client("BES").server("2HddcC").busy().server("ZI").quiescent();
  Script{}
      .client("Q")
      .server("W")
      .busy()
      .client("dd")
      .server("dd")
      .busy()
      .client("c")
      .server("cC")
      .busy()
      .server("CZI")
      .quiescent();
}

TEST_CASE("Terminate and unknown bytes owe nothing", "[router][exchange]") {
  Script{}.client("X").quiescent().client("?").quiescent().server("?").quiescent();
}

TEST_CASE("any sequence at all leaves it standing", "[router][exchange]") {
  std::uint32_t state = 1;
  Exchange exchange;
  for (int i = 0; i < 200'000; ++i) {
    state = state * 1664525u + 1013904223u;
    const auto byte =
        static_cast<std::uint8_t>("PBDECQFSHdcfXp12T3tnCsIDGHWdcZEENSAV"[(state >> 8) % 36]);
    if ((state & 0x80000000u) != 0) {
      exchange.from_client(static_cast<wire::Frontend>(byte));
    } else {
      exchange.from_server(static_cast<wire::Backend>(byte), wire::TransactionStatus::idle);
    }
    if (exchange.quiescent()) REQUIRE(exchange.ready_owed() == 0);
  }
}
