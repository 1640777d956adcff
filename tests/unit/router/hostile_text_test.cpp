// Texts that would overflow the stack of a parser that trusts them (design.md section 10).

#include <pthread.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "router/classify.hpp"
#include "router/parse_tree.hpp"

using namespace pgjanus;

namespace {

/// Runs on a thread with a stack of this many bytes, as a worker thread has it.
void on_stack(std::size_t bytes, std::function<void()> work) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, bytes) == 0);
  pthread_t thread{};
  const auto enter = [](void* task) -> void* {
    (*static_cast<std::function<void()>*>(task))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, enter, &work) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
}

std::string repeat(std::string_view part, std::size_t times) {
  std::string text;
  for (std::size_t i = 0; i < times; ++i) text += part;
  return text;
}

struct Nest {
  std::string name, before, open, middle, close, after;
  [[nodiscard]] std::string text(std::size_t levels) const {
    return before + repeat(open, levels) + middle + repeat(close, levels) + after;
  }
  /// As deep as fits into so many bytes.
  [[nodiscard]] std::string fill(std::size_t bytes) const {
    return text((bytes - before.size() - middle.size() - after.size()) /
                (open.size() + close.size()));
  }
};

const std::vector<Nest>& nests() {
  static const std::vector<Nest> all{
      {"parentheses", "SELECT ", "(", "1", ")", ""},
      {"open parentheses", "SELECT ", "(", "", "", ""},
      {"sums", "SELECT 1", "+1", "", "", ""},
      {"sums between strings", "SELECT ','", "+','", "", "", ""},
      {"signs", "SELECT ", "+", "1", "", ""},
      {"spaced signs", "SELECT ", "- ", "a", "", ""},
      {"concatenations", "SELECT a", "||a", "", "", ""},
      {"NOT", "SELECT ", "NOT ", "true", "", ""},
      {"AND", "SELECT a", " AND a", "", "", ""},
      {"AND of OR", "SELECT a", " AND a OR a", "", "", ""},
      {"CASE", "SELECT ", "CASE WHEN a THEN ", "1", " END", ""},
      {"CASE with a column called end", "SELECT ", "CASE WHEN a.end THEN ", "1", " END", ""},
      {"UNION", "SELECT 1,1", " UNION SELECT 1,1", "", "", ""},
      {"EXCEPT ALL", "SELECT 1", " EXCEPT ALL SELECT 1", "", "", ""},
      {"joins", "SELECT FROM a", " JOIN a ON b", "", "", ""},
      {"cross joins", "SELECT FROM a", " CROSS JOIN a", "", "", ""},
      {"sub-selects", "SELECT ", "(SELECT ", "1", ")", ""},
      {"sub-selects in FROM", "", "SELECT FROM (", "SELECT 1", ") a", ""},
      {"arrays", "SELECT ARRAY", "[", "1", "]", ""},
      {"subscripts", "SELECT a", "[1]", "", "", ""},
      {"nested subscripts", "SELECT ", "a[", "1", "]", ""},
      {"calls", "SELECT ", "f(", "1", ")", ""},
      {"calls with lists", "SELECT ", "f(1,", "1", ",1)", ""},
      {"casts", "SELECT a", "::a", "", "", ""},
      {"IS NULL", "SELECT a", " IS NULL", "", "", ""},
      {"BETWEEN and IS", "SELECT a", " BETWEEN 1 AND 2 IS NULL", "", "", ""},
      {"COLLATE", "SELECT a", " COLLATE c", "", "", ""},
      {"EXISTS", "SELECT ", "EXISTS (SELECT ", "1", ")", ""},
      {"IN", "SELECT ", "1 IN (", "1", ")", ""},
      {"rows", "SELECT ", "ROW(", "1", ")", ""},
      {"WITH", "", "WITH a AS (", "SELECT 1", ") SELECT 1", ""},
      {"function bodies", "", "CREATE FUNCTION f() RETURNS a BEGIN ATOMIC ", "SELECT 1;", "END;",
       ""},
      {"parted function bodies", "", "CREATE FUNCTION f() RETURNS a BEGIN ATOMIC SELECT 1,1;", "",
       "END;", ""},
      {"comments", "SELECT ", "/*", "", "*/", "1"},
      {"many columns", "SELECT 1", ",1", "", "", ""},
      {"many rows", "VALUES (1)", ",(1)", "", "", ""},
      {"many statements", "", "SELECT 1;", "", "", ""},
      {"AT TIME ZONE", "SELECT a", " AT TIME ZONE b", "", "", ""},
      {"fields", "SELECT (a)", ".b", "", "", ""},
  };
  return all;
}

}  // namespace

TEST_CASE("hostile texts of any depth are answered within half of a thread's stack",
          "[router][classify]") {
  const Catalog none;
  for (const auto& nest : nests()) {
    // The deepest that is parsed without counting, just past it, and all that the cap lets through.
    for (const auto bytes :
         {parse_depth_max, parse_depth_max + 60, std::size_t{4'000}, classify_bytes_max}) {
      const auto text = nest.fill(bytes);
      INFO(nest.name << ", " << text.size() << " bytes");
      StatementClass found;
      on_stack(4 * 1024 * 1024, [&] { found = classify(text, none); });
      CHECK(found.kind != StatementKind::finish);
    }
  }
}

TEST_CASE("flat texts are classified however long their lists are", "[router][classify]") {
  const Catalog names{{}, {}, {"t"}, {}};
  const auto kind = [&names](const std::string& text) { return classify(text, names).kind; };
  CHECK(kind("SELECT * FROM t WHERE a IN (1" + repeat(",-1", 5'000) + ")") == StatementKind::read);
  CHECK(kind("INSERT INTO t VALUES (1)" + repeat(",(-1,'a'||'b')", 1'000)) == StatementKind::write);
  CHECK(kind("SELECT * FROM t WHERE a = 1" + repeat(" OR a = 1", 200)) == StatementKind::read);
  CHECK(kind("SELECT '" + repeat("( , ", 3'000) + "' FROM t") == StatementKind::read);
}

TEST_CASE("what classify costs", "[.measure]") {
  const Catalog names{{"count"}, {}, {"t", "u"}, {}};
  const std::vector<std::string> texts{
      "SELECT abalance FROM t WHERE aid = $1",
      "UPDATE t SET abalance = abalance + $1 WHERE aid = $2",
      "SELECT t.a, t.b, count(*) FROM t JOIN u USING (id) LEFT JOIN u v ON v.id = t.id WHERE "
      "t.a = $1 AND u.b IN ($2, $3, $4) GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 3 LIMIT 10",
      "BEGIN",
  };
  using Milliseconds = std::chrono::duration<double, std::milli>;
  for (const auto& text : texts) {
    constexpr int rounds = 2'000;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) (void)classify(text, names);
    const Milliseconds took = std::chrono::steady_clock::now() - start;
    std::printf("%8.1f us for %s\n", took.count() * 1000 / rounds, text.c_str());
  }
  for (const auto& nest : nests()) {
    const auto text = nest.fill(classify_bytes_max);
    const auto start = std::chrono::steady_clock::now();
    (void)classify(text, names);
    const Milliseconds took = std::chrono::steady_clock::now() - start;
    std::printf("%-32s %8.2f ms for %zu bytes\n", nest.name.c_str(), took.count(), text.size());
  }
}

TEST_CASE("stack use of one level, by kind of nesting", "[.measure]") {
  const Catalog none;
  for (const auto& nest : nests()) {
    const auto text = nest.fill(parse_depth_max);
    std::size_t needed = 0;
    // The smallest stack that survives cannot be probed without dying, so paint and look.
    std::vector<unsigned char> stack(16 * 1024 * 1024, 0xa5);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack.data(), stack.size());
    pthread_t thread{};
    std::function<void()> work = [&] { (void)classify(text, none); };
    pthread_create(
        &thread, &attributes,
        [](void* task) -> void* {
          (*static_cast<std::function<void()>*>(task))();
          return nullptr;
        },
        &work);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    std::size_t untouched = 0;
    while (untouched < stack.size() && stack[untouched] == 0xa5) ++untouched;
    needed = stack.size() - untouched;
    std::printf("%-32s %8zu bytes for %zu bytes of text\n", nest.name.c_str(), needed, text.size());
  }
}
