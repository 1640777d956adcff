#include "proxy/session/login.hpp"

#include "proxy/session/server.hpp"
#include "wire/scram.hpp"

namespace pgjanus {

namespace {

constexpr std::string_view plain = "SCRAM-SHA-256", plus = "SCRAM-SHA-256-PLUS";

wire::ErrorFields wrong_password(const std::string& user) {
  return wire::make_error("FATAL", "28P01", "password authentication failed for user \"" + user + "\"");
}

/// What a client is told whose SASL message we do not accept (codes as of auth-scram.c).
wire::ErrorFields sasl_error(const boost::system::error_code& error) {
  if (error == wire::WireErrc::scram_channel_binding)
    return wire::make_error("FATAL", "28000", "SCRAM channel binding check failed",
                            "Somebody between client and pgjanus may have its own certificate, or "
                            "took away the offer to bind.");
  return wire::make_error("FATAL", "08P01", error.message());
}

/// What parse_bool (bool.c) takes for false: "off", "0", and the beginnings of "false" and "no".
bool says_no(std::string_view value) {
  std::string lower{value};
  for (auto& letter : lower)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  const auto begins = [&](std::string_view word) { return !lower.empty() && word.starts_with(lower); };
  return begins("false") || begins("no") || lower == "of" || lower == "off" || lower == "0";
}

/// As the server says it: drivers look for these words when they have asked for more.
std::string unsupported(const wire::Bytes& packet) {
  const auto number = [&](std::size_t at) { return std::to_string(packet[at] << 8 | packet[at + 1]); };
  return "unsupported frontend protocol " + number(4) + "." + number(6) + ": server supports 3.0 to 3.0";
}

bool asks_for_replication(const wire::StartupMessage& startup) {
  const auto value = startup.parameter("replication");
  return value && !says_no(*value);
}

}  // namespace

asio::awaitable<std::optional<wire::Bytes>> ClientLogin::read_packet() {
  wire::Bytes packet(4);
  // A client that closes before it says anything is a health check: no noise.
  bool open = co_await stream_.read_exactly(packet);
  if (!open) co_return std::nullopt;
  const auto size = wire::startup_size(packet);
  if (!size || !*size) {
    trouble_ = {"client_spoke_no_postgres", "the first bytes are no start-up packet", false};
    wire::Bytes out;
    wire::encode_error_response(
        out, wire::make_error("FATAL", "08P01", "invalid length of startup packet"));
    open = co_await stream_.write_all(out);
    co_return std::nullopt;
  }
  packet.resize(**size);
  open = co_await stream_.read_exactly(std::span{packet}.subspan(4));
  if (open) co_return packet;
  trouble_ = {"client_left_during_login", "incomplete start-up packet", false};
  co_return std::nullopt;
}

asio::awaitable<bool> ClientLogin::answer(std::string_view byte) {
  const bool open = co_await stream_.write_all(wire::as_bytes(byte));
  co_return open;
}

asio::awaitable<LoginOutcome> ClientLogin::refuse(wire::ErrorFields error, std::string_view event,
                                                  bool failed_authentication) {
  wire::Bytes out;
  wire::encode_error_response(out, error);
  const bool sent = co_await stream_.write_all(out);
  static_cast<void>(sent);
  co_return TurnedAway{std::string{event}, std::string{error.message()}, failed_authentication};
}

/// A client that begins with TLS instead of asking for it (PostgreSQL 17's sslnegotiation=direct).
/// False with `trouble_` set when it is to be let go.
asio::awaitable<bool> ClientLogin::begin_direct_tls() {
  tls_ = certificate_.current();
  if (!tls_) co_return true;  // Read as a start-up packet, it gets the error that fits.
  const auto problem = co_await stream_.accept_tls(tls_->context.get());
  if (!problem.empty()) {
    trouble_ = {"client_tls_failed", problem, false};
    co_return false;
  }
  if (agreed_on_postgres(stream_.tls())) co_return true;
  // Without it another protocol's client could be made to talk to us.
  trouble_ = {"client_tls_failed", "it began with TLS and did not ask for ALPN postgresql", false};
  co_return false;
}

asio::awaitable<LoginOutcome> ClientLogin::run() {
  static constexpr std::uint8_t tls_handshake = 0x16;  // Record type, RFC 8446, section 5.1.
  const auto first = co_await stream_.peek();
  if (first && *first == tls_handshake) {
    const bool ready = co_await begin_direct_tls();
    if (!ready) co_return trouble_;
  }
  bool asked_tls = false, asked_gss = false;
  for (;;) {
    auto packet = co_await read_packet();
    if (!packet) co_return trouble_;
    auto decoded = wire::decode_startup(*packet);
    if (!decoded) {
      const bool version = decoded.error() == wire::WireErrc::unsupported_protocol;
      auto error = wire::make_error("FATAL", version ? "0A000" : "08P01",
                                    version ? unsupported(*packet)
                                            : "invalid startup packet layout: expected terminator as last byte");
      auto outcome = co_await refuse(std::move(error), "client_spoke_no_postgres", false);
      co_return outcome;
    }
    if (const auto* cancel = std::get_if<wire::CancelRequest>(&*decoded)) co_return Cancelling{*cancel};
    if (auto* startup = std::get_if<wire::StartupMessage>(&*decoded)) {
      auto outcome = co_await start(std::move(*startup));
      co_return outcome;
    }
    const bool tls = std::holds_alternative<wire::SslRequest>(*decoded);
    if ((tls ? asked_tls : asked_gss) || stream_.tls() != nullptr) {
      auto error = wire::make_error("FATAL", "0A000", "encryption was requested twice");
      auto outcome = co_await refuse(std::move(error), "client_broke_protocol", false);
      co_return outcome;
    }
    (tls ? asked_tls : asked_gss) = true;
    if (tls) tls_ = certificate_.current();
    const bool agreed = tls && tls_ != nullptr;
    // What stands behind the request was sent before anything was encrypted, by whomever
    // (CVE-2021-23214). What comes later in plain text meets OpenSSL, as no TLS record.
    if (agreed && stream_.has_unread()) {
      auto error = wire::make_error("FATAL", "08P01", "received unencrypted data after SSL request");
      auto outcome = co_await refuse(std::move(error), "client_broke_protocol", false);
      co_return outcome;
    }
    const std::string_view reply = agreed ? "S" : "N";
    const bool open = co_await answer(reply);
    if (!open) co_return TurnedAway{"client_left_during_login", "", false};
    if (!agreed) continue;
    const auto problem = co_await stream_.accept_tls(tls_->context.get());
    if (!problem.empty()) co_return TurnedAway{"client_tls_failed", problem, false};
  }
}

asio::awaitable<LoginOutcome> ClientLogin::start(wire::StartupMessage startup) {
  Accepted client;
  client.user = std::string{startup.parameter("user").value_or("")};
  const auto database = startup.parameter("database").value_or("");
  client.database = database.empty() ? client.user : std::string{database};
  std::optional<wire::ErrorFields> error;
  if (door) error = door();
  if (error) {
    auto outcome = co_await refuse(std::move(*error), "", false);  // The door says what is to be logged.
    co_return outcome;
  }
  if (client.user.empty())
    error = wire::make_error("FATAL", "28000", "no PostgreSQL user name specified in startup packet");
  else if (asks_for_replication(startup))
    error = wire::make_error("FATAL", "0A000", "replication connections do not pass pgjanus",
                             "They read one server's WAL, which a flip would end.",
                             "Connect to the database directly.");
  if (error) {
    auto outcome = co_await refuse(std::move(*error), "client_turned_away", false);
    co_return outcome;
  }
  std::vector<std::string> unknown_options;
  for (const auto& [name, value] : startup.parameters)
    if (name.starts_with("_pq_.")) unknown_options.push_back(name);
  if (startup.minor > 0 || !unknown_options.empty()) {
    wire::Bytes out;
    wire::encode_negotiate_protocol_version(out, 0, unknown_options);
    const bool open = co_await stream_.write_all(out);
    if (!open) co_return TurnedAway{"client_left_during_login", "", false};
  }
  client.startup = std::move(startup);
  auto outcome = co_await admit(std::move(client));
  co_return outcome;
}

/// Whether this user may come in from there, and the proof of who it is.
asio::awaitable<LoginOutcome> ClientLogin::admit(Accepted client) {
  const auto address = stream_.peer_address();
  const bool encrypted = stream_.tls() != nullptr;
  const auto encryption = encrypted ? Credentials::Encryption::tls : Credentials::Encryption::none;
  if (!credentials_.admits(address, encryption)) {
    auto error = wire::make_error(
        "FATAL", "28000",
        "no access from host \"" + address + (encrypted ? "\" with TLS" : "\" without TLS"),
        "None of the [[access]] entries of pgjanus lets anybody in from there this way.");
    auto outcome = co_await refuse(std::move(error), "access_refused", true);
    co_return outcome;
  }
  std::optional<Credentials::Login> login;
  std::string unreadable;
  const bool admitted = credentials_.admits(address, encryption, client.user);
  try {
    login = admitted ? credentials_.find(client.user) : credentials_.nobody(client.user);
  } catch (const SettingsError& failure) {
    unreadable = failure.what();
  }
  if (!login) {
    // The text names a file of the operator: for the log, not for the client.
    auto outcome_error = wire::make_error("FATAL", "57P03", "pgjanus cannot read its credentials");
    auto outcome = co_await refuse(std::move(outcome_error), "login_failed", false);
    std::get<TurnedAway>(outcome).detail = unreadable;
    co_return outcome;
  }
  if (!login->trusted) {
    const auto user = client.user;
    auto outcome = co_await scram(std::move(client), std::move(*login));
    auto* away = std::get_if<TurnedAway>(&outcome);
    // The client is told no more than a wrong password is; the operator is.
    if (away != nullptr && away->failed_authentication && !admitted)
      away->detail += ": no [[access]] entry lets user \"" + user + "\" in from " + address +
                      (encrypted ? " with TLS" : " without TLS");
    co_return outcome;
  }
  wire::Bytes out;
  wire::encode_authentication_ok(out);
  const bool open = co_await stream_.write_all(out);
  if (!open) co_return TurnedAway{"client_left_during_login", "", false};
  co_return client;
}

asio::awaitable<std::optional<wire::Bytes>> ClientLogin::read_password_message() {
  std::array<std::uint8_t, 5> header{};
  bool open = co_await stream_.read_exactly(header);
  if (!open) co_return std::nullopt;
  if (header[0] != static_cast<std::uint8_t>(wire::Frontend::password)) {
    wire::Bytes out;
    wire::encode_error_response(out, wire::make_error("FATAL", "08P01", "expected a SASL response"));
    open = co_await stream_.write_all(out);
    co_return std::nullopt;
  }
  wire::FieldReader fields{wire::ByteView{header}.subspan(1)};
  const auto length = fields.int32();
  static constexpr std::int32_t sasl_max = 1024;  // PG_MAX_SASL_MESSAGE_LENGTH of auth-sasl.h.
  if (length < 4 || length > sasl_max + 4) co_return std::nullopt;
  wire::Bytes body(static_cast<std::size_t>(length - 4));
  open = co_await stream_.read_exactly(body);
  if (!open) co_return std::nullopt;
  co_return body;
}

asio::awaitable<LoginOutcome> ClientLogin::scram(Accepted client, Credentials::Login login) {
  std::optional<std::string> binding;
  if (stream_.tls() != nullptr && tls_ != nullptr && !tls_->end_point.empty())
    binding = tls_->end_point;
  std::vector<std::string_view> mechanisms;
  if (binding) mechanisms.push_back(plus);
  mechanisms.push_back(plain);
  wire::ScramServer server{std::move(login.verifier), login.known, random_nonce(), binding};
  wire::Bytes out;
  wire::encode_authentication_sasl(out, mechanisms);
  bool open = co_await stream_.write_all(out);
  auto body = std::optional<wire::Bytes>{};
  if (open) body = co_await read_password_message();
  // libpq without a password closes here and asks its user.
  if (!body) co_return TurnedAway{"", "", false};

  wire::FieldReader first{*body};
  const auto mechanism = first.cstring();
  const auto size = first.int32();
  const auto initial = size < 0 ? first.rest() : first.bytes(static_cast<std::size_t>(size));
  const auto challenge = server.challenge(mechanism, wire::as_text(initial));
  if (first.overrun() || !challenge) {
    auto error = challenge ? wire::make_error("FATAL", "08P01", "malformed SASL response")
                           : sasl_error(challenge.error());
    auto outcome = co_await refuse(std::move(error), "login_failed", true);
    co_return outcome;
  }
  out.clear();
  wire::encode_authentication_sasl_continue(out, *challenge);
  open = co_await stream_.write_all(out);
  body.reset();
  if (open) body = co_await read_password_message();
  if (!body) co_return TurnedAway{"client_left_during_login", "", false};
  const auto final = server.finish(wire::as_text(*body));
  if (!final) {
    const bool wrong = final.error() == wire::WireErrc::scram_proof;
    auto error = wrong ? wrong_password(client.user)
                       : sasl_error(final.error());
    auto outcome = co_await refuse(std::move(error), "login_failed", true);
    co_return outcome;
  }
  out.clear();
  wire::encode_authentication_sasl_final(out, *final);
  wire::encode_authentication_ok(out);
  open = co_await stream_.write_all(out);
  if (!open) co_return TurnedAway{"client_left_during_login", "", false};
  co_return client;
}

}  // namespace pgjanus
