#include "proxy/admin/console.hpp"

#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <random>

#include "proxy/admin/session.hpp"
#include "proxy/log.hpp"

namespace pgjanus::admin {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

constexpr std::size_t connections_max = 64;  // Operators and their tools, not applications.

}  // namespace

/// Outlives the console for as long as a session runs.
struct Console::Shared : std::enable_shared_from_this<Console::Shared> {
  Shared(asio::io_context& io, Parts p) : acceptor{io}, parts{std::make_shared<Parts>(std::move(p))} {}

  asio::awaitable<void> accept_loop();
  void begin_session(Protocol::socket socket);
  void cancel(wire::CancelRequest request);

  Protocol::acceptor acceptor;
  std::shared_ptr<const Parts> parts;
  std::map<std::int32_t, std::weak_ptr<AdminSession>> sessions;  // By process id in the key.
  std::int32_t last_id = 0;
  std::random_device random;
};

asio::awaitable<void> Console::Shared::accept_loop() {
  const auto self = shared_from_this();
  while (acceptor.is_open()) {
    auto [error, socket] = co_await acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error) {  // Out of descriptors and the like: others may end and free some.
      log_event(LogLevel::warn, "admin_accept_failed", {{"error", error.message()}});
      asio::steady_timer pause{acceptor.get_executor(), std::chrono::milliseconds{100}};
      auto [ignored] = co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
      static_cast<void>(ignored);
      continue;
    }
    // Beyond the bound connections are closed unread; there is nobody but us to tell.
    if (sessions.size() < connections_max) begin_session(std::move(socket));
  }
}

void Console::Shared::begin_session(Protocol::socket socket) {
  const auto id = ++last_id;
  const wire::BackendKeyData key{id, static_cast<std::int32_t>(random())};
  const auto self = shared_from_this();
  const auto session = std::make_shared<AdminSession>(
      std::move(socket), parts, key,
      [self](wire::CancelRequest request) { self->cancel(request); });
  sessions[id] = session;
  asio::co_spawn(acceptor.get_executor(), session->run(),
                 [self, session, id](std::exception_ptr failure) {
                   if (failure) log_event(LogLevel::error, "admin_session_failed");
                   session->close();
                   self->sessions.erase(id);
                 });
}

void Console::Shared::cancel(wire::CancelRequest request) {
  const auto found = sessions.find(request.process_id);
  if (found == sessions.end()) return;
  const auto session = found->second.lock();
  if (session && session->key().secret_key == request.secret_key) session->cancel();
}

Console::Console(asio::io_context& io, Parts parts)
    : shared_{std::make_shared<Shared>(io, std::move(parts))} {}

Console::~Console() { stop(); }

void Console::listen(const std::string& path) {
  auto& acceptor = shared_->acceptor;
  boost::system::error_code error;
  acceptor.open(Protocol{}, error);
  if (!error) acceptor.bind(Protocol::endpoint{path}, error);
  if (!error) acceptor.listen(16, error);
  if (error) {
    throw SettingsError{"cannot listen on " + path + ": " + error.message()};
  }
  chmod(path.c_str(), 0660);  // The directory decides who gets this far.
  asio::co_spawn(acceptor.get_executor(), shared_->accept_loop(), [](std::exception_ptr failure) {
    if (failure) log_event(LogLevel::error, "admin_accept_loop_failed");
  });
}

void Console::stop() {
  boost::system::error_code ignored;
  shared_->acceptor.close(ignored);
  const auto sessions = shared_->sessions;
  for (const auto& [id, weak] : sessions) {
    if (const auto session = weak.lock()) session->close();
  }
}

}  // namespace pgjanus::admin
