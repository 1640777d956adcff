// Logging in to a server: start-up packet, authentication, what it tells before ReadyForQuery.

#include "proxy/session/server.hpp"
#include "wire/scram.hpp"

namespace pgjanus {

using Failure = std::optional<wire::ErrorFields>;
using wire::Backend;

namespace {

// AuthenticationRequest codes (PostgreSQL manual, "Message Formats").
constexpr std::int32_t auth_ok = 0, auth_cleartext = 3, auth_md5 = 5, auth_sasl = 10,
                       auth_continue = 11, auth_final = 12;

// What libpq takes of a server that has not proven itself (fe-connect.c). Later come settings and what
// login triggers say, of any length in principle.
constexpr std::int32_t unproven_length_max = 30'000, settled_length_max = 4 << 20;

wire::ErrorFields broken(std::string_view what) {
  return wire::make_error("FATAL", "08P01", "the server broke the protocol during login: " +
                                                std::string{what});
}

wire::ErrorFields refused(std::string_view what) {
  return wire::make_error("FATAL", "28P01", "login to the server failed: " + std::string{what});
}

/// libpq's channel_binding: `disable` never binds, `require` takes nothing else.
enum class Binding : std::uint8_t { disable, prefer, require };

Binding binding_from(std::string_view text) noexcept {
  if (text == "disable") return Binding::disable;
  return text == "require" ? Binding::require : Binding::prefer;
}

}  // namespace

const std::shared_ptr<Reported::Map>& Reported::nothing() {
  static const auto empty = std::make_shared<Map>();
  return empty;
}

void Reported::set(std::string_view name, std::string_view value) {
  const auto found = map_->find(name);
  if (found != map_->end() && found->second == value) return;
  // Shared with others, or the one empty map of all threads.
  if (map_.use_count() > 1) map_ = std::make_shared<Map>(*map_);
  map_->insert_or_assign(std::string{name}, std::string{value});
  interned_ = false;
}

std::string_view Reported::get(std::string_view name) const noexcept {
  const auto found = map_->find(name);
  return found == map_->end() ? std::string_view{} : std::string_view{found->second};
}

asio::awaitable<std::optional<Server::Message>> Server::receive(std::int32_t length_max) {
  std::array<std::uint8_t, 5> header{};
  bool open = co_await stream->read_exactly(header);
  if (!open) co_return std::nullopt;
  wire::FieldReader fields{wire::ByteView{header}.subspan(1)};
  const auto length = fields.int32();
  if (length < 4 || length > length_max) co_return std::nullopt;
  Message message{.type = header[0], .body = wire::Bytes(static_cast<std::size_t>(length - 4))};
  open = co_await stream->read_exactly(message.body);
  if (!open) co_return std::nullopt;
  co_return message;
}

asio::awaitable<Failure> Server::authenticate_sasl(const ConnectionParameters& parameters,
                                                   ServerTls& tls,
                                                   std::vector<std::string> mechanisms) {
  const wire::ScramKeySource keys_of = [&tls](std::string_view password, std::string_view salt,
                                              std::int32_t iterations) {
    return tls.keyring.keys(password, salt, iterations);
  };
  const auto offers = [&](std::string_view name) {
    return std::find(mechanisms.begin(), mechanisms.end(), name) != mechanisms.end();
  };
  const auto wanted = binding_from(parameters.get("channel_binding"));
  const bool able = stream->tls() != nullptr && wanted != Binding::disable;
  std::optional<std::string> binding;
  if (able && offers("SCRAM-SHA-256-PLUS")) binding = peer_end_point(stream->tls());
  if (!binding && wanted == Binding::require)
    co_return refused(stream->tls() == nullptr
                          ? "channel_binding=require, and the connection has no TLS"
                          : "channel_binding=require, and the server does not offer it");
  if (!binding && !offers("SCRAM-SHA-256")) co_return refused("no SASL mechanism in common");
  const bool unoffered = able && !offers("SCRAM-SHA-256-PLUS");
  const auto unbound = unoffered ? wire::Unbound::not_offered : wire::Unbound::unable;
  wire::ScramClient scram{parameters.get("password"), random_nonce(), binding, unbound};
  wire::Bytes out;
  wire::encode_sasl_initial_response(out, binding ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
                                     scram.first());
  for (const auto expected : {auth_continue, auth_final}) {
    const bool sent = co_await stream->write_all(out);
    auto reply = std::optional<Message>{};
    if (sent) reply = co_await receive(unproven_length_max);
    if (!reply) co_return broken("connection closed");
    if (reply->type == static_cast<std::uint8_t>(Backend::error_response)) {
      auto error = wire::decode_error_fields(reply->body);
      if (!error) co_return broken("malformed error");
      co_return std::move(*error);
    }
    const auto request = wire::decode_authentication(reply->body);
    if (reply->type != static_cast<std::uint8_t>(Backend::authentication) || !request ||
        request->code != expected)
      co_return broken("unexpected message in SASL exchange");
    out.clear();
    if (expected == auth_continue) {
      const auto proof = scram.proof(wire::as_text(request->data), keys_of);
      if (!proof) co_return refused(proof.error().message());
      wire::encode_sasl_response(out, *proof);
    } else {
      const auto genuine = scram.check(wire::as_text(request->data));
      if (!genuine) co_return refused(genuine.error().message());
    }
  }
  co_return std::nullopt;
}

asio::awaitable<Failure> Server::authenticate(const ServerLogin& login, ServerTls& tls) {
  const auto user = login.parameters.get("user");
  const auto password = login.parameters.get("password");
  // Bound to the server's certificate or not at all: no password in a form that could be passed on,
  // no server that asks for nothing.
  const bool must_bind = binding_from(login.parameters.get("channel_binding")) == Binding::require;
  wire::StartupMessage startup;
  startup.parameters = {{"user", user}, {"database", login.parameters.get("dbname", user)}};
  for (const auto& parameter : login.startup) startup.parameters.push_back(parameter);
  wire::Bytes out;
  wire::encode_startup(out, startup);
  bool proven = false, bound = false, negotiated = false;
  for (;;) {
    const bool sent = co_await stream->write_all(out);
    auto reply = std::optional<Message>{};
    if (sent) reply = co_await receive(unproven_length_max);
    if (!reply) co_return broken("connection closed");
    if (reply->type == static_cast<std::uint8_t>(Backend::error_response)) {
      auto error = wire::decode_error_fields(reply->body);
      if (!error) co_return broken("malformed error");
      co_return std::move(*error);
    }
    out.clear();
    if (reply->type == static_cast<std::uint8_t>(Backend::negotiate_protocol_version) &&
        !std::exchange(negotiated, true))
      continue;
    const bool asks = reply->type == static_cast<std::uint8_t>(Backend::authentication);
    const auto request = wire::decode_authentication(reply->body);
    if (asks && !request && request.error() == wire::WireErrc::unsupported_authentication)
      co_return refused("the server asks for an authentication method that pgjanus does not have");
    if (!asks || !request) co_return broken("no authentication request");
    if (request->code == auth_ok) break;
    // One method a login: who asks again after a proof wants the password in another form.
    if (std::exchange(proven, true)) co_return broken("it asks for a second authentication");
    if (password.empty()) co_return refused("the server asks for a password and the URL has none");
    if (request->code == auth_sasl) {
      std::vector<std::string> mechanisms{request->mechanisms.begin(), request->mechanisms.end()};
      auto failure = co_await authenticate_sasl(login.parameters, tls, std::move(mechanisms));
      if (failure) co_return failure;
      bound = must_bind;  // Otherwise it would have failed.
    } else if (must_bind) {
      co_return refused("channel_binding=require, and the server asks for a method without it");
    } else if (request->code == auth_cleartext) {
      wire::encode_password(out, password);
    } else if (request->code == auth_md5) {
      wire::encode_password(out, wire::md5_password(user, password, request->data));
    } else {
      co_return refused("the server asks for an authentication method that pgjanus does not have");
    }
  }
  if (must_bind && !bound)
    co_return refused("channel_binding=require, and the server lets everybody in");
  auto failure = co_await settle();
  co_return failure;
}

/// From AuthenticationOk to the first ReadyForQuery.
asio::awaitable<Failure> Server::settle() {
  reported = {};
  notices.clear();
  for (;;) {
    auto message = co_await receive(settled_length_max);
    if (!message) co_return broken("connection closed");
    switch (static_cast<Backend>(message->type)) {
      case Backend::parameter_status: {
        const auto status = wire::decode_parameter_status(message->body);
        if (!status) co_return broken("malformed ParameterStatus");
        reported.set(status->name, status->value);
        break;
      }
      case Backend::backend_key_data: {
        const auto data = wire::decode_backend_key_data(message->body);
        if (!data) co_return broken("malformed BackendKeyData");
        key = *data;
        break;
      }
      case Backend::notice_response: {
        static constexpr std::size_t notices_max = 16;
        wire::Bytes whole;
        wire::MessageWriter{whole}.begin(message->type).bytes(message->body).end();
        if (notices.size() < notices_max) notices.push_back(std::move(whole));
        break;
      }
      case Backend::error_response: {
        auto error = wire::decode_error_fields(message->body);
        if (!error) co_return broken("malformed error");
        co_return std::move(*error);
      }
      case Backend::ready_for_query:
        co_return std::nullopt;
      default:
        co_return broken("unexpected message");
    }
  }
}

}  // namespace pgjanus
