#include "wire/scram.hpp"

#include <catch2/catch.hpp>

#include "support.hpp"

namespace pgjanus::wire {
namespace {

using namespace std::string_literals;

constexpr std::string_view plain = "SCRAM-SHA-256";
constexpr std::string_view plus = "SCRAM-SHA-256-PLUS";

ScramVerifier verifier(std::string_view password = "pencil") {
  return make_verifier(password, "0123456789abcdef", 16);
}

ScramServer server(std::optional<std::string> binding = std::nullopt) {
  return {verifier(), true, "server", std::move(binding)};
}

// The outcome of a whole exchange on exact-size buffers; both sides are told of no error.
boost::system::error_code exchange(ScramClient& client, ScramServer& answering,
                                   std::string_view mechanism) {
  const ExactBuffer first{as_bytes(client.first())};
  const auto challenge = answering.challenge(mechanism, first.text());
  if (!challenge) return challenge.error();
  const auto proof = client.proof(ExactBuffer{as_bytes(*challenge)}.text());
  if (!proof) return proof.error();
  const auto last = answering.finish(ExactBuffer{as_bytes(*proof)}.text());
  if (!last) return last.error();
  const auto checked = client.check(ExactBuffer{as_bytes(*last)}.text());
  return checked ? boost::system::error_code{} : checked.error();
}

}  // namespace

TEST_CASE("the server's half gives the exchange of RFC 7677", "[wire][scram]") {
  const auto salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
  ScramServer answering{make_verifier("pencil", *salt, 4096), true,
                        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"};
  CHECK(*answering.challenge(plain, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO") ==
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  CHECK(*answering.finish("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=") ==
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST_CASE("the client's half sends what libpq sends", "[wire][scram]") {
  ScramClient client{"pencil", "rOprNGfwEbeRWgbNEkqO"};
  CHECK(client.first() == "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
  const auto proof = client.proof("r=rOprNGfwEbeRWgbNEkqOxyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  REQUIRE(proof);
  CHECK(proof->substr(0, proof->find(",p=")) == "c=biws,r=rOprNGfwEbeRWgbNEkqOxyz");
  ScramClient bound{"pencil", "nonce", "\x01\x02"};
  CHECK(bound.first() == "p=tls-server-end-point,,n=,r=nonce");
}

TEST_CASE("client and server agree, with and without channel binding", "[wire][scram]") {
  const auto binding = "certificate\0digest"s;
  ScramClient client{"pencil", "client"}, bound{"pencil", "client", binding},
      unbound{"pencil", "client"};
  auto answering = server(), binds = server(binding), offers = server(binding);
  CHECK_FALSE(exchange(client, answering, plain));
  CHECK_FALSE(exchange(bound, binds, plus));
  CHECK_FALSE(exchange(unbound, offers, plain));  // A client that cannot bind says 'n'.
}

TEST_CASE("any password works, byte for byte", "[wire][scram]") {
  for (const auto& password : {""s, "p\xC3\xA4ss"s, "\xFF\xFE"s, std::string(2000, 'x')}) {
    ScramClient client{password, "client"};
    ScramServer answering{verifier(password), true, "server"};
    CHECK_FALSE(exchange(client, answering, plain));
  }
}

TEST_CASE("a wrong password fails at the server", "[wire][scram]") {
  ScramClient client{"pencil2", "client"};
  auto answering = server();
  CHECK(exchange(client, answering, plain) == WireErrc::scram_proof);
}

TEST_CASE("an unknown user fails at the end, like a wrong password, even with the right one",
          "[wire][scram]") {
  ScramClient client{"pencil", "client"};
  ScramServer answering{verifier(), false, "server"};
  CHECK(exchange(client, answering, plain) == WireErrc::scram_proof);
}

TEST_CASE("an unknown user's salt is the same each time and differs by name", "[wire][scram]") {
  const auto mock = make_mock_verifier("ghost", "secret", 4096);
  CHECK(mock.salt == make_mock_verifier("ghost", "secret", 4096).salt);
  CHECK(mock.salt != make_mock_verifier("ghosu", "secret", 4096).salt);
  CHECK(mock.salt != make_mock_verifier("ghost", "other", 4096).salt);
  CHECK(mock.salt.size() == 16);
  CHECK(mock.iterations == 4096);
}

TEST_CASE("channel binding to another certificate fails", "[wire][scram]") {
  ScramClient client{"pencil", "client", "mine"};
  auto answering = server("theirs");
  CHECK(exchange(client, answering, plus) == WireErrc::scram_channel_binding);
}

TEST_CASE("flag 'y' is a downgrade when binding was offered, and fine when it was not",
          "[wire][scram]") {
  CHECK(server("binding").challenge(plain, "y,,n=,r=abc").error() ==
        WireErrc::scram_channel_binding);
  auto answering = server();
  CHECK(answering.challenge(plain, "y,,n=,r=abc"));
  // It is signed too: claiming 'n' afterwards fails.
  CHECK(answering.finish("c=biws,r=abcserver,p=" + base64(std::string(32, 'x'))).error() ==
        WireErrc::scram_channel_binding);
}

TEST_CASE("mechanism and flag must fit each other", "[wire][scram]") {
  CHECK(server().challenge(plus, "p=tls-server-end-point,,n=,r=abc").error() ==
        WireErrc::scram_channel_binding);
  CHECK(server("b").challenge(plus, "n,,n=,r=abc").error() == WireErrc::scram_malformed);
  CHECK(server("b").challenge(plain, "p=tls-server-end-point,,n=,r=abc").error() ==
        WireErrc::scram_malformed);
  CHECK(server("b").challenge(plus, "p=tls-unique,,n=,r=abc").error() ==
        WireErrc::scram_channel_binding);
  CHECK(server().challenge("SCRAM-SHA-1", "n,,n=,r=abc").error() == WireErrc::scram_malformed);
}

TEST_CASE("a client's first message that RFC 5802 does not allow is malformed", "[wire][scram]") {
  for (const auto& message : {""s,
                              "n"s,
                              "n,"s,
                              "n,,"s,
                              "x,,n=,r=abc"s,
                              "n,a=admin,n=,r=abc"s,
                              "n,,m=ext,n=,r=abc"s,
                              "n,,n="s,
                              "n,,n=,"s,
                              "n,,r=abc"s,
                              "n,,n=,r="s,
                              "n,,n=,r=a\tb"s,
                              "n,,n=,r=\xC3\xA4"s,
                              "n,,n=,r=abc,"s,
                              "n,,n=,r=abc,xyz"s,
                              "n,,n=,r=abc,1=x"s,
                              "n,,n=,r=abc\0"s,
                              "n,,n=,x=abc"s,
                              "nn,,n=,r=abc"s,
                              "p=,,n=,r=abc"s,
                              ",,n=,r=abc"s}) {
    CAPTURE(message);
    CHECK(server().challenge(plain, ExactBuffer{as_bytes(message)}.text()).error() ==
          WireErrc::scram_malformed);
  }
  CHECK(server().challenge(plain, "n,,n=any=2Cbody,r=abc,x=ignored"));
}

TEST_CASE("a client's final message that RFC 5802 does not allow is malformed", "[wire][scram]") {
  const auto proof = base64(std::string(32, 'x'));
  for (const auto& message :
       {""s, "c=biws"s, "c=biws,"s, "c=biws,r=abcserver"s, "c=biws,r=abcserver,"s,
        "c=biws,r=abcserver,p="s, "c=biws,r=abcserver,p=eA=="s, "c=biws,r=abcserver,p=****"s,
        "c=biws,r=abcserver,p=" + proof + ",x=y", "c=biws,r=abcserver,p=" + proof + "\0"s,
        "r=abcserver,c=biws,p=" + proof, "c=biws,r=abcserver,xyz,p=" + proof}) {
    CAPTURE(message);
    auto answering = server();
    REQUIRE(answering.challenge(plain, "n,,n=,r=abc"));
    CHECK(answering.finish(ExactBuffer{as_bytes(message)}.text()).error() ==
          WireErrc::scram_malformed);
  }
}

TEST_CASE("a nonce that is not the one of this exchange fails at the server", "[wire][scram]") {
  for (const auto* nonce : {"abc", "abcserver2", "xbcserver", "abcserve"}) {
    auto answering = server();
    REQUIRE(answering.challenge(plain, "n,,n=,r=abc"));
    CHECK(answering.finish("c=biws,r="s + nonce + ",p=" + base64(std::string(32, 'x'))).error() ==
          WireErrc::scram_nonce);
  }
}

TEST_CASE("the server's steps come once each and in order", "[wire][scram]") {
  CHECK(server().finish("c=biws,r=abcserver,p=x").error() == WireErrc::scram_malformed);
  auto answering = server();
  REQUIRE(answering.challenge(plain, "n,,n=,r=abc"));
  CHECK(answering.challenge(plain, "n,,n=,r=abc").error() == WireErrc::scram_malformed);
  const auto guess = "c=biws,r=abcserver,p=" + base64(std::string(32, 'x'));
  CHECK(answering.finish(guess).error() == WireErrc::scram_proof);
  CHECK(answering.finish(guess).error() == WireErrc::scram_malformed);
}

TEST_CASE("a server's first message that is malformed is refused", "[wire][scram]") {
  for (const auto& message :
       {""s, "r=clientx"s, "r=clientx,s=c2FsdA=="s, "r=clientx,s=,i=16"s,
        "r=clientx,s=c2Fs*A==,i=1"s, "r=clientx,s=c2FsdA==,i="s, "r=clientx,s=c2FsdA==,i=16x"s,
        "r=clientx,s=c2FsdA==,i= 16"s, "r=clientx,s=c2FsdA==,i=16,x=y"s,
        "m=ext,r=clientx,s=c2FsdA==,i=16"s, "s=c2FsdA==,r=clientx,i=16"s,
        "r=client\x7F,s=c2FsdA==,i=16"s, "r=clientx,s=c2FsdA==,i=16\0"s, "e=other-error"s}) {
    CAPTURE(message);
    ScramClient client{"pencil", "client"};
    CHECK(client.proof(ExactBuffer{as_bytes(message)}.text()).error() == WireErrc::scram_malformed);
  }
}

TEST_CASE("a server must continue the client's nonce", "[wire][scram]") {
  for (const auto* nonce : {"client", "clien", "xclient", "Clientx"}) {
    ScramClient client{"pencil", "client"};
    CHECK(client.proof("r="s + nonce + ",s=c2FsdA==,i=16").error() == WireErrc::scram_nonce);
  }
}

TEST_CASE("iteration counts that are absurd are refused before any work", "[wire][scram]") {
  for (const auto* count : {"0", "-1", "10000001", "2147483648", "99999999999999999999999"}) {
    CAPTURE(count);
    ScramClient client{"pencil", "client"};
    CHECK(client.proof("r=clientx,s=c2FsdA==,i="s + count).error() == WireErrc::scram_iterations);
  }
  ScramClient client{"pencil", "client"};
  CHECK(client.proof("r=clientx,s=c2FsdA==,i=1"));
}

TEST_CASE("a server that does not know the password is an impostor", "[wire][scram]") {
  ScramClient client{"pencil", "client"};
  CHECK(client.check("v=" + base64(std::string(32, '\0'))).error() == WireErrc::scram_malformed);
  REQUIRE(client.proof("r=clientx,s=c2FsdA==,i=16"));
  CHECK(client.check("v=" + base64(std::string(32, '\0'))).error() ==
        WireErrc::scram_server_signature);
  CHECK(client.check("e=invalid-proof").error() == WireErrc::scram_proof);
  for (const auto& message : {""s, "v="s, "v=eA=="s, "v=" + base64(std::string(33, 'x')), "x=y"s,
                              "v=" + base64(std::string(32, 'x')) + ",x=y"}) {
    CAPTURE(message);
    CHECK(client.check(ExactBuffer{as_bytes(message)}.text()).error() == WireErrc::scram_malformed);
  }
}

TEST_CASE("a verifier is the one that the server stores for the same password", "[wire][scram]") {
  // SELECT rolpassword FROM pg_authid on Postgres 15, after CREATE ROLE ... PASSWORD 'pencil'.
  const auto salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
  const auto made = make_verifier("pencil", *salt, 4096);
  const auto text = [](const Digest& digest) { return base64(as_text(ByteView{digest})); };
  CHECK(text(made.stored_key) == "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
  CHECK(text(made.server_key) == "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
}

TEST_CASE("a stored verifier is read, and nothing else is taken for one", "[wire][scram]") {
  const auto whole =
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
      ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="s;
  const auto read = parse_verifier(whole);
  REQUIRE(read);
  const auto made = make_verifier("pencil", *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
  CHECK(read->salt == made.salt);
  CHECK(read->iterations == 4096);
  CHECK(read->stored_key == made.stored_key);
  CHECK(read->server_key == made.server_key);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_verifier(ExactBuffer{as_bytes(whole).first(size)}.text()));
  }
  for (const auto& [from, to] : {std::pair{"4096"s, "0"s}, {"4096", "-1"}, {"4096", "4096x"},
                                 {"4096", "99999999999"}, {"SHA-256", "SHA-1"}, {"W22Z", "*22Z"},
                                 {"WG5d", "WG5dWG5d"}, {"wfPL", ""}}) {
    auto wrong = whole;
    wrong.replace(wrong.find(from), from.size(), to);
    CAPTURE(wrong);
    CHECK_FALSE(parse_verifier(wrong));
  }
  CHECK_FALSE(parse_verifier("pencil"));
  CHECK_FALSE(parse_verifier("md5911f527656472583a006e7727877b33e"));
}

TEST_CASE("a client that could bind says so, and the server's offer decides", "[wire][scram]") {
  ScramClient able{"pencil", "client", std::nullopt, Unbound::not_offered};
  CHECK(able.first() == "y,,n=,r=client");
  auto plain_server = server();
  CHECK_FALSE(exchange(able, plain_server, plain));
  // The server did offer it: somebody in between has taken the offer away.
  ScramClient again{"pencil", "client", std::nullopt, Unbound::not_offered};
  auto offers = server("binding");
  CHECK(exchange(again, offers, plain) == WireErrc::scram_channel_binding);
}

TEST_CASE("an md5 answer hashes password, user and salt", "[wire][scram]") {
  // md5(md5("secret" || "app") || 01020304), by md5sum.
  CHECK(md5_password("app", "secret", hex("01020304")) == "md5911f527656472583a006e7727877b33e");
}

}  // namespace pgjanus::wire
