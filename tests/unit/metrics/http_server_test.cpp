#include "metrics/http_server.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>
#include <thread>

#include "metrics/dashboard.hpp"

using namespace pgjanus::metrics;
namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using namespace std::chrono_literals;

namespace {

class Client {
 public:
  explicit Client(const HttpServer& server) {
    socket_.connect({asio::ip::address_v4::loopback(), server.port()});
  }
  void send(const std::string& text) { asio::write(socket_, asio::buffer(text)); }
  /// Everything until the server closes.
  std::string rest() {
    std::string text;
    boost::system::error_code error;
    asio::read(socket_, asio::dynamic_buffer(text), error);
    return text;
  }

 private:
  asio::io_context io_;
  tcp::socket socket_{io_};
};

std::string ask(const HttpServer& server, const std::string& request) {
  Client client{server};
  client.send(request + "Host: x\r\nConnection: close\r\n\r\n");
  return client.rest();
}

Handlers hello() {
  return {{"/hello", [](const Reply& reply) { reply({200, "text/plain", "hello\n", {}}); }},
          {"/", [](const Reply& reply) { reply(dashboard()); }},
          {"/silent", [](const Reply&) {}},
          {"/elsewhere", [](Reply reply) {
             std::thread{[reply = std::move(reply)] { reply({503, "text/plain", "no\n", {}}); }}
                 .detach();
           }}};
}

}  // namespace

TEST_CASE("GET answers with body, HEAD with the same headers and none", "[http]") {
  HttpServer server{"127.0.0.1", 0, hello()};
  const auto get = ask(server, "GET /hello?x=1 HTTP/1.1\r\n");
  CHECK(get.starts_with("HTTP/1.1 200"));
  CHECK(get.ends_with("\r\n\r\nhello\n"));
  const auto head = ask(server, "HEAD /hello HTTP/1.1\r\n");
  CHECK(head.starts_with("HTTP/1.1 200"));
  CHECK(head.find("Content-Length: 6") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("anything but GET and HEAD is 405, an unknown path 404", "[http]") {
  HttpServer server{"127.0.0.1", 0, hello()};
  for (const std::string method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    const auto answer = ask(server, method + " /hello HTTP/1.1\r\nContent-Length: 0\r\n");
    CAPTURE(method);
    CHECK(answer.starts_with("HTTP/1.1 405"));
    CHECK(answer.find("Allow: GET, HEAD") != std::string::npos);
  }
  CHECK(ask(server, "POST / HTTP/1.1\r\nContent-Length: 9\r\n").starts_with("HTTP/1.1 405"));
  CHECK(ask(server, "GET /nothing HTTP/1.1\r\n").starts_with("HTTP/1.1 404"));
}

TEST_CASE("a connection serves several requests", "[http]") {
  HttpServer server{"127.0.0.1", 0, hello()};
  Client client{server};
  client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n"
              "Connection: close\r\n\r\n");
  const auto both = client.rest();
  CHECK(both.find("hello\n") != both.rfind("hello\n"));
}

TEST_CASE("what is no request is refused and bounded", "[http]") {
  Limits limits;
  limits.request = 200ms;
  HttpServer server{"127.0.0.1", 0, hello(), limits};
  CHECK(ask(server, "nonsense\r\n").starts_with("HTTP/1.1 400"));
  CHECK(ask(server, "GET /hello HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n")
            .starts_with("HTTP/1.1 431"));
  Client slow{server};
  slow.send("GET /hel");  // And never the rest: the server gives up.
  CHECK(slow.rest().empty());
  CHECK(ask(server, "GET /hello HTTP/1.1\r\n").starts_with("HTTP/1.1 200"));
}

TEST_CASE("a handler may answer from another thread, late, or never", "[http]") {
  Limits limits;
  limits.answer = 100ms;
  HttpServer server{"127.0.0.1", 0, hello(), limits};
  CHECK(ask(server, "GET /elsewhere HTTP/1.1\r\n").starts_with("HTTP/1.1 503"));
  CHECK(ask(server, "GET /silent HTTP/1.1\r\n").find("no answer in time") != std::string::npos);
}

TEST_CASE("an answer may come after the server has gone", "[http]") {
  Reply kept;
  std::atomic<bool> asked{false};
  {
    Limits limits;
    limits.answer = 50ms;
    HttpServer server{"127.0.0.1", 0,
                      {{"/", [&](Reply reply) {
                          kept = std::move(reply);
                          asked = true;
                        }}},
                      limits};
    (void)ask(server, "GET / HTTP/1.1\r\n");
    REQUIRE(asked);
  }
  kept({});
}

TEST_CASE("beyond the limit connections are closed unread", "[http]") {
  Limits limits;
  limits.connections = 1;
  HttpServer server{"127.0.0.1", 0, hello(), limits};
  Client first{server};
  first.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  Client second{server};
  CHECK(second.rest().empty());
}

TEST_CASE("a port that is taken is an error that names it", "[http]") {
  HttpServer server{"127.0.0.1", 0, hello()};
  CHECK_THROWS_WITH((HttpServer{"127.0.0.1", server.port(), hello()}),
                    Catch::Contains(std::to_string(server.port())));
}

TEST_CASE("the page loads nothing from elsewhere and carries its nonce", "[http]") {
  const auto page = dashboard();
  CHECK(page.body.find("@NONCE@") == std::string::npos);
  CHECK(page.body.find("http://") == std::string::npos);
  CHECK(page.body.find("https://") == std::string::npos);
  CHECK(page.body.find("innerHTML") == std::string::npos);
  const auto at = page.security_policy.find("nonce-");
  REQUIRE(at != std::string::npos);
  const auto nonce = page.security_policy.substr(at + 6, 32);
  CHECK(page.body.find("nonce=\"" + nonce + '"') != std::string::npos);
  CHECK(dashboard().security_policy != page.security_policy);
}
