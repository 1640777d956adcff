#include <catch2/catch.hpp>

#include "proxy/admin/progress.hpp"
#include "proxy/load/progress_line.hpp"

using namespace pgjanus;

TEST_CASE("a load's line has share, rows, bytes, rate and time left", "[load][progress]") {
  LoadProgress load;
  load.rows_done = 1000;
  load.bytes_done = 25 << 20;
  load.bytes_total = 100 << 20;
  load.rows_per_second = 500;
  load.bytes_per_second = 5 << 20;
  load.step = "rows";
  const auto line = load_progress_line(load);
  CHECK(line == "25%, 1000 rows, 25.0 MB of 100.0 MB, 500 rows/s, 15 s left, rows");
  CHECK(admin::share_in(line) == Approx(0.25));
}

TEST_CASE("what is not known is not in the line", "[load][progress]") {
  LoadProgress load;
  load.rows_done = 1;
  load.bytes_done = 10;
  load.waiting = "a lock";
  CHECK(load_progress_line(load) == "1 rows, 10 B, 0 rows/s; waits for a lock");
}
