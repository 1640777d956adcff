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
