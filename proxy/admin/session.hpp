#pragma once
// One admin connection: the server's side of the Postgres protocol.

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <unordered_map>

#include "proxy/admin/executor.hpp"
#include "wire/framer.hpp"
#include "wire/startup.hpp"

namespace pgjanus::admin {

/// Owns its socket; lives on the control thread, kept alive by its own coroutines. Three tasks: the
/// reader (so that a disconnect is noticed while a command runs), the dispatcher, and the writer.
class AdminSession : public std::enable_shared_from_this<AdminSession> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  /// Cancels the command of the session that a CancelRequest names.
  using OnCancel = std::function<void(wire::CancelRequest)>;

  AdminSession(Socket socket, std::shared_ptr<const Parts> parts, wire::BackendKeyData key,
               OnCancel on_cancel);

  /// From start-up to close. Never throws.
  boost::asio::awaitable<void> run();
  /// Somebody sent a CancelRequest with our key.
  void cancel();
  /// Closes the socket: every task ends.
  void close();
  [[nodiscard]] wire::BackendKeyData key() const noexcept { return key_; }

 private:
  struct Message {
    std::uint8_t type = 0;
    wire::Bytes body;
  };
  /// A command under way, shared with the coroutine that runs it: it may outlive the session.
  struct Running {
    std::optional<Reply> reply;
    bool abandoned = false;
  };

  boost::asio::awaitable<bool> start_up();
  boost::asio::awaitable<std::optional<wire::Bytes>> read_startup_packet();
  boost::asio::awaitable<void> reader();
  bool take_messages();
  boost::asio::awaitable<void> dispatch();
  boost::asio::awaitable<void> simple_query(std::string text);
  boost::asio::awaitable<void> extended(Message message);
  boost::asio::awaitable<void> execute_portal(std::string name);
  boost::asio::awaitable<void> describe_target(std::uint8_t kind, std::string name);
  boost::asio::awaitable<Reply> run_command(Command command);
  boost::asio::awaitable<void> wait_for_change();

  void parse(const Message& message);
  void bind(const Message& message);
  void close_target(const Message& message);
  enum class WithColumns : bool { no, yes };
  void send_rows(const Reply& reply, WithColumns with_columns);
  void send_error(std::string_view severity, const Reply& reply);
  void refuse(std::string sqlstate, std::string message, std::string hint = {});
  void send_notice(std::string_view text);
  void send_ready();
  void flush();
  void wake();

  Socket socket_;
  std::shared_ptr<const Parts> parts_;
  wire::BackendKeyData key_;
  OnCancel on_cancel_;
  std::string peer_;
  boost::asio::steady_timer changed_;  // Never expires; cancelled to wake who waits.
  std::vector<std::uint8_t> input_;
  wire::Framer framer_;
  std::deque<Message> messages_;
  wire::Bytes out_, writing_;
  bool gone_ = false;       // No more input: disconnected, or Terminate.
  bool closed_ = false;
  bool skip_to_sync_ = false;  // After an error in the extended protocol.
  bool cancelled_ = false;
  wire::TransactionStatus transaction_ = wire::TransactionStatus::idle;
  std::shared_ptr<Running> running_;
  // An empty statement (no command) is legal. Bounded by statements_max.
  std::unordered_map<std::string, std::optional<Command>> statements_, portals_;
};

}  // namespace pgjanus::admin
