#include "wire/framer.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "support.hpp"

namespace pgjanus::wire {
namespace {

// What a session sees of one message: the front decides, the rest only passes through.
struct Seen {
  std::uint8_t type;
  std::uint32_t size;
  Bytes front, all;
  friend bool operator==(const Seen&, const Seen&) = default;
};

// Feeds `stream` in steps that end at `cuts` and collects the messages.
std::vector<Seen> frame(const Bytes& stream, std::uint32_t whole_max,
                        const std::vector<std::size_t>& cuts) {
  Framer framer{whole_max};
  std::vector<Seen> messages;
  std::size_t taken = 0;
  for (const auto end : cuts) {
    for (;;) {
      const ExactBuffer input{ByteView{stream}.subspan(taken, end - taken)};
      const auto piece = framer.next(input.view());
      REQUIRE(piece.has_value());
      if (!*piece) break;
      const auto& part = **piece;
      REQUIRE_FALSE(part.bytes.empty());
      taken += part.bytes.size();
      if (part.first) {
        messages.push_back({part.type, part.size, {part.bytes.begin(), part.bytes.end()}, {}});
      }
      auto& message = messages.back();
      CHECK(part.type == message.type);
      CHECK(part.size == message.size);
      message.all.insert(message.all.end(), part.bytes.begin(), part.bytes.end());
      CHECK(part.last == (message.all.size() == message.size));
      CHECK(framer.inside() == !part.last);
    }
  }
  CHECK(taken == stream.size());
  CHECK_FALSE(framer.inside());
  return messages;
}

Bytes stream_of_sizes(const std::vector<std::size_t>& body_sizes) {
  Bytes stream;
  std::uint8_t value = 0;
  for (const auto size : body_sizes) {
    MessageWriter writer{stream};
    writer.begin('d');
    for (std::size_t i = 0; i < size; ++i) writer.byte(value++);
    writer.end();
  }
  return stream;
}

std::vector<std::size_t> bytewise(std::size_t size) {
  std::vector<std::size_t> cuts;
  for (std::size_t end = 0; end <= size; ++end) cuts.push_back(end);
  return cuts;
}

}  // namespace

TEST_CASE("a stream fed whole, bytewise or split anywhere gives the same messages",
          "[wire][framer]") {
  // Around whole_max = 16: shorter, one less, equal, one more, much longer; empty ones between.
  const auto stream = stream_of_sizes({0, 3, 10, 11, 12, 40, 0, 100, 1});
  for (const std::uint32_t whole_max : {0U, 5U, 6U, 16U, 1000U}) {
    CAPTURE(whole_max);
    const auto whole = frame(stream, whole_max, {stream.size()});
    REQUIRE(whole.size() == 9);
    Bytes joined;
    for (const auto& message : whole) {
      joined.insert(joined.end(), message.all.begin(), message.all.end());
    }
    CHECK(joined == stream);
    CHECK(frame(stream, whole_max, bytewise(stream.size())) == whole);
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
      CAPTURE(cut);
      CHECK(frame(stream, whole_max, {cut, stream.size()}) == whole);
    }
  }
}

TEST_CASE("a message of at most whole_max bytes comes in one piece", "[wire][framer]") {
  const auto stream = stream_of_sizes({11});  // 16 bytes on the wire.
  Framer framer{16};
  for (std::size_t size = 0; size < stream.size(); ++size) {
    const ExactBuffer cut{ByteView{stream}.first(size)};
    CHECK_FALSE(*framer.next(cut.view()));
  }
  const auto piece = framer.next(stream);
  REQUIRE(*piece);
  CHECK((*piece)->whole());
  CHECK((*piece)->body().size() == 11);
}

TEST_CASE("the first piece of a long message is its front of whole_max bytes", "[wire][framer]") {
  const auto stream = stream_of_sizes({100});
  Framer framer{16};
  CHECK_FALSE(*framer.next(ByteView{stream}.first(15)));
  const auto first = framer.next(stream);
  REQUIRE(*first);
  CHECK((*first)->bytes.size() == 16);
  CHECK((*first)->body().size() == 11);
  CHECK((*first)->first);
  CHECK_FALSE((*first)->last);
  CHECK(framer.inside());
  CHECK_FALSE(*framer.next({}));
  const auto rest = framer.next(ByteView{stream}.subspan(16));
  REQUIRE(*rest);
  CHECK((*rest)->bytes.size() == 89);
  CHECK((*rest)->body().size() == 89);
  CHECK((*rest)->last);
  CHECK_FALSE(framer.inside());
}

TEST_CASE("bytes after a long message are not part of its last piece", "[wire][framer]") {
  const auto stream = stream_of_sizes({20, 2});
  Framer framer{10};
  REQUIRE(*framer.next(stream));
  const auto rest = framer.next(ByteView{stream}.subspan(10));
  REQUIRE(*rest);
  CHECK((*rest)->bytes.size() == 15);
  CHECK((*rest)->last);
}

TEST_CASE("a length below four or beyond the server's limit is an error", "[wire][framer]") {
  for (const auto* header :
       {"51 00000000", "51 00000003", "51 40000000", "51 7fffffff", "51 80000000", "51 ffffffff"}) {
    CAPTURE(header);
    const ExactBuffer input{hex(header)};
    Framer framer{64};
    CHECK(framer.next(input.view()).error() == WireErrc::message_length);
  }
  const ExactBuffer largest{hex("64 3fffffff")};
  Framer framer{5};
  const auto piece = framer.next(largest.view());
  REQUIRE(*piece);
  CHECK((*piece)->size == message_size_max + 1);
  CHECK(framer.inside());
}

}  // namespace pgjanus::wire
