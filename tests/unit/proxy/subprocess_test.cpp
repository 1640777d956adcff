#include "proxy/pg/subprocess.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <catch2/catch.hpp>
#include <exception>

using namespace pgjanus;
using pg::SubprocessResult;

namespace {

SubprocessResult run(std::vector<std::string> argv, std::string input = {},
                     std::map<std::string, std::string> environment = {},
                     pg::Duration limit = pg::Duration{20'000}) {
  boost::asio::io_context context;
  SubprocessResult result;
  boost::asio::co_spawn(
      context, pg::run_program(std::move(argv), std::move(environment), std::move(input), limit),
      [&result](std::exception_ptr error, SubprocessResult ended) {
        if (error) std::rethrow_exception(error);
        result = std::move(ended);
      });
  context.run();
  return result;
}

}  // namespace

TEST_CASE("a program gets its input and environment, and its output and status come back",
          "[subprocess]") {
  const auto echo = run({"cat"}, "abc\n");
  CHECK(echo.ok());
  CHECK(echo.out == "abc\n");
  const auto both = run({"sh", "-c", "echo $SAYS; echo bad >&2; exit 3"}, "", {{"SAYS", "hello"}});
  CHECK_FALSE(both.ok());
  CHECK(both.status == 3);
  CHECK(both.out == "hello\n");
  CHECK(both.describe("sh") == "sh failed with exit status 3: bad");
}

TEST_CASE("more bytes than a pipe holds pass in both directions at once", "[subprocess]") {
  const std::string big(5 << 20, 'x');
  CHECK(run({"cat"}, big).out == big);
  CHECK(run({"true"}, big).ok());  // Its input is not read: no SIGPIPE for us, no hang.
}

TEST_CASE("a program that is not there is a sentence, not an exception", "[subprocess]") {
  const auto result = run({"pgjanus-no-such-program"});
  CHECK_FALSE(result.ok());
  CHECK(result.describe("pgjanus-no-such-program") == "pgjanus-no-such-program: not found on PATH");
}

TEST_CASE("a program inherits none of our descriptors", "[subprocess]") {
  // A listening socket that survived in pg_dump kept the next pgjanus from starting.
  const int inheritable = ::dup(2);
  REQUIRE(inheritable > 2);
  const auto path = "/proc/self/fd/" + std::to_string(inheritable);
  CHECK(run({"test", "-e", "/proc/self/fd/2"}).status == 0);
  CHECK(run({"test", "-e", path}).status == 1);
  ::close(inheritable);
}

TEST_CASE("past the limit a program is killed with what it started", "[subprocess]") {
  const auto result = run({"sh", "-c", "sleep 600 & echo $!; wait"}, "", {}, pg::Duration{300});
  CHECK(result.timed_out);
  CHECK(result.signal == SIGKILL);
  CHECK_FALSE(result.ok());
}

TEST_CASE("a program does not outlive the coroutine that waits for it", "[subprocess]") {
  {
    boost::asio::io_context context;
    boost::asio::co_spawn(
        context, pg::run_program({"sh", "-c", "exec sleep 600"}, {}, "", pg::Duration{600'000}),
        [](std::exception_ptr, SubprocessResult) {});
    context.poll();
    boost::asio::steady_timer timer{context, std::chrono::milliseconds{50}};
    timer.async_wait([&](const boost::system::error_code&) { context.stop(); });
    context.run();
  }
  // No child of this process is left: it was killed and reaped.
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("passwords never stand in a program's arguments", "[subprocess]") {
  ConnectionParameters parameters;
  parameters.values = {{"host", "h"}, {"user", "o'x"}, {"password", "s3cret"}, {"dbname", "d"}};
  const auto connection = pg::for_program(parameters);
  CHECK(connection.dbname.find("s3cret") == std::string::npos);
  CHECK(connection.dbname.find("user='o\\'x'") != std::string::npos);
  CHECK(connection.environment.at("PGPASSWORD") == "s3cret");
}
