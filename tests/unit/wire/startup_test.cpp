#include "wire/startup.hpp"

#include <catch2/catch.hpp>

#include "support.hpp"

namespace pgjanus::wire {
namespace {

Bytes startup(std::uint16_t major, std::uint16_t minor, ByteView parameters) {
  Bytes out;
  MessageWriter writer{out};
  writer.begin_untyped().int32((major << 16) | minor).bytes(parameters).end();
  return out;
}

Bytes startup(ByteView parameters) { return startup(3, 0, parameters); }

}  // namespace

TEST_CASE("the requests before start-up are told apart", "[wire][startup]") {
  Bytes ssl;
  encode_ssl_request(ssl);
  CHECK(ssl == hex("00000008 04d2162f"));
  CHECK(std::holds_alternative<SslRequest>(*decode_startup(ssl)));
  CHECK(std::holds_alternative<GssEncRequest>(*decode_startup(hex("00000008 04d21630"))));

  Bytes cancel;
  encode_cancel_request(cancel, {7, -8});
  CHECK(cancel == hex("00000010 04d2162e 00000007 fffffff8"));
  const auto request = decode_startup(cancel);
  CHECK(std::get<CancelRequest>(*request).process_id == 7);
  CHECK(std::get<CancelRequest>(*request).secret_key == -8);
}

TEST_CASE("a startup message decodes to what was encoded", "[wire][startup]") {
  StartupMessage message;
  message.minor = 2;
  message.parameters = {{"user", "app"}, {"options", ""}, {"_pq_.x", "1"}, {"user", "second"}};
  Bytes packet;
  encode_startup(packet, message);
  CHECK(**startup_size(packet) == packet.size());
  const ExactBuffer exact{packet};
  const auto decoded = decode_startup(exact.view());
  const auto& again = std::get<StartupMessage>(*decoded);
  CHECK(again.major == 3);
  CHECK(again.minor == 2);
  CHECK(again.parameters == message.parameters);
  CHECK(again.parameter("options") == "");
  CHECK(again.parameter("_pq_.x") == "1");
  CHECK_FALSE(again.parameter("database"));
}

TEST_CASE("of a parameter that was sent twice the last counts, as on the server",
          "[wire][startup]") {
  StartupMessage message;
  message.parameters = {{"user", "first"}, {"user", "second"}};
  CHECK(message.parameter("user") == "second");
}

TEST_CASE("every truncation of a startup packet is malformed", "[wire][startup]") {
  const auto whole = startup(literal("user\0app\0database\0shop\0"));
  for (std::size_t size = 8; size < whole.size(); ++size) {
    CAPTURE(size);
    Bytes cut{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)};
    const ExactBuffer untouched{cut};
    CHECK(decode_startup(untouched.view()).error() == WireErrc::startup_malformed);
    cut[3] = static_cast<std::uint8_t>(size);  // The length agrees with the cut.
    const ExactBuffer consistent{cut};
    CHECK(decode_startup(consistent.view()).error() == WireErrc::startup_malformed);
  }
  for (std::size_t size = 0; size < 8; ++size) {
    const ExactBuffer cut{ByteView{whole}.first(size)};
    CHECK(decode_startup(cut.view()).error() == WireErrc::startup_malformed);
  }
}

TEST_CASE("a startup packet with no parameters is only its terminator", "[wire][startup]") {
  CHECK(std::get<StartupMessage>(*decode_startup(startup(hex("00")))).parameters.empty());
  CHECK(decode_startup(startup({})).error() == WireErrc::startup_malformed);
}

TEST_CASE("bytes after the terminator are malformed", "[wire][startup]") {
  CHECK(decode_startup(startup(literal("user\0app\0\0x"))).error() == WireErrc::startup_malformed);
  CHECK(decode_startup(startup(literal("\0\0"))).error() == WireErrc::startup_malformed);
}

TEST_CASE("requests with bytes too many or too few are malformed", "[wire][startup]") {
  CHECK(decode_startup(hex("00000009 04d2162f 00")).error() == WireErrc::startup_malformed);
  CHECK(decode_startup(hex("00000009 04d21630 00")).error() == WireErrc::startup_malformed);
}

TEST_CASE("a cancel request whose key has another length names nobody", "[wire][startup]") {
  for (const auto* packet : {"0000000c 04d2162e 00000007", "00000014 04d2162e 00000007 00000008 00000009"}) {
    const auto request = std::get<CancelRequest>(*decode_startup(hex(packet)));
    CHECK(request.process_id == 0);
    CHECK(request.secret_key == 0);
  }
}

TEST_CASE("only major version 3 is spoken, with any minor", "[wire][startup]") {
  CHECK(decode_startup(startup(2, 0, hex("00"))).error() == WireErrc::unsupported_protocol);
  CHECK(decode_startup(startup(4, 0, hex("00"))).error() == WireErrc::unsupported_protocol);
  CHECK(decode_startup(startup(0, 0, hex("00"))).error() == WireErrc::unsupported_protocol);
  CHECK(std::get<StartupMessage>(*decode_startup(startup(3, 9999, hex("00")))).minor == 9999);
}

TEST_CASE("a startup length is judged before anything is allocated for it", "[wire][startup]") {
  for (std::size_t size = 0; size < 4; ++size) {
    const ExactBuffer cut{ByteView{hex("00000008")}.first(size)};
    CHECK_FALSE(*startup_size(cut.view()));
  }
  for (const auto* length : {"00000000", "00000007", "00002715", "7fffffff", "80000000", "ffffffff",
                             "16030100" /* a TLS ClientHello */, "47455420" /* "GET " */}) {
    CAPTURE(length);
    CHECK(startup_size(hex(length)).error() == WireErrc::startup_length);
  }
  CHECK(**startup_size(hex("00000008")) == 8);
  CHECK(**startup_size(hex("00002714")) == startup_size_max);
}

TEST_CASE("version negotiation names the whole version and the unknown options",
          "[wire][startup]") {
  Bytes out;
  encode_negotiate_protocol_version(out, 0, {"_pq_.a", "_pq_.b"});
  CHECK(out == hex("76 0000001a 00030000 00000002 5f70715f2e6100 5f70715f2e6200"));
}

}  // namespace pgjanus::wire
