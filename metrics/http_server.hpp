#pragma once
// A small HTTP server for probes, scrapes and one page.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

namespace pgjanus::metrics {

struct Response {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string security_policy;  // Content-Security-Policy; empty: "default-src 'none'".
};

/// Called once, from any thread, with the answer; later calls do nothing.
using Reply = std::function<void(Response)>;
/// Called on the server's thread for GET and HEAD of its path. It must not block: it hands the
/// question on and calls `reply` when it knows. No answer within `Limits::answer` is a 503, so a
/// program that no longer turns fails its probes instead of holding them.
using Handler = std::function<void(Reply reply)>;
/// By path, without query string.
using Handlers = std::map<std::string, Handler>;

struct Limits {
  std::size_t connections = 64;  // Beyond it connections are closed unread.
  std::uint32_t header_bytes = 8192;
  std::chrono::milliseconds idle{60'000};   // Between the requests of a connection.
  std::chrono::milliseconds request{10'000};  // To read a whole request, or to write an answer.
  std::chrono::milliseconds answer{2'000};  // For a handler.
};

/// Could not bind: says what and why.
struct HttpError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Serves on a thread of its own from construction to destruction. GET and HEAD only; anything
/// else is 405, an unknown path 404; a body of a request is not read, and ends the connection.
class HttpServer {
 public:
  /// Binds before it returns. `port` 0 takes a free one. Throws HttpError.
  HttpServer(const std::string& host, std::uint16_t port, Handlers handlers, Limits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  [[nodiscard]] std::uint16_t port() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgjanus::metrics
