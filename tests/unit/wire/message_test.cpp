#include "wire/message.hpp"

#include <catch2/catch.hpp>
#include <functional>

#include "support.hpp"

namespace pgjanus::wire {
namespace {

// A decoder and one good body for it. Every decoder stands in this table, so that none escapes
// the tests on truncation and surplus.
struct Case {
  const char* name;
  std::function<boost::system::error_code(ByteView)> decode;  // No error when it decodes.
  Bytes body;
};

template <class Decoder>
auto outcome(Decoder decoder) {
  return [decoder](ByteView body) {
    const auto result = decoder(body);
    return result ? boost::system::error_code{} : result.error();
  };
}

std::vector<Case> cases() {
  Bytes error, row, columns, parse;
  encode_error_response(error, make_error("ERROR", "42P01", "no such table", "detail", "hint"));
  encode_data_row(row, {"one", std::nullopt, ""});
  encode_row_description(columns, {{"a", 23}, {"", 25}});
  encode_parse(parse, "s1", "SELECT $1, $2", {23, 0});
  const auto body = [](const Bytes& message) { return Bytes{message.begin() + 5, message.end()}; };
  return {
      {"ErrorResponse", outcome(decode_error_fields), body(error)},
      {"Parse", outcome(decode_parse), body(parse)},
      {"Describe", outcome(decode_target), hex("50 7000")},
      {"Execute", outcome(decode_execute), hex("7000 00000005")},
      {"Query", outcome(decode_query), hex("53454c45435400")},
      {"ParameterStatus", outcome(decode_parameter_status), hex("6100 6200")},
      {"BackendKeyData", outcome(decode_backend_key_data), hex("00000001 ffffffff")},
      {"ReadyForQuery", outcome(decode_ready_for_query), hex("49")},
      {"CommandComplete", outcome(decode_command_complete), hex("424547494e00")},
      {"AuthenticationOk", outcome(decode_authentication), hex("00000000")},
      {"AuthenticationMD5Password", outcome(decode_authentication), hex("00000005 01020304")},
      {"AuthenticationSASL", outcome(decode_authentication), hex("0000000a 4100 422d5000 00")},
      {"DataRow", outcome(decode_data_row), body(row)},
      {"RowDescription", outcome(decode_row_description), body(columns)},
      {"PasswordMessage", outcome(decode_password), hex("707700")},
      {"SASLInitialResponse", outcome(decode_sasl_initial_response), hex("4100 00000002 6162")},
  };
}

}  // namespace

TEST_CASE("every truncation of every message is malformed, never read past", "[wire][message]") {
  for (const auto& [name, decode, body] : cases()) {
    CAPTURE(name);
    CHECK_FALSE(decode(ExactBuffer{body}.view()));
    for (std::size_t size = 0; size < body.size(); ++size) {
      CAPTURE(size);
      CHECK(decode(ExactBuffer{ByteView{body}.first(size)}.view()) == WireErrc::message_malformed);
    }
  }
}

TEST_CASE("a byte left over makes every message malformed", "[wire][message]") {
  for (auto [name, decode, body] : cases()) {
    CAPTURE(name);
    body.push_back(1);
    CHECK(decode(ExactBuffer{body}.view()) == WireErrc::message_malformed);
  }
}

TEST_CASE("counts and sizes beyond the body are malformed, without allocating for them",
          "[wire][message]") {
  CHECK(decode_data_row(hex("7fff")).error() == WireErrc::message_malformed);
  CHECK(decode_data_row(hex("ffff")).error() == WireErrc::message_malformed);
  CHECK(decode_data_row(hex("0001 7fffffff")).error() == WireErrc::message_malformed);
  CHECK(decode_data_row(hex("0001 fffffffe")).error() == WireErrc::message_malformed);
  CHECK(decode_row_description(hex("7fff 00")).error() == WireErrc::message_malformed);
  CHECK(decode_row_description(hex("8000")).error() == WireErrc::message_malformed);
  CHECK(decode_parse(hex("0000 7fff 00000000")).error() == WireErrc::message_malformed);
  CHECK(decode_parse(hex("0000 ffff")).error() == WireErrc::message_malformed);
  CHECK(decode_sasl_initial_response(hex("4100 7fffffff 61")).error() ==
        WireErrc::message_malformed);
  CHECK(decode_sasl_initial_response(hex("4100 fffffffe")).error() == WireErrc::message_malformed);
}

TEST_CASE("an ErrorResponse survives decoding and encoding", "[wire][message]") {
  Bytes message;
  encode_error_response(message, make_error("FATAL", "57P01", "going away", "why", "what to do"));
  const auto error = decode_error_fields(body_of(message));
  REQUIRE(error);
  CHECK(error->severity() == "FATAL");
  CHECK(error->sqlstate() == "57P01");
  CHECK(error->message() == "going away");
  CHECK(error->get('D') == "why");
  CHECK(error->get('H') == "what to do");
  CHECK(error->get('P').empty());
  Bytes again;
  encode_error_response(again, *error);
  CHECK(again == message);
  Bytes notice;
  encode_notice_response(notice, *error);
  CHECK(notice[0] == 'N');
  CHECK(Bytes(notice.begin() + 1, notice.end()) == Bytes(message.begin() + 1, message.end()));
}

TEST_CASE("an ErrorResponse may lack every field, the SQLSTATE too", "[wire][message]") {
  const auto error = decode_error_fields(hex("00"));
  REQUIRE(error);
  CHECK(error->sqlstate().empty());
  CHECK(error->severity().empty());
  const auto old = decode_error_fields(literal("SFEHLER\0\0"));  // Servers before 9.6 send no V.
  REQUIRE(old);
  CHECK(old->severity() == "FEHLER");
}

TEST_CASE("a zero byte in the text of an error of ours ends the text, not the field list",
          "[wire][message]") {
  using namespace std::string_view_literals;
  Bytes message;
  encode_error_response(message, make_error("ERROR", "XX000", "bad name \"x\0Hforged\""sv));
  const auto error = decode_error_fields(body_of(message));
  REQUIRE(error);
  CHECK(error->message() == "bad name \"x");
  CHECK(error->get('H').empty());
}

TEST_CASE("Parse survives encoding and decoding", "[wire][message]") {
  Bytes message;
  encode_parse(message, "name", "SELECT $1", {23, 0, -1});
  CHECK(message[0] == 'P');
  const auto parse = decode_parse(body_of(message));
  REQUIRE(parse);
  CHECK(parse->statement == "name");
  CHECK(parse->query == "SELECT $1");
  CHECK(parse->parameter_types == std::vector<std::int32_t>{23, 0, -1});
}

TEST_CASE("the names of a Bind are read from its front alone", "[wire][message]") {
  const ExactBuffer front{literal("portal\0statement\0\0\1")};
  const auto bind = decode_bind_names(front.view());
  REQUIRE(bind);
  CHECK(bind->portal == "portal");
  CHECK(bind->statement == "statement");
  for (std::size_t size = 0; size < std::string_view{"portal.statement."}.size(); ++size) {
    CAPTURE(size);
    const ExactBuffer cut{front.view().first(size)};
    CHECK(decode_bind_names(cut.view()).error() == WireErrc::message_malformed);
  }
}

TEST_CASE("Describe and Close name a statement or a portal, nothing else", "[wire][message]") {
  Bytes message;
  encode_describe(message, 'P', "p");
  encode_close(message, 'S', "");
  CHECK(message == hex("44 00000007 50 7000  43 00000006 53 00"));
  const ExactBuffer portal{hex("50 7000")};
  const auto target = decode_target(portal.view());
  REQUIRE(target);
  CHECK(target->kind == 'P');
  CHECK(target->name == "p");
  CHECK(decode_target(hex("58 7000")).error() == WireErrc::message_malformed);
}

TEST_CASE("Execute tells the portal and its row limit", "[wire][message]") {
  const ExactBuffer body{hex("7000 00000064")};
  const auto execute = decode_execute(body.view());
  REQUIRE(execute);
  CHECK(execute->portal == "p");
  CHECK(execute->row_limit == 100);
}

TEST_CASE("ReadyForQuery knows three states", "[wire][message]") {
  for (const auto status :
       {TransactionStatus::idle, TransactionStatus::in_transaction, TransactionStatus::failed}) {
    Bytes message;
    encode_ready_for_query(message, status);
    CHECK(*decode_ready_for_query(body_of(message)) == status);
  }
  CHECK(decode_ready_for_query(hex("00")).error() == WireErrc::message_malformed);
  CHECK(decode_ready_for_query(hex("58")).error() == WireErrc::message_malformed);
}

TEST_CASE("authentication requests survive encoding and decoding", "[wire][message]") {
  const auto decoded = [](const Bytes& message) {
    auto request = decode_authentication(body_of(message));
    REQUIRE(request);
    return *request;
  };
  Bytes ok, cleartext, md5, sasl, more, last;
  encode_authentication_ok(ok);
  encode_authentication_cleartext(cleartext);
  encode_authentication_md5(md5, hex("01020304"));
  encode_authentication_sasl(sasl, {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"});
  encode_authentication_sasl_continue(more, "r=x");
  encode_authentication_sasl_final(last, "v=y");
  CHECK(decoded(ok).code == 0);
  CHECK(decoded(cleartext).code == 3);
  CHECK(decoded(md5).code == 5);
  CHECK(as_text(decoded(md5).data) == "\1\2\3\4");
  CHECK(decoded(sasl).mechanisms ==
        std::vector<std::string_view>{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"});
  CHECK(decoded(more).code == 11);
  CHECK(as_text(decoded(more).data) == "r=x");
  CHECK(decoded(last).code == 12);
  CHECK(as_text(decoded(last).data) == "v=y");
}

TEST_CASE("authentication by Kerberos, GSSAPI or SSPI is not supported", "[wire][message]") {
  for (const auto* body : {"00000002", "00000006", "00000007", "00000009", "ffffffff"}) {
    CHECK(decode_authentication(hex(body)).error() == WireErrc::unsupported_authentication);
  }
}

TEST_CASE("rows survive encoding and decoding, NULL apart from the empty string",
          "[wire][message]") {
  Bytes message;
  encode_data_row(message, {"a", std::nullopt, "", std::string("\0b", 2)});
  const auto row = decode_data_row(body_of(message));
  REQUIRE(row);
  REQUIRE(row->size() == 4);
  CHECK((*row)[0] == "a");
  CHECK_FALSE((*row)[1]);
  CHECK((*row)[2] == "");
  CHECK((*row)[3] == std::string_view("\0b", 2));

  Bytes description;
  encode_row_description(description, {{"name", 25}, {"count", 20}});
  const auto columns = decode_row_description(body_of(description));
  REQUIRE(columns);
  REQUIRE(columns->size() == 2);
  CHECK((*columns)[0].name == "name");
  CHECK((*columns)[1].type_oid == 20);
}

TEST_CASE("a SASLInitialResponse may come without data", "[wire][message]") {
  Bytes message;
  encode_sasl_initial_response(message, "SCRAM-SHA-256", "n,,n=,r=x");
  const auto initial = decode_sasl_initial_response(body_of(message));
  REQUIRE(initial);
  CHECK(initial->mechanism == "SCRAM-SHA-256");
  CHECK(initial->data == "n,,n=,r=x");
  CHECK(decode_sasl_initial_response(hex("4100 ffffffff"))->data.empty());
}

TEST_CASE("messages of ours are byte for byte those of the manual", "[wire][message]") {
  Bytes out;
  encode_parameter_status(out, "a", "b");
  encode_backend_key_data(out, {1, 2});
  encode_command_complete(out, "SHOW");
  encode_empty(out, Backend::parse_complete);
  encode_password(out, "p");
  encode_sasl_response(out, "c=");
  encode_query(out, ";");
  encode_sync(out);
  encode_terminate(out);
  CHECK(out == hex("53 00000008 6100 6200  4b 0000000c 00000001 00000002  43 00000009 53484f5700"
                   "31 00000004  70 00000006 7000  70 00000006 633d  51 00000006 3b00"
                   "53 00000004  58 00000004"));
}

TEST_CASE("type bytes that the protocol does not have are unknown", "[wire][message]") {
  CHECK(is_frontend('Q'));
  CHECK(is_frontend('F'));
  CHECK(is_backend('Z'));
  CHECK(is_backend('v'));
  std::size_t frontend = 0, backend = 0;
  for (unsigned type = 0; type < 256; ++type) {
    frontend += is_frontend(static_cast<std::uint8_t>(type));
    backend += is_backend(static_cast<std::uint8_t>(type));
  }
  CHECK(frontend == 14);
  CHECK(backend == 24);
}

TEST_CASE("only some kinds of frontend messages may be longer than 10,000 bytes", "[wire][message]") {
  for (const std::uint8_t type : {'C', 'D', 'E', 'H', 'S', 'X', 'c', 'f', 'p'}) {
    CAPTURE(type);
    CHECK(exceeds_its_kind(Bytes{type, 0, 0, 0x27, 0x11}));
    CHECK_FALSE(exceeds_its_kind(Bytes{type, 0, 0, 0x27, 0x10}));
    CHECK_FALSE(exceeds_its_kind(Bytes{type, 0, 0, 0x27}));
  }
  for (const std::uint8_t type : {'B', 'F', 'P', 'Q', 'd'}) CHECK_FALSE(exceeds_its_kind(Bytes{type, 0x3f, 0xff, 0, 0}));
}

}  // namespace pgjanus::wire
