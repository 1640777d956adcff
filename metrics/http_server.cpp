// The only file that includes Beast.

#include "metrics/http_server.hpp"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>

namespace pgjanus::metrics {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

/// Where an answer arrives; used on the server's thread only.
struct Pending {
  explicit Pending(const asio::any_io_executor& executor) : arrived{executor} {}
  std::optional<Response> response;
  asio::steady_timer arrived;
};

/// What a handler keeps. It may answer after the server has gone: `io` then only holds memory, and
/// is let go last (members end in reverse order).
struct ReplyTo {
  std::shared_ptr<asio::io_context> io;
  std::shared_ptr<Pending> pending;

  void operator()(Response response) const {
    asio::post(*io, [pending = pending, response = std::move(response)]() mutable {
      if (pending->response) return;
      pending->response = std::move(response);
      pending->arrived.cancel();
    });
  }
};

http::response<http::string_body> to_http(Response answer, unsigned version, bool head) {
  http::response<http::string_body> response{static_cast<http::status>(answer.status), version};
  response.set(http::field::content_type, answer.content_type);
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  response.set("Referrer-Policy", "no-referrer");
  response.set("Content-Security-Policy",
               answer.security_policy.empty() ? "default-src 'none'" : answer.security_policy);
  if (answer.status == 405) response.set(http::field::allow, "GET, HEAD");
  response.body() = std::move(answer.body);
  response.prepare_payload();
  if (head) {  // The length that GET would have, and no body (RFC 9110, section 9.3.2).
    const auto size = response.body().size();
    response.body().clear();
    response.content_length(size);
  }
  return response;
}

}  // namespace

struct HttpServer::Impl {
  Impl(const std::string& host, std::uint16_t port, Handlers h, Limits l);
  void stop();
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> serve(beast::tcp_stream stream);
  asio::awaitable<Response> answer(http::verb method, std::string path);

  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>(1);
  tcp::acceptor acceptor{*io};
  Handlers handlers;
  Limits limits;
  std::size_t connections = 0;
  std::uint16_t bound_port = 0;
  std::thread thread;
};

HttpServer::Impl::Impl(const std::string& host, std::uint16_t port, Handlers h, Limits l)
    : handlers{std::move(h)}, limits{l} {
  boost::system::error_code error;
  const auto fail = [&] {
    throw HttpError{"cannot serve HTTP on " + host + ':' + std::to_string(port) + ": " +
                    error.message()};
  };
  tcp::resolver resolver{*io};
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) fail();
  const auto endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (error) fail();
  acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
  acceptor.bind(endpoint, error);
  if (error) fail();
  acceptor.listen(64, error);
  if (error) fail();
  bound_port = acceptor.local_endpoint().port();
  asio::co_spawn(*io, accept_loop(), [](std::exception_ptr) {});  // Ends only with the server.
  thread = std::thread{[this] { io->run(); }};
}

void HttpServer::Impl::stop() {
  io->stop();
  if (thread.joinable()) thread.join();
}

asio::awaitable<void> HttpServer::Impl::accept_loop() {
  while (true) {
    auto [error, socket] = co_await acceptor.async_accept(as_tuple);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // Out of descriptors and the like: wait for some to come free.
      asio::steady_timer pause{*io, std::chrono::milliseconds{100}};
      auto [ignored] = co_await pause.async_wait(as_tuple);
      static_cast<void>(ignored);
      continue;
    }
    if (connections >= limits.connections) continue;  // The socket closes here.
    ++connections;
    asio::co_spawn(*io, serve(beast::tcp_stream{std::move(socket)}),
                   [this](std::exception_ptr) { --connections; });  // A bug ends one connection.
  }
}

asio::awaitable<void> HttpServer::Impl::serve(beast::tcp_stream stream) {
  beast::flat_buffer buffer{limits.header_bytes * 2};
  auto patience = limits.request;  // A fresh connection has no reason to be silent for long.
  while (true) {
    http::request_parser<http::empty_body> parser;
    parser.header_limit(limits.header_bytes);
    stream.expires_after(patience);
    auto [error, size] = co_await http::async_read_header(stream, buffer, parser, as_tuple);
    if (error == http::error::end_of_stream || error == beast::error::timeout) break;
    const auto version = error ? 11U : parser.get().version();
    Response response;
    bool keep = false, head = false;
    if (error == http::error::header_limit) {
      response = {431, response.content_type, "the request is too large\n", {}};
    } else if (error) {
      response = {400, response.content_type, "this is no HTTP request\n", {}};
    } else {
      const auto& request = parser.get();
      // A body is never read: what follows it could not be told from it, so the connection ends.
      keep = request.keep_alive() && parser.is_done();
      head = request.method() == http::verb::head;
      std::string path{request.target()};
      path.resize(std::min(path.find('?'), path.size()));
      auto answered = co_await answer(request.method(), std::move(path));
      response = std::move(answered);
    }
    auto message = to_http(std::move(response), version, head);
    message.keep_alive(keep);
    http::response_serializer<http::string_body> serializer{message};
    if (head) serializer.split(true);
    stream.expires_after(limits.request);
    if (head) {
      auto [wrong, written] = co_await http::async_write_header(stream, serializer, as_tuple);
      if (wrong) break;
    } else {
      auto [wrong, written] = co_await http::async_write(stream, serializer, as_tuple);
      if (wrong) break;
    }
    if (!keep) break;
    patience = limits.idle;
  }
  boost::system::error_code ignored;  // The peer may have closed already.
  stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

asio::awaitable<Response> HttpServer::Impl::answer(http::verb method, std::string path) {
  Response none;
  if (method != http::verb::get && method != http::verb::head) {
    none.status = 405;
    none.body = "GET and HEAD only\n";
    co_return none;
  }
  const auto handler = handlers.find(path);
  if (handler == handlers.end()) {
    none.status = 404;
    none.body = "there are /, /status, /metrics, /healthz and /readyz\n";
    co_return none;
  }
  const auto pending = std::make_shared<Pending>(io->get_executor());
  pending->arrived.expires_after(limits.answer);
  handler->second(ReplyTo{io, pending});
  auto [ignored] = co_await pending->arrived.async_wait(as_tuple);
  static_cast<void>(ignored);
  if (pending->response) co_return std::move(*pending->response);
  none.status = 503;
  none.body = "no answer in time\n";
  co_return none;
}

HttpServer::HttpServer(const std::string& host, std::uint16_t port, Handlers handlers,
                       Limits limits)
    : impl_{std::make_unique<Impl>(host, port, std::move(handlers), limits)} {}

HttpServer::~HttpServer() { impl_->stop(); }

std::uint16_t HttpServer::port() const noexcept { return impl_->bound_port; }

}  // namespace pgjanus::metrics
