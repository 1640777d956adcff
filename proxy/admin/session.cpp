// Transport of an admin connection: start-up, reading, writing, waiting. What messages mean is in
// session_protocol.cpp.

#include "proxy/admin/session.hpp"

#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "proxy/log.hpp"

namespace pgjanus::admin {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr std::size_t message_bytes_max = 64 * 1024;  // A command is a line; a script is a page.
constexpr std::size_t messages_max = 1'000;           // Read ahead while a command runs.
constexpr std::size_t out_bytes_max = 16 << 20;       // A client that does not read is closed.
constexpr auto startup_limit = 10s;

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

std::string peer_of(AdminSession::Socket& socket) {
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
    return "unknown";
  }
  return "uid " + std::to_string(who.uid) + " pid " + std::to_string(who.pid);
}

}  // namespace

AdminSession::AdminSession(Socket socket, std::shared_ptr<const Parts> parts,
                           wire::BackendKeyData key, OnCancel on_cancel)
    : socket_{std::move(socket)},
      parts_{std::move(parts)},
      key_{key},
      on_cancel_{std::move(on_cancel)},
      peer_{peer_of(socket_)},
      changed_{socket_.get_executor(), asio::steady_timer::time_point::max()},
      framer_{message_bytes_max} {}

asio::awaitable<void> AdminSession::run() {
  const auto self = shared_from_this();
  asio::steady_timer alarm{socket_.get_executor(), startup_limit};
  alarm.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (error) return;
    if (const auto session = weak.lock()) session->close();
  });
  const auto started = co_await start_up();
  alarm.cancel();
  if (!started) {
    close();
    co_return;
  }
  asio::co_spawn(
      socket_.get_executor(), reader(), [self](std::exception_ptr failure) {
        if (failure) log_event(LogLevel::error, "admin_reader_failed");
        self->gone_ = true;
        if (self->running_) self->running_->abandoned = true;
        self->wake();
      });
  co_await dispatch();
  close();
}

asio::awaitable<std::optional<wire::Bytes>> AdminSession::read_startup_packet() {
  wire::Bytes packet(4);
  auto [error, size] = co_await asio::async_read(socket_, asio::buffer(packet), as_tuple);
  if (error) co_return std::nullopt;
  const auto length = wire::startup_size(packet);
  if (!length || !*length) co_return std::nullopt;
  packet.resize(**length);
  auto rest = asio::buffer(packet.data() + 4, packet.size() - 4);
  auto [rest_error, rest_size] = co_await asio::async_read(socket_, rest, as_tuple);
  if (rest_error) co_return std::nullopt;
  co_return packet;
}

asio::awaitable<bool> AdminSession::start_up() {
  // At most one SSLRequest and one GSSENCRequest come before the start-up message.
  for (int round = 0; round < 3; ++round) {
    auto packet = co_await read_startup_packet();
    if (!packet) co_return false;
    auto decoded = wire::decode_startup(*packet);
    if (!decoded) {
      send_error("FATAL", refusal("08P01", "this is no start-up packet of Postgres", {}));
      break;
    }
    if (const auto* request = std::get_if<wire::CancelRequest>(&*decoded)) {
      on_cancel_(*request);
      co_return false;
    }
    if (const auto* startup = std::get_if<wire::StartupMessage>(&*decoded)) {
      const auto database = startup->parameter("database");
      const auto user = startup->parameter("user");
      const auto wanted = database ? *database : user.value_or("");
      if (wanted != "pgjanus") {
        send_error("FATAL",
                   refusal("3D000", "database \"" + std::string{wanted} + "\" does not exist here",
                           "this is the admin socket: connect to the database pgjanus"));
        break;
      }
      wire::encode_authentication_ok(out_);
      for (const auto& [name, value] :
           std::initializer_list<std::pair<const char*, const char*>>{
               {"server_version", "15.0 (pgjanus " PGJANUS_VERSION ")"},
               {"server_encoding", "UTF8"},
               {"client_encoding", "UTF8"},
               {"DateStyle", "ISO, MDY"},
               {"IntervalStyle", "postgres"},
               {"TimeZone", "UTC"},
               {"integer_datetimes", "on"},
               {"standard_conforming_strings", "on"},
               {"is_superuser", "off"},
               {"in_hot_standby", "off"},
               {"default_transaction_read_only", "off"}}) {
        wire::encode_parameter_status(out_, name, value);
      }
      wire::encode_backend_key_data(out_, key_);
      send_ready();
      co_return true;
    }
    const char no = 'N';  // Neither TLS nor GSS: the socket never leaves the machine.
    auto [error, size] = co_await asio::async_write(socket_, asio::buffer(&no, 1), as_tuple);
    if (error) co_return false;
  }
  flush();
  while (!closed_ && !writing_.empty()) co_await wait_for_change();
  co_return false;
}

asio::awaitable<void> AdminSession::reader() {
  std::array<std::uint8_t, 8192> chunk;
  while (!gone_ && !closed_) {
    if (messages_.size() >= messages_max) {
      co_await wait_for_change();
      continue;
    }
    auto [error, size] = co_await socket_.async_read_some(asio::buffer(chunk), as_tuple);
    if (error) co_return;
    input_.insert(input_.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(size));
    if (!take_messages()) co_return;
    wake();
  }
}

/// Moves whole messages from the input to the queue; false when the peer broke the protocol.
bool AdminSession::take_messages() {
  std::size_t used = 0;
  while (true) {
    const auto piece = framer_.next(wire::ByteView{input_}.subspan(used));
    if (!piece) {
      send_error("FATAL", refusal("08P01", piece.error().message(), {}));
      return false;
    }
    if (!*piece) break;
    if (!(**piece).whole()) {
      send_error("FATAL", refusal("54000", "a command may have at most 64 kB", {}));
      return false;
    }
    used += (**piece).bytes.size();
    const auto body = (**piece).body();
    if ((**piece).type == static_cast<std::uint8_t>(wire::Frontend::terminate)) return false;
    messages_.push_back({(**piece).type, {body.begin(), body.end()}});
  }
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(used));
  return true;
}

asio::awaitable<void> AdminSession::wait_for_change() {
  auto [error] = co_await changed_.async_wait(as_tuple);
  static_cast<void>(error);  // Always cancelled: that is the wake-up.
}

void AdminSession::wake() { changed_.cancel(); }

void AdminSession::cancel() {
  cancelled_ = true;
  if (running_) running_->abandoned = true;
  wake();
}

void AdminSession::close() {
  closed_ = true;
  gone_ = true;
  if (running_) running_->abandoned = true;
  boost::system::error_code ignored;
  // Both directions are over; an error here means that the peer was faster.
  socket_.shutdown(Socket::shutdown_both, ignored);
  socket_.close(ignored);
  wake();
}

/// Begins to write what waits, unless a write is under way: its end calls again.
void AdminSession::flush() {
  if (closed_ || !writing_.empty() || out_.empty()) return;
  std::swap(out_, writing_);
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                      self->writing_.clear();
                      if (error) self->close();
                      self->flush();
                      self->wake();
                    });
  if (out_.size() > out_bytes_max) close();
}

}  // namespace pgjanus::admin
