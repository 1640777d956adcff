#include "proxy/session/listener.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "proxy/log.hpp"
#include "proxy/service.hpp"

namespace pgjanus {

using tcp = asio::ip::tcp;

namespace {

constexpr auto complaint_interval = std::chrono::seconds{10};
constexpr auto retry_pause = std::chrono::milliseconds{100};

}  // namespace

void Listener::open(const Address& address) {
  boost::system::error_code failed;
  const auto refuse = [&] {
    throw SettingsError{"cannot listen on " + address.host + ":" + std::to_string(address.port) +
                        ": " + failed.message()};
  };
  const auto host = address.host == "localhost" ? std::string{"127.0.0.1"} : address.host;
  const auto ip = host.empty() || host == "*" ? asio::ip::make_address("0.0.0.0")
                                              : asio::ip::make_address(host, failed);
  if (failed) refuse();
  const tcp::endpoint endpoint{ip, address.port};
  auto acceptor = std::make_unique<Acceptor>(workers_.front()->io);
  acceptor->open(endpoint.protocol(), failed);
  if (failed) refuse();
  acceptor->set_option(tcp::acceptor::reuse_address{true});
  acceptor->bind(endpoint, failed);
  if (failed) refuse();
  acceptor->listen(tcp::acceptor::max_listen_connections, failed);
  if (failed) refuse();
  acceptors_.push_back(std::move(acceptor));
}

void Listener::adopt(int descriptor) {
  int family = AF_INET;
  socklen_t size = sizeof family;
  ::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size);
  auto acceptor = std::make_unique<Acceptor>(workers_.front()->io);
  boost::system::error_code failed;
  const asio::generic::stream_protocol protocol{family, 0};
  acceptor->assign(protocol, descriptor, failed);
  if (failed) throw SettingsError{"cannot take the inherited socket: " + failed.message()};
  acceptors_.push_back(std::move(acceptor));
  inherited_ = true;
}

void Listener::start() {
  for (const auto& acceptor : acceptors_) {
    asio::co_spawn(workers_.front()->io, accept(*acceptor), [](const std::exception_ptr& failure) {
      if (failure) log_event(LogLevel::error, "listener_failed");
    });
  }
}

void Listener::drain() {
  if (inherited_) close();
}

void Listener::close() {
  boost::system::error_code ignored;
  for (const auto& acceptor : acceptors_) acceptor->close(ignored);
}

std::string Listener::addresses() const {
  std::string text;
  for (const auto& acceptor : acceptors_) {
    const auto address = address_of(acceptor->native_handle());
    text += (text.empty() ? "" : ", ") + (address ? to_string(*address) : std::string{"unix"});
  }
  return text;
}

asio::awaitable<void> Listener::accept(Acceptor& acceptor) {
  while (acceptor.is_open()) {
    auto& worker = *workers_[next_++ % workers_.size()];
    auto accepted = co_await acceptor.async_accept(worker.io, awaiting);
    const auto failed = std::get<0>(accepted);
    if (failed == asio::error::operation_aborted || failed == asio::error::bad_descriptor) co_return;
    if (failed) {
      // Out of descriptors, mostly: clients stay in the kernel's queue until some are free. The
      // pause keeps us from spinning on a socket that stays readable.
      if (Clock::now() >= quiet_until_) {
        quiet_until_ = Clock::now() + complaint_interval;
        log_event(LogLevel::error, "accept_failed",
                  {{"error", failed.message()}, {"effect", "new clients wait"}});
      }
      asio::steady_timer pause{workers_.front()->io, retry_pause};
      const auto woken = co_await pause.async_wait(awaiting);
      static_cast<void>(woken);
      continue;
    }
    auto socket = std::make_shared<Stream::Socket>(std::move(std::get<1>(accepted)));
    asio::post(worker.io, [&worker, socket] { worker.serve(std::move(*socket)); });
  }
}

}  // namespace pgjanus
