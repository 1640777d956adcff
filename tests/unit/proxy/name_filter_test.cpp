#include "proxy/session/name_filter.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;

namespace {

const Rewriter rewriter{{{{"public", "users"}, {"auth", "users"}, Unqualified::is_ours}}};

wire::Bytes conversation(std::string_view relation) {
  wire::Bytes bytes;
  wire::encode_query(bytes, "SELECT * FROM " + std::string{relation});
  wire::encode_parse(bytes, "s", "DELETE FROM " + std::string{relation} + " WHERE id = $1", {23});
  wire::encode_close(bytes, 'S', "users");
  wire::encode_sync(bytes);
  return bytes;
}

}  // namespace

TEST_CASE("messages are rewritten the same, in whatever pieces they come", "[session][rename]") {
  const auto bytes = conversation("users"), wanted = conversation("\"auth\".\"users\"");
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    CAPTURE(piece);
    NameFilter filter;
    wire::Bytes out;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      filter.pass(wire::ByteView{bytes}.subspan(at, std::min(piece, bytes.size() - at)), rewriter, true, out);
    CHECK(out == wanted);
    CHECK_FALSE(filter.inside());
  }
}

TEST_CASE("texts in an encoding that we cannot read pass as they are", "[session][rename]") {
  const auto bytes = conversation("users");
  NameFilter filter;
  wire::Bytes out;
  filter.pass(bytes, rewriter, false, out);
  CHECK(out == bytes);
}

TEST_CASE("a temporary table of that name hides ours from then on", "[session][rename]") {
  NameFilter filter;
  wire::Bytes in, out, wanted;
  wire::encode_query(in, "CREATE TEMPORARY TABLE users (id int)");
  wire::encode_query(in, "SELECT * FROM users, public.users u");
  wire::encode_query(wanted, "CREATE TEMPORARY TABLE users (id int)");
  wire::encode_query(wanted, "SELECT * FROM users, \"auth\".\"users\" u");
  filter.pass(in, rewriter, true, out);
  CHECK(out == wanted);
}

TEST_CASE("of a message that is too long to be held the names in front are rewritten, and the rest streams", "[session][rename]") {
  const std::string literal(5U << 20, 'x');
  for (const bool query : {true, false}) {
    wire::Bytes in, wanted;
    for (auto* bytes : {&in, &wanted}) {
      const auto text = "INSERT INTO " + std::string{bytes == &in ? "users" : R"("auth"."users")"} + " VALUES ('" + literal + "')";
      if (query) wire::encode_query(*bytes, text);
      else wire::encode_parse(*bytes, "s", text, {23});
      wire::encode_sync(*bytes);
    }
    for (const std::size_t piece : {std::size_t{1000}, std::size_t{1} << 20U, in.size()}) {
      CAPTURE(query, piece);
      NameFilter filter;
      wire::Bytes out;
      std::size_t waiting = 0;
      for (std::size_t at = 0; at < in.size(); at += piece) {
        filter.pass(wire::ByteView{in}.subspan(at, std::min(piece, in.size() - at)), rewriter, true, out);
        if (out.empty()) waiting = at + piece;
      }
      CHECK((out == wanted));
      CHECK(waiting < NameFilter::held_bytes_max + piece);
      CHECK_FALSE(filter.inside());
    }
  }
}

TEST_CASE("a text that ends within what is held is whole, though its message is not", "[session][rename]") {
  const std::vector<std::int32_t> types(20, 23);
  wire::Bytes in, out, wanted;
  wire::encode_parse(in, "s", "SELECT * FROM users, public.users", types);
  wire::encode_parse(wanted, "s", R"(SELECT * FROM "auth"."users", "auth"."users")", types);
  NameFilter filter{in.size() / 2};
  filter.pass(in, rewriter, true, out);
  CHECK(out == wanted);
}

TEST_CASE("messages without a text's end, and lengths of no sense, pass as they are", "[session][rename]") {
  const wire::Bytes without_end{'Q', 0, 0, 0, 9, 'u', 's', 'e', 'r', 's'}, no_length{'Q', 0, 0, 0, 0, 'P', 0, 0, 0, 4};
  wire::Bytes too_long{'Q', 0x7f, 0xff, 0xff, 0xff};
  for (const char c : std::string_view{"INSERT INTO users VALUES ("}) too_long.push_back(static_cast<std::uint8_t>(c));
  for (const auto& in : {without_end, no_length, too_long}) {
    NameFilter filter{30};
    wire::Bytes out;
    filter.pass(in, rewriter, true, out);
    CHECK(out == in);
  }
}
