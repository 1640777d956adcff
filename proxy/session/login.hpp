#pragma once
// The client's side of start-up: encryption, start-up packet, authentication.

#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "proxy/session/credentials.hpp"
#include "proxy/session/stream.hpp"
#include "proxy/session/tls.hpp"
#include "wire/message.hpp"
#include "wire/startup.hpp"

namespace pgjanus {

/// A client that proved who it is; AuthenticationOk was sent.
struct Accepted {
  wire::StartupMessage startup;
  std::string user, database;
};
/// The connection only carries a cancel request.
struct Cancelling {
  wire::CancelRequest request;
};
/// Nobody to serve. `event` is what to log, empty for a client that just closed (health checks).
struct TurnedAway {
  std::string event, detail;
  bool failed_authentication = false;
};
using LoginOutcome = std::variant<Accepted, Cancelling, TurnedAway>;

/// Talks to a fresh client until it is accepted or turned away; then it has had its FATAL. The
/// caller limits the time by closing the stream. References outlive the call.
class ClientLogin {
 public:
  ClientLogin(Stream& stream, Credentials& credentials, ClientCertificate& certificate)
      : stream_{stream}, credentials_{credentials}, certificate_{certificate} {}
  asio::awaitable<LoginOutcome> run();

  /// Asked when a start-up packet has come, before authentication: why nobody is let in, or nothing.
  /// Cancel requests are not asked about.
  std::function<std::optional<wire::ErrorFields>()> door;

 private:
  asio::awaitable<std::optional<wire::Bytes>> read_packet();
  asio::awaitable<std::optional<wire::Bytes>> read_password_message();
  asio::awaitable<LoginOutcome> start(wire::StartupMessage startup);
  asio::awaitable<LoginOutcome> scram(Accepted client, Credentials::Login login);
  asio::awaitable<LoginOutcome> refuse(wire::ErrorFields error, std::string_view event,
                                       bool failed_authentication);
  asio::awaitable<bool> answer(std::string_view byte);
  asio::awaitable<bool> begin_direct_tls();
  asio::awaitable<LoginOutcome> admit(Accepted client);

  Stream& stream_;
  Credentials& credentials_;
  ClientCertificate& certificate_;
  std::shared_ptr<const ClientTls> tls_;  // What this client was shown, once it asked.
  TurnedAway trouble_;  // Why read_packet() gave nothing.
};

}  // namespace pgjanus
