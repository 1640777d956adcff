#include "proxy/session/buffer.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;

TEST_CASE("a buffer keeps what was not passed on, at its front", "[session]") {
  BufferPool pool;
  Buffer buffer{pool};
  auto space = buffer.space();
  CHECK(space.size() == buffer_bytes);
  for (std::size_t at = 0; at < space.size(); ++at) space[at] = static_cast<std::uint8_t>(at % 251);
  buffer.filled(buffer_bytes);
  CHECK(buffer.space().empty());
  buffer.drop(buffer_bytes - 3);
  CHECK(buffer.space().size() == buffer_bytes - 3);
  REQUIRE(buffer.data().size() == 3);
  CHECK(buffer.data()[2] == (buffer_bytes - 1) % 251);
}

TEST_CASE("an idle buffer holds no memory, and the pool hands it on", "[session]") {
  BufferPool pool;
  Buffer first{pool}, second{pool};
  const auto* block = first.space().data();
  first.filled(1);
  first.rest();  // Not idle: nothing happens.
  CHECK(first.data().size() == 1);
  first.drop(1);
  first.rest();
  CHECK(second.space().data() == block);
}
