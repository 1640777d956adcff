#include "router/class_cache.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace pgjanus;

namespace {

std::shared_ptr<const Catalog> knowing(const std::string& table) {
  return std::make_shared<const Catalog>(Catalog{{}, {}, {table}, {}});
}

}  // namespace

TEST_CASE("a text is kept when it comes again, not before", "[router][classify]") {
  ClassCache cache;
  const auto catalog = knowing("t");
  CHECK(cache.classify("SELECT * FROM t", catalog).kind == StatementKind::read);
  CHECK(cache.entries() == 0);
  CHECK(cache.classify("SELECT * FROM t", catalog).kind == StatementKind::read);
  CHECK(cache.entries() == 1);
  CHECK(cache.classify("SELECT * FROM t", catalog).kind == StatementKind::read);
  CHECK(cache.entries() == 1);
}

TEST_CASE("texts that differ in constants are one", "[router][classify]") {
  ClassCache cache;
  const auto catalog = knowing("t");
  for (int i = 0; i < 10; ++i) {
    const auto text = "SELECT * FROM t WHERE a = " + std::to_string(i) + " AND b = 'x" + std::to_string(i) + "'";
    CHECK(cache.classify(text, catalog).kind == StatementKind::read);
  }
  CHECK(cache.entries() == 1);
  CHECK(cache.classify("SELECT * FROM t WHERE a = 1 AND b = 'x' FOR UPDATE", catalog).kind == StatementKind::other);
}

TEST_CASE("another catalog, another answer", "[router][classify]") {
  ClassCache cache;
  const auto before = knowing("t");
  for (int i = 0; i < 3; ++i) {
    CHECK(cache.classify("SELECT * FROM t", before).kind == StatementKind::read);
  }
  CHECK(cache.classify("SELECT * FROM t", knowing("u")).kind == StatementKind::other);
  CHECK(cache.classify("SELECT * FROM t", knowing("t")).kind == StatementKind::read);
}

TEST_CASE("memory stays below the limit, and what is used stays longest", "[router][classify]") {
  ClassCache cache{4096};
  const auto catalog = knowing("t");
  const std::string favourite = "SELECT 1 FROM t";
  for (int i = 0; i < 200; ++i) {
    const auto text = "SELECT c" + std::to_string(i) + " FROM t";
    for (int k = 0; k < 2; ++k) (void)cache.classify(text, catalog);
    (void)cache.classify(favourite, catalog);
    CHECK(cache.bytes() <= 4096);
  }
  CHECK(cache.entries() > 5);
  const auto entries = cache.entries();
  (void)cache.classify(favourite, catalog);
  CHECK(cache.entries() == entries);
}

TEST_CASE("long texts are answered and not kept", "[router][classify]") {
  ClassCache cache;
  const auto catalog = knowing("t");
  const auto text = "SELECT * FROM t -- " + std::string(ClassCache::text_bytes_max, 'x');
  for (int i = 0; i < 3; ++i) {
    CHECK(cache.classify(text, catalog).kind == StatementKind::read);
  }
  CHECK(cache.entries() == 0);
}
