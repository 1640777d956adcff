// Reaching a server: address, TLS by sslmode, cancel requests.

#include <openssl/rand.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "proxy/log.hpp"
#include "proxy/session/server.hpp"
#include "wire/scram.hpp"

namespace pgjanus {

using tcp = asio::ip::tcp;
using Failure = std::optional<wire::ErrorFields>;

namespace {

wire::ErrorFields cannot_connect(Side side, const ConnectionParameters& parameters,
                                 std::string_view why) {
  return wire::make_error("FATAL", "57P03",
                          "cannot connect to the " + std::string{to_string(side)} + " database (" +
                              parameters.describe() + "): " + std::string{why});
}

std::string chosen_host(const ConnectionParameters& parameters) {
  auto host = parameters.get("hostaddr");
  if (host.empty()) host = parameters.get("host");
  // libpq's default on Debian: the local socket.
  return host.empty() ? std::string{"/var/run/postgresql"} : host;
}

asio::awaitable<boost::system::error_code> dial_unix(asio::any_io_executor executor,
                                                     std::string path,
                                                     std::unique_ptr<Stream>& out) {
  using local = asio::local::stream_protocol;
  if (path.size() >= sizeof(sockaddr_un::sun_path)) co_return asio::error::name_too_long;
  local::socket socket{executor};
  const local::endpoint endpoint{path};
  const auto connected = co_await socket.async_connect(endpoint, awaiting);
  const auto failed = std::get<0>(connected);
  if (!failed) out = std::make_unique<Stream>(Stream::Socket{std::move(socket)});
  co_return failed;
}

asio::awaitable<boost::system::error_code> dial_tcp(asio::any_io_executor executor,
                                                    std::string host, std::string port,
                                                    std::unique_ptr<Stream>& out) {
  tcp::socket socket{executor};
  boost::system::error_code failed;
  const auto address = asio::ip::make_address(host, failed);
  if (!failed) {
    const tcp::endpoint endpoint{address, static_cast<std::uint16_t>(std::stoul(port))};
    const auto connected = co_await socket.async_connect(endpoint, awaiting);
    failed = std::get<0>(connected);
  } else {
    tcp::resolver resolver{executor};
    const auto resolved = co_await resolver.async_resolve(host, port, awaiting);
    failed = std::get<0>(resolved);
    if (failed) co_return failed;
    const auto connected = co_await asio::async_connect(socket, std::get<1>(resolved), awaiting);
    failed = std::get<0>(connected);
  }
  if (failed) co_return failed;
  out = std::make_unique<Stream>(Stream::Socket{std::move(socket)});
  out->tune();
  co_return failed;
}

}  // namespace

asio::awaitable<Failure> Server::dial(const ConnectionParameters& parameters) {
  const auto host = chosen_host(parameters);
  const auto port = parameters.get("port", "5432");
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos)
    co_return cannot_connect(side, parameters, "the port is no number");
  boost::system::error_code failed;
  if (host.front() == '/') {
    failed = co_await dial_unix(executor_, host + "/.s.PGSQL." + port, stream);
  } else {
    failed = co_await dial_tcp(executor_, host, port, stream);
  }
  if (failed) co_return cannot_connect(side, parameters, failed.message());
  co_return std::nullopt;
}

asio::awaitable<Failure> Server::encrypt(const ConnectionParameters& parameters, ServerTls& tls,
                                         SslMode mode) {
  wire::Bytes request;
  wire::encode_ssl_request(request);
  bool open = co_await stream->write_all(request);
  std::uint8_t reply = 0;
  // Exactly one byte: anything that follows it before the handshake is not the server's
  // (CVE-2021-23222), and OpenSSL will refuse it as no TLS record.
  if (open) open = co_await stream->read_exactly({&reply, 1});
  if (!open) co_return cannot_connect(side, parameters, "connection closed");
  if (reply == 'N' && mode == SslMode::prefer) co_return std::nullopt;
  if (reply != 'S')
    co_return cannot_connect(side, parameters, "the server does not support TLS, sslmode asks for it");
  std::string problem;
  const auto host = parameters.get("host");
  // Without a name OpenSSL would verify none, and so any certificate of the authority would do.
  if (mode == SslMode::verify_full && host.empty())
    problem = "sslmode=verify-full compares the certificate with host, and only hostaddr is given";
  SslContext context;
  if (problem.empty()) context = tls.context(parameters, mode, problem);
  if (context) {
    const auto shown = parameters.get("sslsni") == "0" ? ServerName::hidden : ServerName::sent;
    problem = co_await stream->connect_tls(context.get(), host, shown, mode == SslMode::verify_full);
    if (problem.find("certificate verify failed") != std::string::npos)
      problem += " (roots: " + parameters.get("sslrootcert") + ")";
  }
  if (!problem.empty()) {
    tls_failed_ = true;
    co_return cannot_connect(side, parameters, problem);
  }
  encrypted_ = true;
  co_return std::nullopt;
}

asio::awaitable<Failure> Server::attempt(const ServerLogin& login, ServerTls& tls,
                                         bool encrypted) {
  close();
  encrypted_ = tls_failed_ = false;
  auto failure = co_await dial(login.parameters);
  if (failure) co_return failure;
  const auto mode = ssl_mode_from(login.parameters.get("sslmode"));
  if (encrypted && chosen_host(login.parameters).front() != '/') {
    failure = co_await encrypt(login.parameters, tls, mode.value_or(SslMode::prefer));
    if (failure) co_return failure;
  }
  failure = co_await authenticate(login, tls);
  co_return failure;
}

/// Tries what sslmode allows, in libpq's order.
asio::awaitable<Failure> Server::reach(const ServerLogin& login, ServerTls& tls, SslMode mode) {
  auto failure = co_await attempt(login, tls, mode != SslMode::disable && mode != SslMode::allow);
  if (!failure || late_) co_return failure;
  // `prefer` tries without TLS when the server refused us with it or the handshake failed, unless we
  // are to be bound to a certificate; `allow` with it when the server refused us without.
  const bool refused = failure->sqlstate() == "28000";
  const bool plainly = login.parameters.get("channel_binding") != "require";
  if (mode == SslMode::prefer && plainly && (tls_failed_ || (refused && encrypted_)))
    failure = co_await attempt(login, tls, false);
  else if (mode == SslMode::allow && refused)
    failure = co_await attempt(login, tls, true);
  co_return failure;
}

asio::awaitable<Failure> Server::open(ServerLogin login, ServerTls& tls) {
  const auto mode = ssl_mode_from(login.parameters.get("sslmode"));
  if (!mode) co_return cannot_connect(side, login.parameters, "sslmode has no such value");
  where_ = login.parameters;
  where_.values.erase("password");
  where_.former.reset();
  asio::steady_timer limit{executor_, login.limit};
  late_ = false;
  // The timer's handler may run after this coroutine has ended: it asks for the server first.
  limit.async_wait([self = weak_from_this()](boost::system::error_code stopped) {
    const auto server = self.lock();
    if (stopped || !server) return;
    server->late_ = true;
    server->close();
  });
  auto failure = co_await reach(login, tls, *mode);
  // The secret has changed and the database not yet: it still takes what the file held before.
  const auto former = login.parameters.former;
  if (failure && former && failure->sqlstate() == "28P01" && !late_) {
    login.parameters.values["user"] = former->user;
    login.parameters.values["password"] = former->password;
    auto again = co_await reach(login, tls, *mode);
    if (!again) failure.reset();
  }
  limit.cancel();
  if (failure) close();
  if (failure && late_) co_return cannot_connect(side, login.parameters, "no answer in time");
  co_return failure;
}

asio::awaitable<void> Server::cancel(ServerTls& tls) {
  const auto keep = shared_from_this();
  // A leg of its own: the session's stream is busy with what is to be cancelled.
  const auto leg = std::make_shared<Server>(executor_, in.pool(), side);
  asio::steady_timer limit{executor_, std::chrono::seconds{10}};
  limit.async_wait([leg](boost::system::error_code stopped) {
    if (!stopped) leg->close();
  });
  auto failure = co_await leg->dial(where_);
  if (!failure && encrypted_) {
    const auto mode = ssl_mode_from(where_.get("sslmode")).value_or(SslMode::prefer);
    const auto chosen = mode == SslMode::allow ? SslMode::prefer : mode;
    failure = co_await leg->encrypt(where_, tls, chosen);
  }
  if (!failure) {
    wire::Bytes request;
    wire::encode_cancel_request(request, {key.process_id, key.secret_key});
    bool open = co_await leg->stream->write_all(request);
    std::uint8_t nothing = 0;
    if (open) open = co_await leg->stream->read_exactly({&nothing, 1});
  } else {
    log_event(LogLevel::warn, "cancel_failed", {{"side", to_string(side)},
                                                {"error", failure->message()}});
  }
  limit.cancel();
  leg->close();
}

void random_bytes(std::span<std::uint8_t> out) {
  PROXY_ASSERT(RAND_bytes(out.data(), static_cast<int>(out.size())) == 1);
}

std::string random_nonce() {
  std::array<std::uint8_t, 18> raw{};
  random_bytes(raw);
  return wire::base64({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

}  // namespace pgjanus
