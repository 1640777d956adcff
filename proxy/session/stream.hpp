#pragma once
// One connected socket, plain or under TLS, read and written without blocking.

#include <openssl/ssl.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "proxy/session/event.hpp"
#include "proxy/session/poller.hpp"
#include "wire/bytes.hpp"

namespace pgjanus {

/// Whether the server learns by which name it was asked for (SNI).
enum class ServerName : std::uint8_t { sent, hidden };

struct SslFree {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

/// Tries first and waits only when the kernel has nothing: on the relay path a message costs one
/// system call a leg and no allocation. The Poller of the socket's io_context tells when it is ready.
/// One reader and one writer at a time; one thread.
class Stream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  enum class State : std::uint8_t { done, again, closed };  // closed: end of stream or an error.
  struct Io {
    State state = State::closed;
    std::size_t bytes = 0;
  };

  /// Takes the socket away from Asio. Throws std::system_error.
  explicit Stream(Socket socket);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  Io read_some(std::span<std::uint8_t> into) noexcept;
  Io write_some(wire::ByteView bytes) noexcept;
  /// Suspends until reading (writing) may succeed; false once the stream was closed.
  asio::awaitable<bool> readable();
  asio::awaitable<bool> writable();
  /// Calls `turn()` whenever bytes may be there, until it returns false; false once the stream was
  /// closed. A turn that returns true has read all there was (read_some() said `again`, or less than
  /// there was room for). No coroutine is resumed in between. What it throws is thrown here.
  template <class Turn>
  asio::awaitable<bool> turns(Turn& turn);
  /// turns() calls its turn again, though nothing may have come.
  void nudge() noexcept { watched_->nudge(); }
  /// Calls `woken(bool open)` when the socket becomes readable or is closed; the owner must outlive that.
  template <class Handler>
  void when_readable(Handler woken) {
    watched_->async_wait(Interest::read, std::move(woken));
  }
  /// False when the stream closed before everything was written.
  asio::awaitable<bool> write_all(wire::ByteView bytes);
  /// False at the end of the stream.
  asio::awaitable<bool> read_exactly(std::span<std::uint8_t> into);

  /// The first byte that waits, without taking it; nothing at the end of the stream. Before TLS.
  asio::awaitable<std::optional<std::uint8_t>> peek();
  /// Nothing has arrived that nobody has read, not even the end.
  [[nodiscard]] bool silent() const noexcept;
  /// Bytes have arrived that nobody has read. Before TLS.
  [[nodiscard]] bool has_unread() const noexcept;

  /// Handshakes. An empty text is success; otherwise what went wrong, for people. `verify_host`
  /// makes the certificate's name matter.
  asio::awaitable<std::string> accept_tls(SSL_CTX* context);
  asio::awaitable<std::string> connect_tls(SSL_CTX* context, std::string host, ServerName name,
                                           bool verify_host);
  [[nodiscard]] SSL* tls() const noexcept { return ssl_.get(); }

  /// No more writing; reading goes on.
  void half_close() noexcept;
  /// Idempotent; wakes whoever waits on the socket.
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] std::string peer() const;
  /// The peer's address without its port; empty for Unix sockets.
  [[nodiscard]] std::string peer_address() const;
  /// No delay, keep-alive and user timeout; nothing for Unix sockets.
  void tune() noexcept;

 private:
  Io tls_outcome(int returned) noexcept;
  Io fell_short(Interest interest) noexcept;
  asio::awaitable<std::string> handshake();
  asio::awaitable<bool> ready(Interest interest);

  int fd_;
  Poller::Handle watched_;
  std::unique_ptr<SSL, SslFree> ssl_;
  bool read_wants_write_ = false;
};

namespace detail {

/// One wait's turns, of which the last one is remembered.
template <class Turn>
class Turns final : public Recheck {
 public:
  Turns(Turn& turn, const bool& wants_write, const Watched& watched)
      : turn_{turn}, wants_write_{wants_write}, watched_{watched} {}
  bool again() noexcept override {
    try {
      do {
        stopped = !turn_();
      } while (!stopped && watched_.ready(Interest::read) && !wants_write_);
    } catch (...) {
      failure = std::current_exception();
      stopped = true;
    }
    return !stopped && !wants_write_;
  }

  bool stopped = false;
  std::exception_ptr failure;

 private:
  Turn& turn_;
  const bool& wants_write_;
  const Watched& watched_;
};

}  // namespace detail

template <class Turn>
asio::awaitable<bool> Stream::turns(Turn& turn) {
  detail::Turns<Turn> work{turn, read_wants_write_, *watched_};
  while (!work.stopped) {
    if (fd_ < 0) co_return false;
    if (read_wants_write_) {
      const bool open = co_await writable();
      if (!open) co_return false;
      work.again();
    } else if (watched_->ready(Interest::read)) {
      work.again();
    } else {
      const bool open = co_await watched_->async_wait(Interest::read, asio::use_awaitable, &work);
      if (!open && !work.stopped) co_return false;
    }
  }
  if (work.failure) std::rethrow_exception(work.failure);
  co_return fd_ >= 0;
}

/// What OpenSSL's error queue says, and clears it. Never holds secrets.
[[nodiscard]] std::string tls_error_text();

}  // namespace pgjanus
