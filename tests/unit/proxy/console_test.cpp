// The admin socket over a real Unix-domain socket, with libpq at the other end.

#include "proxy/admin/console.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <future>
#include <thread>

#include "proxy/admin/socket.hpp"
#include "proxy/pg/admin_client.hpp"
#include "tests/unit/proxy/fakes/idle.hpp"
#include "wire/message.hpp"
#include "wire/startup.hpp"

using namespace pgjanus;
using namespace pgjanus::admin;
using namespace std::chrono_literals;
using test::NoMigration;
using test::NoSessions;
namespace asio = boost::asio;

namespace {

/// Waits until `done`, looking often; the caller's limit is the test's own.
asio::awaitable<void> until(std::function<bool()> done) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer{executor};
  while (!done()) {
    timer.expires_after(1ms);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// A migration with a slow load, a flip that only ends by being abandoned, and a difference.
class Fake final : public NoMigration {
 public:
  Fake() : NoMigration{"shop"} {}

  Awaited load(Caller caller, std::vector<std::string>) override {
    caller.progress("rows 1 of 2, 50%");
    ++loads_begun;
    co_await until([this] { return release.load(); });
    caller.progress("rows 2 of 2, 100%");
    ++loads_done;
    Outcome outcome;
    outcome.message = "in sync";
    co_return outcome;
  }
  Awaited flip(Caller caller, FlipOptions) override {
    ++flips;
    co_await until([&] { return caller.abandoned(); });
    Outcome outcome;
    outcome.ended = Ended::timed_out;
    outcome.message = "undone: the operator went away";
    flip_undone = true;
    co_return outcome;
  }
  Awaited verify(Caller caller, std::vector<std::string>, bool) override {
    peer = caller.peer;
    Outcome outcome;
    outcome.ended = Ended::differences;
    outcome.message = "1 difference in public.orders";
    outcome.hint = "REPAIR";
    outcome.document = {
        {"boundary", "5:5:"},
        {"tables", {{{"name", "public.orders"}, {"rows", 3}, {"differences", 1}}}},
        {"differences", nlohmann::json::array()}};
    co_return outcome;
  }
  Awaited retry(Caller) override { throw std::runtime_error{"no such luck"}; }
  Awaited show(std::string what) override {
    Outcome outcome;
    outcome.document = {{"columns", {"at", what}}, {"rows", {{"now", nullptr}}}};
    co_return outcome;
  }

  std::atomic<bool> release{false}, flip_undone{false};
  std::atomic<int> loads_begun{0}, loads_done{0}, flips{0};
  std::string peer;
};

class Running {
 public:
  Running() {
    std::filesystem::create_directory(directory);
    std::filesystem::permissions(directory, std::filesystem::perms{0750});
    claim.emplace(socket_path(directory, port));
    console.emplace(io, Parts{fake, &sessions, settings, {}, {}});
    console->listen(claim->path());
    thread = std::thread{[this] { io.run(); }};
  }
  ~Running() {
    io.stop();
    thread.join();
    console.reset();
    claim.reset();
    std::filesystem::remove_all(directory);
  }

  [[nodiscard]] pg::AdminClient client() {
    return pg::AdminClient{directory, port, [this](const std::string& text) {
                             notices.push_back(text);
                           }};
  }
  static bool never() { return false; }

  /// A raw connection, after start-up when `started`.
  [[nodiscard]] int raw() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    claim->path().copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return fd;
  }

  static constexpr std::uint16_t port = 6432;
  const std::string directory =
      (std::filesystem::temp_directory_path() /
       ("pgjanus-console-" + std::to_string(getpid()) + '-' +
        std::to_string(reinterpret_cast<std::uintptr_t>(this) & 0xFFFFF)))
          .string();
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  Fake fake;
  NoSessions sessions;
  Settings settings;
  std::optional<SocketClaim> claim;
  std::optional<Console> console;
  std::thread thread;
  std::vector<std::string> notices;
};

bool eventually(const std::function<bool()>& true_at_last) {
  const auto limit = std::chrono::steady_clock::now() + 10s;
  while (!true_at_last() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  return true_at_last();
}

void write_all(int fd, const wire::Bytes& bytes) {
  REQUIRE(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

/// Type bytes of messages up to the n-th ReadyForQuery, and everything that came.
std::string types_until_ready(int fd, int ready, std::string* all = nullptr) {
  std::string input, types;
  std::size_t at = 0;
  char chunk[4096];
  while (ready > 0) {
    const auto got = ::read(fd, chunk, sizeof chunk);
    if (got <= 0) break;
    input.append(chunk, static_cast<std::size_t>(got));
    while (at + 5 <= input.size()) {
      wire::FieldReader header{wire::as_bytes(std::string_view{input}.substr(at + 1, 4))};
      const auto size = static_cast<std::size_t>(header.int32()) + 1;
      if (at + size > input.size()) break;
      types += input[at];
      if (input[at] == 'Z') --ready;
      at += size;
    }
  }
  if (all) *all = input;
  return types;
}

int started(const Running& running) {
  const int fd = running.raw();
  wire::Bytes out;
  wire::encode_startup(out, {3, 0, {{"user", "me"}, {"database", "pgjanus"}}});
  write_all(fd, out);
  types_until_ready(fd, 1);
  return fd;
}

}  // namespace

TEST_CASE("a command answers with one JSON document", "[console]") {
  Running running;
  auto client = running.client();
  const auto result = client.run("show status json", Running::never);
  REQUIRE(result.document);
  CHECK_FALSE(result.failed);
  CHECK(nlohmann::json::parse(*result.document)["databases"][0]["database"] == "shop");
}

TEST_CASE("differences come as a document and as an error", "[console]") {
  Running running;
  auto client = running.client();
  const auto result = client.run("VERIFY JSON", Running::never);
  REQUIRE(result.document);
  CHECK(nlohmann::json::parse(*result.document)["tables"][0]["differences"] == 1);
  CHECK(result.failed);
  CHECK(result.sqlstate == "22000");
  CHECK(result.hint == "REPAIR");
  CHECK(running.fake.peer == "uid " + std::to_string(getuid()) + " pid " +
                                 std::to_string(getpid()));
  // The connection goes on.
  CHECK(client.run("SHOW VERSION JSON", Running::never).document);
  CHECK(client.run("RETRY JSON", Running::never).message == "no such luck");
  CHECK(client.run("FLY JSON", Running::never).sqlstate == "42601");
}

TEST_CASE("progress arrives while a load runs, and others are served meanwhile", "[console]") {
  Running running;
  auto client = running.client();
  auto load = std::async(std::launch::async,
                         [&] { return client.run("LOAD JSON", Running::never); });
  REQUIRE(eventually([&] { return running.fake.loads_begun == 1; }));
  std::vector<std::string> mine;
  pg::AdminClient other{running.directory, Running::port,
                        [&](const std::string& text) { mine.push_back(text); }};
  CHECK(other.run("SHOW LAG JSON", Running::never).document);
  running.fake.release = true;
  const auto result = load.get();
  CHECK_FALSE(result.failed);
  CHECK(nlohmann::json::parse(*result.document)["message"] == "in sync");
  CHECK(running.notices == std::vector<std::string>{"rows 1 of 2, 50%", "rows 2 of 2, 100%"});
  CHECK(mine.empty());
}

TEST_CASE("a cancelled load goes on in the proxy", "[console]") {
  Running running;
  auto client = running.client();
  const auto result =
      client.run("LOAD JSON", [&] { return running.fake.loads_begun == 1; });
  CHECK(result.sqlstate == "57014");
  CHECK(result.hint.find("goes on") != std::string::npos);
  CHECK(running.fake.loads_done == 0);
  running.fake.release = true;
  CHECK(eventually([&] { return running.fake.loads_done == 1; }));
  CHECK(client.run("SHOW VERSION JSON", Running::never).document);
}

TEST_CASE("a cancelled flip is abandoned and its true end reported", "[console]") {
  Running running;
  auto client = running.client();
  const auto result = client.run("CUTOVER JSON", [&] { return running.fake.flips == 1; });
  CHECK(result.sqlstate == "57014");
  CHECK(result.message == "undone: the operator went away");
}

TEST_CASE("a disconnect abandons the flip", "[console]") {
  Running running;
  const int fd = started(running);
  wire::Bytes out;
  wire::encode_query(out, "CUTOVER");
  write_all(fd, out);
  REQUIRE(eventually([&] { return running.fake.flips == 1; }));
  CHECK_FALSE(running.fake.flip_undone);
  close(fd);
  CHECK(eventually([&] { return running.fake.flip_undone.load(); }));
}

TEST_CASE("the extended protocol answers as drivers expect", "[console]") {
  Running running;
  const int fd = started(running);
  wire::Bytes out;
  const auto bind = [&](std::string_view portal, std::string_view statement) {
    wire::MessageWriter{out}.begin('B').cstring(portal).cstring(statement).int16(0).int16(0)
        .int16(0).end();
  };
  const auto execute = [&](std::string_view portal) {
    wire::MessageWriter{out}.begin('E').cstring(portal).int32(0).end();
  };
  wire::encode_parse(out, "s1", "SHOW VERSION", {});
  wire::encode_describe(out, 'S', "s1");
  bind("", "s1");
  wire::encode_describe(out, 'P', "");
  execute("");
  wire::encode_close(out, 'S', "s1");
  wire::encode_sync(out);
  write_all(fd, out);
  CHECK(types_until_ready(fd, 1) == "1tT2TDC3Z");

  out.clear();  // After an error everything is skipped until Sync.
  wire::encode_parse(out, "", "FLY", {});
  bind("", "");
  execute("");
  wire::encode_sync(out);
  wire::encode_parse(out, "", "BEGIN", {});
  bind("", "");
  wire::encode_describe(out, 'P', "");
  execute("");
  wire::encode_sync(out);
  write_all(fd, out);
  CHECK(types_until_ready(fd, 2) == "EZ12nCZ");

  out.clear();  // Columns that only the engine knows.
  wire::encode_parse(out, "", "SHOW EVENTS", {});
  wire::encode_describe(out, 'S', "");
  bind("", "");
  execute("");
  wire::encode_sync(out);
  write_all(fd, out);
  CHECK(types_until_ready(fd, 1) == "1tT2DCZ");
  close(fd);
}

TEST_CASE("several statements in one query, and the block's status byte", "[console]") {
  Running running;
  const int fd = started(running);
  wire::Bytes out;
  wire::encode_query(out, "BEGIN; SHOW VERSION; SELECT 1");
  wire::encode_query(out, "COMMIT");
  wire::encode_query(out, "");
  write_all(fd, out);
  std::string all;
  CHECK(types_until_ready(fd, 3, &all) == "CTDCTDCZCZIZ");
  CHECK(all.ends_with('I'));
  close(fd);
}

TEST_CASE("SSLRequest is declined, other databases and nonsense refused", "[console]") {
  Running running;
  const int fd = running.raw();
  wire::Bytes out;
  wire::encode_ssl_request(out);
  write_all(fd, out);
  char answer = 0;
  REQUIRE(::read(fd, &answer, 1) == 1);
  CHECK(answer == 'N');
  out.clear();
  wire::encode_startup(out, {3, 0, {{"user", "me"}, {"database", "shop"}}});
  write_all(fd, out);
  std::string all;
  CHECK(types_until_ready(fd, 1, &all) == "E");
  CHECK(all.find("3D000") != std::string::npos);
  close(fd);
  const int noise = running.raw();
  REQUIRE(::write(noise, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
  CHECK(types_until_ready(noise, 1).empty());
  close(noise);
}

TEST_CASE("a command that is too long ends the connection, not the proxy", "[console]") {
  Running running;
  const int fd = started(running);
  wire::Bytes out;
  wire::encode_query(out, "CHECK " + std::string(70'000, 'x'));
  static_cast<void>(::send(fd, out.data(), out.size(), MSG_NOSIGNAL));
  CHECK(types_until_ready(fd, 1) == "E");
  close(fd);
  auto client = running.client();
  CHECK(client.run("SHOW VERSION JSON", Running::never).document);
}

TEST_CASE("one process has a socket, and a dead one's is replaced", "[console]") {
  Running running;
  CHECK_THROWS_WITH(SocketClaim{running.claim->path()}, Catch::Contains("already serves"));
  CHECK(live_sockets(running.directory).size() == 1);
  const auto found = find_proxy({running.directory, {}}, process_environment());
  CHECK(found.port == Running::port);
  // From deep down: with its dots the path would not fit into a socket's address.
  const auto before = std::filesystem::current_path();
  const auto deep = std::filesystem::path(running.directory) / std::string(60, 'a') / std::string(60, 'b');
  std::filesystem::create_directories(deep);
  std::filesystem::current_path(deep);
  const auto relative = std::filesystem::relative(running.directory).string();
  CHECK(find_proxy({relative, std::nullopt}, process_environment()).directory == running.directory);
  std::filesystem::current_path(before);
  CHECK_THROWS_WITH((find_proxy({running.directory, 7}, process_environment())),
                    Catch::Contains("no running pgjanus"));

  const auto stale = socket_path(running.directory, 7000);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  stale.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  close(fd);  // As a killed process leaves it.
  CHECK(live_sockets(running.directory).size() == 1);
  { const SocketClaim claim{stale}; }
  CHECK_FALSE(std::filesystem::exists(stale));
  CHECK_FALSE(std::filesystem::exists(stale + ".lock"));
}

TEST_CASE("a directory of the socket is ours alone", "[console]") {
  const auto path = (std::filesystem::temp_directory_path() /
                     ("pgjanus-dir-" + std::to_string(getpid())))
                        .string();
  accept_directory(path);
  CHECK(std::filesystem::status(path).permissions() == std::filesystem::perms{0750});
  CHECK(choose_directory(std::filesystem::relative(path).string(), process_environment()).front() == '/');
  std::filesystem::permissions(path, std::filesystem::perms{0777});
  CHECK_THROWS_WITH(accept_directory(path), Catch::Contains("0750"));
  std::filesystem::remove(path);
  CHECK_THROWS_AS(accept_directory("/nowhere/at/all"), SettingsError);
}
