#include <catch2/catch.hpp>

#include "proxy/load/plan.hpp"

using namespace pgjanus::load;

namespace {

constexpr std::int64_t page = 8192;

Extent extent(std::int64_t pages, std::int64_t toast = 0) {
  return {"public.t" + std::to_string(pages), pages, pages * page + toast};
}

/// Every page of every relation in exactly one chunk, and the last chunk of a relation open.
void check_cover(const std::vector<Extent>& extents, const std::vector<Chunk>& chunks) {
  std::size_t at = 0;
  for (const auto& relation : extents) {
    std::int64_t next = 0, bytes = 0;
    for (;; ++at) {
      REQUIRE(at < chunks.size());
      const auto& chunk = chunks[at];
      CHECK(chunk.part == static_cast<int>(at));
      CHECK(chunk.relation == relation.relation);
      CHECK(chunk.first_page == next);
      bytes += chunk.bytes;
      if (!chunk.end_page) break;
      CHECK(*chunk.end_page > next);
      CHECK(*chunk.end_page < relation.pages);
      next = *chunk.end_page;
    }
    CHECK(bytes <= relation.bytes);
    CHECK(bytes >= relation.bytes - static_cast<std::int64_t>(chunks.size()));
    ++at;
  }
  CHECK(at == chunks.size());
}

}  // namespace

TEST_CASE("a relation without pages is one chunk without an end", "[load]") {
  const auto chunks = plan_chunks({extent(0)}, {});
  REQUIRE(chunks.size() == 1);
  CHECK(chunks[0].first_page == 0);
  CHECK_FALSE(chunks[0].end_page);
  CHECK(pages_condition(chunks[0]) == "true");
}

TEST_CASE("chunks cover each page once, whatever the sizes", "[load]") {
  for (const std::int64_t pages :
       {1LL, 2LL, 1023LL, 1024LL, 1025LL, 4096LL, 16384LL, 16385LL, 99991LL, 5'000'000LL}) {
    for (const unsigned workers : {1U, 4U, 64U}) {
      CAPTURE(pages, workers);
      const std::vector<Extent> extents{extent(pages), extent(3), extent(0), extent(70'000)};
      check_cover(extents, plan_chunks(extents, {workers, true}));
    }
  }
}

TEST_CASE("large tables are cut so that each worker has several chunks", "[load]") {
  const auto chunks = plan_chunks({extent(65536)}, {4, true});  // 512 MB
  CHECK(chunks.size() == 16);
  CHECK(plan_chunks({extent(655360)}, {4, true}).size() == 40);  // 5 GB, at 128 MB
  CHECK(plan_chunks({extent(512)}, {4, true}).size() == 1);      // 4 MB
}

TEST_CASE("wide values out of line make chunks of fewer pages", "[load]") {
  const auto chunks = plan_chunks({extent(1024, 1LL << 30)}, {1, true});
  CHECK(chunks.size() == 8);
  const std::vector<Extent> tiny{extent(1, 10LL << 30)};  // Not less than a page.
  check_cover(tiny, plan_chunks(tiny, {1, true}));
}

TEST_CASE("without range scans every relation is one chunk", "[load]") {
  const auto chunks = plan_chunks({extent(99991), extent(5)}, {4, false});
  REQUIRE(chunks.size() == 2);
  CHECK(pages_condition(chunks[0]) == "true");
}

TEST_CASE("the condition names its bounds as tids", "[load]") {
  Chunk chunk;
  chunk.first_page = 7;
  chunk.end_page = 9;
  CHECK(pages_condition(chunk) ==
        "ctid OPERATOR(pg_catalog.>=) '(7,0)'::pg_catalog.tid AND "
        "ctid OPERATOR(pg_catalog.<) '(9,0)'::pg_catalog.tid");
}
