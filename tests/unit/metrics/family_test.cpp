#include "metrics/family.hpp"

#include <catch2/catch.hpp>
#include <cstdio>
#include <limits>

using namespace pgjanus::metrics;

namespace {

const std::vector<Family> some{
    {"pgjanus_clients", "Clients.", Type::gauge, {{{{"database", "a\"b\\c\nd"}}, 3, {}, 0}}},
    {"pgjanus_batches_total", "Batches.", Type::counter, {{{}, 12, {}, 0}}},
    {"pgjanus_wait_seconds",
     "Waits.",
     Type::histogram,
     {{{{"side", "source"}}, 0, {{0.1, 1}, {std::numeric_limits<double>::infinity(), 3}}, 1.5}}},
    {"pgjanus_unknown", "Nothing known.", Type::gauge, {}},
};

}  // namespace

TEST_CASE("families come out in the text format", "[metrics]") {
  const auto text = render(some);
  CHECK(text.find("# TYPE pgjanus_clients gauge\n") != std::string::npos);
  CHECK(text.find(R"(pgjanus_clients{database="a\"b\\c\nd"} 3)") != std::string::npos);
  CHECK(text.find("pgjanus_batches_total 12\n") != std::string::npos);
  CHECK(text.find(R"(pgjanus_wait_seconds_bucket{side="source",le="0.1"} 1)") != std::string::npos);
  CHECK(text.find(R"(pgjanus_wait_seconds_bucket{side="source",le="+Inf"} 3)") !=
        std::string::npos);
  CHECK(text.find(R"(pgjanus_wait_seconds_count{side="source"} 3)") != std::string::npos);
  CHECK(text.find(R"(pgjanus_wait_seconds_sum{side="source"} 1.5)") != std::string::npos);
}

TEST_CASE("a family without samples is absent, not 0", "[metrics]") {
  CHECK(render(some).find("pgjanus_unknown") == std::string::npos);
}
