// A client that broke the protocol is ended as the server ends it (postgres.c SocketBackend(), copyfromparse.c).

#include <array>
#include <cstdio>

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

using wire::Frontend;

namespace {

constexpr auto violation_limit = std::chrono::seconds{5};  // For answers to what came before it.

}  // namespace

asio::awaitable<void> Session::end_violation() {
  log_event(LogLevel::warn, "client_broke_protocol", {{"client", number_}});
  co_await answers_before(Clock::now() + violation_limit);
  if (ended_) co_return;
  const auto rest = client_in_.data();  // Begins with the message, but for one whose middle is wrong.
  const bool unknown = !client_framer_.inside() && !rest.empty() &&
                       (!wire::is_frontend(rest[0]) || rest[0] == static_cast<std::uint8_t>(Frontend::password));
  std::string what = "invalid frontend message";
  if (unknown && active_ && active_->exchange.copying_in()) {
    std::array<char, 8> number{};
    std::snprintf(number.data(), number.size(), "0x%02X", rest[0]);
    wire::Bytes out;
    const auto error = wire::make_error("ERROR", "08P01", std::string{"unexpected message type "} + number.data() +
                                                              " during COPY from stdin");
    wire::encode_error_response(out, error);
    co_await to_client(out);
    what = "terminating connection because protocol synchronization was lost";
  } else if (unknown) {
    what += " type " + std::to_string(rest[0]);
  }
  auto error = wire::make_error("FATAL", "08P01", std::move(what));
  co_await end_with(std::move(error));
}

/// A server reads one message after the other: what came before a wrong one is answered first.
asio::awaitable<void> Session::answers_before(Deadline limit) {
  violated_ = true;
  while (!ended_ && active_ && active_->usable() && active_->exchange.ready_owed() > 0 &&
         !active_->exchange.copying_in() && Clock::now() < limit)
    co_await gate_.wait_until(limit);
}

}  // namespace pgjanus
