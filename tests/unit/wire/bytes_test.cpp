#include "wire/bytes.hpp"

#include <catch2/catch.hpp>

#include "support.hpp"

namespace pgjanus::wire {

TEST_CASE("fields come back as they were written", "[wire][bytes]") {
  Bytes out;
  MessageWriter writer{out};
  writer.begin('x').byte(0xFE).int16(-2).int32(-3).cstring("name").text("ab").bytes(hex("0001"));
  writer.end();
  CHECK(out == hex("78 00000014 fe fffe fffffffd 6e616d6500 6162 0001"));

  FieldReader fields{body_of(out)};
  CHECK(fields.byte() == 0xFE);
  CHECK(fields.int16() == -2);
  CHECK(fields.int32() == -3);
  CHECK(fields.cstring() == "name");
  CHECK(as_text(fields.bytes(2)) == "ab");
  CHECK_FALSE(fields.complete());
  CHECK(fields.bytes(2).size() == 2);
  CHECK(fields.complete());
}

TEST_CASE("messages are appended, and each gets its own length", "[wire][bytes]") {
  Bytes out = hex("ff");
  MessageWriter{out}.begin('S').end();
  MessageWriter{out}.begin_untyped().int32(7).end();
  CHECK(out == hex("ff 53 00000004 00000008 00000007"));
}

TEST_CASE("after an overrun every field is zero or empty", "[wire][bytes]") {
  const ExactBuffer three{hex("010203")};
  FieldReader fields{three.view()};
  CHECK(fields.int32() == 0);
  CHECK(fields.overrun());
  CHECK(fields.byte() == 0);
  CHECK(fields.int16() == 0);
  CHECK(fields.cstring().empty());
  CHECK(fields.bytes(0).empty());
  CHECK_FALSE(fields.complete());
}

TEST_CASE("a size near the largest number is an overrun, not a wrap-around", "[wire][bytes]") {
  const ExactBuffer three{hex("010203")};
  FieldReader fields{three.view()};
  CHECK(fields.bytes(static_cast<std::size_t>(-1)).empty());
  CHECK(fields.overrun());
}

TEST_CASE("a string without its zero byte is an overrun", "[wire][bytes]") {
  const ExactBuffer text{as_bytes("abc")};
  FieldReader fields{text.view()};
  CHECK(fields.cstring().empty());
  CHECK(fields.overrun());
  FieldReader nothing{ByteView{}};
  CHECK(nothing.cstring().empty());
  CHECK(nothing.overrun());
}

TEST_CASE("an empty string is a string", "[wire][bytes]") {
  const ExactBuffer zero{hex("00")};
  FieldReader fields{zero.view()};
  CHECK(fields.cstring().empty());
  CHECK(fields.complete());
}

}  // namespace pgjanus::wire
