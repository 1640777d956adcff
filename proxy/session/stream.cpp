#include "proxy/session/stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>

namespace pgjanus {

namespace {

int descriptor_of(Stream::Socket& socket) {
  socket.native_non_blocking(true);
  return socket.release();
}

}  // namespace

Stream::Stream(Socket socket)
    : fd_{descriptor_of(socket)}, watched_{Poller::of(socket.get_executor()).watch(fd_)} {}

Stream::~Stream() { close(); }

void Stream::close() noexcept {
  if (fd_ < 0) return;
  // A TLS goodbye is a courtesy: one try, its outcome does not matter.
  if (ssl_ && SSL_is_init_finished(ssl_.get())) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  watched_->close();
  fd_ = -1;
}

void Stream::half_close() noexcept {
  if (ssl_ && SSL_is_init_finished(ssl_.get())) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());  // As in close(): one try.
    ERR_clear_error();
  }
  if (fd_ >= 0) ::shutdown(fd_, SHUT_WR);
}

Stream::Io Stream::tls_outcome(int returned) noexcept {
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ:
      return fell_short(Interest::read);
    case SSL_ERROR_WANT_WRITE:
      read_wants_write_ = true;
      return fell_short(Interest::write);
    default:
      // Peers that leave without close_notify are ordinary; the protocol has its own goodbye.
      ERR_clear_error();
      return {State::closed, 0};
  }
}

/// The kernel has nothing, or no room.
Stream::Io Stream::fell_short(Interest interest) noexcept {
  watched_->exhausted(interest);
  return {State::again, 0};
}

Stream::Io Stream::read_some(std::span<std::uint8_t> into) noexcept {
  if (fd_ < 0 || into.empty()) return {};
  if (ssl_) {
    ERR_clear_error();
    read_wants_write_ = false;
    const int size = SSL_read(ssl_.get(), into.data(), static_cast<int>(into.size()));
    if (size > 0) return {State::done, static_cast<std::size_t>(size)};
    return tls_outcome(size);
  }
  for (;;) {
    const auto size = ::recv(fd_, into.data(), into.size(), 0);
    if (size > 0) {
      // Less than there was room for: that was all (epoll(7), "Do I need to read until EAGAIN").
      if (static_cast<std::size_t>(size) < into.size()) watched_->exhausted(Interest::read);
      return {State::done, static_cast<std::size_t>(size)};
    }
    if (size == 0) return {};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return fell_short(Interest::read);
    if (errno != EINTR) return {};
  }
}

Stream::Io Stream::write_some(wire::ByteView bytes) noexcept {
  if (fd_ < 0) return {};
  if (bytes.empty()) return {State::done, 0};
  if (ssl_) {
    ERR_clear_error();
    const int size = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (size > 0) return {State::done, static_cast<std::size_t>(size)};
    const auto outcome = tls_outcome(size);
    read_wants_write_ = false;
    return outcome;
  }
  for (;;) {
    const auto size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) return {State::done, static_cast<std::size_t>(size)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return fell_short(Interest::write);
    if (errno != EINTR) return {};
  }
}

asio::awaitable<bool> Stream::ready(Interest interest) {
  if (fd_ < 0) co_return false;
  if (watched_->ready(interest)) co_return true;
  const bool open = co_await watched_->async_wait(interest, asio::use_awaitable);
  co_return open;
}

asio::awaitable<bool> Stream::readable() { return ready(read_wants_write_ ? Interest::write : Interest::read); }

asio::awaitable<bool> Stream::writable() { return ready(Interest::write); }

asio::awaitable<bool> Stream::write_all(wire::ByteView bytes) {
  while (!bytes.empty()) {
    const auto io = write_some(bytes);
    if (io.state == State::closed) co_return false;
    if (io.state == State::again) {
      const bool open = co_await writable();
      if (!open) co_return false;
    }
    bytes = bytes.subspan(io.bytes);
  }
  co_return true;
}

asio::awaitable<bool> Stream::read_exactly(std::span<std::uint8_t> into) {
  while (!into.empty()) {
    const auto io = read_some(into);
    if (io.state == State::closed) co_return false;
    if (io.state == State::again) {
      const bool open = co_await readable();
      if (!open) co_return false;
    }
    into = into.subspan(io.bytes);
  }
  co_return true;
}

bool Stream::silent() const noexcept {
  std::uint8_t byte = 0;
  return fd_ >= 0 && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

bool Stream::has_unread() const noexcept {
  std::uint8_t byte = 0;
  return fd_ >= 0 && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

asio::awaitable<std::optional<std::uint8_t>> Stream::peek() {
  for (;;) {
    std::uint8_t byte = 0;
    const auto size = fd_ < 0 ? 0 : ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (size > 0) co_return byte;
    if (size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
      co_return std::nullopt;
    watched_->exhausted(Interest::read);
    const bool open = co_await readable();
    if (!open) co_return std::nullopt;
  }
}

asio::awaitable<std::string> Stream::handshake() {
  for (;;) {
    ERR_clear_error();
    const int outcome = SSL_do_handshake(ssl_.get());
    if (outcome == 1) co_return std::string{};
    const int error = SSL_get_error(ssl_.get(), outcome);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      const auto verify = SSL_get_verify_result(ssl_.get());
      auto text = tls_error_text();
      if (verify != X509_V_OK) {
        text += text.empty() ? "" : ": ";
        text += X509_verify_cert_error_string(verify);
      }
      co_return text.empty() ? std::string{"connection closed during the TLS handshake"} : text;
    }
    const auto wanted = error == SSL_ERROR_WANT_READ ? Interest::read : Interest::write;
    watched_->exhausted(wanted);
    const bool open = co_await ready(wanted);
    if (!open || fd_ < 0) co_return "connection closed during the TLS handshake";
  }
}

asio::awaitable<std::string> Stream::accept_tls(SSL_CTX* context) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd_) != 1) co_return tls_error_text();
  SSL_set_accept_state(ssl_.get());
  auto problem = co_await handshake();
  co_return problem;
}

asio::awaitable<std::string> Stream::connect_tls(SSL_CTX* context, std::string host,
                                                 ServerName name, bool verify_host) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd_) != 1) co_return tls_error_text();
  SSL_set_connect_state(ssl_.get());
  boost::system::error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  const bool named = static_cast<bool>(not_an_address);
  // Server names are host names, never addresses (RFC 6066, section 3).
  if (named && !host.empty() && name == ServerName::sent) SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
  if (verify_host) {
    if (host.empty()) co_return "the host's name cannot be verified: there is none";
    auto* parameters = SSL_get0_param(ssl_.get());
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int set = named ? X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size())
                          : X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str());
    if (set != 1) co_return "the host's name cannot be verified";
  }
  auto problem = co_await handshake();
  co_return problem;
}

namespace {

/// The other end of a connection; nothing for those that are gone.
std::optional<asio::generic::stream_protocol::endpoint> peer_of(int descriptor) {
  asio::generic::stream_protocol::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getpeername(descriptor, endpoint.data(), &size) != 0) return std::nullopt;
  endpoint.resize(size);
  return endpoint;
}

/// Nothing for Unix sockets, too.
std::optional<asio::ip::tcp::endpoint> tcp_peer(int descriptor) {
  const auto endpoint = peer_of(descriptor);
  asio::ip::tcp::endpoint tcp;
  if (!endpoint || endpoint->protocol().family() == AF_UNIX || endpoint->size() > tcp.capacity())
    return std::nullopt;
  std::memcpy(tcp.data(), endpoint->data(), endpoint->size());
  tcp.resize(endpoint->size());
  return tcp;
}

}  // namespace

std::string Stream::peer() const {
  if (const auto tcp = tcp_peer(fd_)) return tcp->address().to_string() + ":" + std::to_string(tcp->port());
  const auto endpoint = peer_of(fd_);
  return endpoint && endpoint->protocol().family() == AF_UNIX ? "unix" : "";
}

std::string Stream::peer_address() const {
  const auto tcp = tcp_peer(fd_);
  return tcp ? tcp->address().to_string() : std::string{};
}

void Stream::tune() noexcept {
  // Half-open peers are found within 30 + 6 * 10 seconds. The user timeout is longer: it also ends
  // peers that are alive and do not read for that long (a stopped reader, a busy server).
  const int on = 1, idle_seconds = 30, interval_seconds = 10, probes = 6, user_ms = 300'000;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  ::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  ::setsockopt(fd_, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof user_ms);
}

std::string tls_error_text() {
  std::string text;
  while (const auto code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!text.empty()) text += ": ";
    text += reason != nullptr ? reason : "TLS error " + std::to_string(code);
  }
  return text;
}

}  // namespace pgjanus
