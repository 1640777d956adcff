#pragma once
// Inside of pg::Connection: libpq's handle, its socket as Asio sees it, and one deadline.

#include <libpq-fe.h>

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_map>

#include "proxy/pg/connection.hpp"

namespace pgjanus::pg {

struct ResultDeleter {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ResultDeleter>;

/// The error that a failed result carries, without anything secret.
[[nodiscard]] Error error_of(const PGresult* result, const std::string& purpose);

/// Shared with the timer's handler, which must not find it gone.
struct Socket {
  explicit Socket(asio::any_io_executor executor) : descriptor{executor}, timer{executor} {}
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  bool expired = false;
  std::uint64_t armed = 0;  // Counts deadlines, so that an old one's handler changes nothing.
};

struct Connection::Impl {
  Impl(asio::any_io_executor executor, std::string what)
      : socket{std::make_shared<Socket>(executor)}, purpose{std::move(what)} {}
  ~Impl() { close(); }

  void close() noexcept;
  /// Starts the deadline of one operation; `what` stands in the error when it passes.
  void arm(Duration limit, const char* what);
  void disarm() noexcept;
  [[noreturn]] void fail_lost(std::string why);
  void require_usable();

  asio::awaitable<void> wait_readable();
  asio::awaitable<void> wait_readable_or_writable();
  asio::awaitable<void> connect(const ConnectionParameters& parameters);
  asio::awaitable<void> flush();
  /// The next result of what was sent; nullptr at its end.
  asio::awaitable<ResultPtr> next_result();
  /// All results of a simple or extended query: the last one, or the first error thrown.
  asio::awaitable<Rows> last_result();
  void send_or_fail(int accepted);
  /// Whether the server has sent what libpq has not read yet.
  [[nodiscard]] bool speaks() const noexcept;
  /// Whether the server has ended the COPY that it takes. Said at the second time of asking: the first may have met half a notice.
  [[nodiscard]] bool broken_off();

  PGconn* handle = nullptr;
  std::shared_ptr<Socket> socket;
  std::string purpose;
  const char* waiting_for = "";
  Duration waiting_limit{0};
  std::unordered_map<std::string, std::string> kept;  // Statement text to its prepared name.
  std::uint64_t copied = 0;  // Rows of the present copy_out().
  bool copying_in = false, interrupted = false;  // While it takes rows a server says hardly anything but that it takes no more.
  std::uint64_t notices = 0, noticed = 0;  // INFO comes whatever client_min_messages says: heard, and when broken_off() was last asked.
  bool suspected = false;
  std::shared_ptr<std::atomic<bool>> cancelling = std::make_shared<std::atomic<bool>>(false);
  std::uint64_t kept_count = 0;  // Names are never reused on one connection.
};

}  // namespace pgjanus::pg
