#pragma once
// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; PostgreSQL manual, "SASL
// Authentication") and the md5 password hash. Bytes in, values out: nonces come in as arguments.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/error.hpp"

namespace pgjanus::wire {

using Digest = std::array<std::uint8_t, 32>;

/// What a server keeps of a password: never the password itself.
struct ScramVerifier {
  std::string salt;  // Raw bytes.
  std::int32_t iterations = 4096;
  Digest stored_key{}, server_key{};
};

/// The form of a password that is hashed (RFC 4013), for the characters that keyboards give; with
/// others, and where preparing fails, the bytes as they are.
[[nodiscard]] std::string saslprep(std::string_view password);

/// Derives a verifier from a password, prepared here. `iterations` >= 1.
[[nodiscard]] ScramVerifier make_verifier(std::string_view password, std::string_view salt,
                                          std::int32_t iterations);

/// A verifier as Postgres stores it in pg_authid.rolpassword:
/// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, the last three in base64
/// (parse_scram_secret, src/backend/libpq/auth-scram.c). Nothing for any other text.
[[nodiscard]] std::optional<ScramVerifier> parse_verifier(std::string_view text);

/// What stands for a user that does not exist: a salt that is always the same for one name, so
/// that asking twice tells nothing, and keys that fit no password. `secret`: ours, random, kept as
/// long as users may ask (mock_scram_secret, src/backend/libpq/auth-scram.c).
[[nodiscard]] ScramVerifier make_mock_verifier(std::string_view user, std::string_view secret,
                                               std::int32_t iterations);

/// ClientKey and ServerKey of a password (RFC 5802, section 3). As good as the password itself for
/// logging in.
struct ScramKeys {
  Digest client{}, server{};
};
/// Derives them; some thousand rounds of hashing. `password` prepared, `iterations` >= 1.
[[nodiscard]] ScramKeys derive_scram_keys(std::string_view password, std::string_view salt,
                                          std::int32_t iterations);
/// Derives them, or knows them.
using ScramKeySource =
    std::function<ScramKeys(std::string_view password, std::string_view salt, std::int32_t)>;

/// Iterations that a client accepts. More would let a hostile server keep a thread busy: ten
/// million take some seconds; servers use 4,096.
inline constexpr std::int32_t scram_iterations_max = 10'000'000;

/// Why a client does not bind: it cannot or does not want to ('n'), or it could and the server did
/// not offer it ('y'). A server that did offer it learns from 'y' that somebody in between took the
/// offer away (RFC 5802, section 6).
enum class Unbound : std::uint8_t { unable, not_offered };

/// The client's half: we log in to a server. One object an exchange.
class ScramClient {
 public:
  /// `nonce`: printable, without comma, fresh for each exchange. `channel_binding`: the
  /// tls-server-end-point data when SCRAM-SHA-256-PLUS is used; `unbound` counts without it.
  ScramClient(std::string password, std::string nonce,
              std::optional<std::string> channel_binding = std::nullopt,
              Unbound unbound = Unbound::unable);
  [[nodiscard]] std::string first() const;
  /// Answers the server's first message. Errors: scram_malformed, scram_nonce, scram_iterations.
  [[nodiscard]] Result<std::string> proof(std::string_view server_first,
                                          const ScramKeySource& keys_of = derive_scram_keys);
  /// Checks that the server knows the password. Errors: scram_malformed (also when no proof was
  /// made before), scram_proof (the server says so), scram_server_signature.
  [[nodiscard]] Result<void> check(std::string_view server_final) const;

 private:
  std::string password_, nonce_, bare_, header_;
  std::optional<std::string> channel_binding_;
  std::optional<Digest> expected_;  // The server's signature, once there was a proof.
};

/// The server's half: a client logs in to us. One object an exchange.
class ScramServer {
 public:
  /// `known` false runs the same exchange on a mock verifier (see above) and fails at its end with
  /// scram_proof, so that nobody learns which users exist. `channel_binding`: our certificate's
  /// tls-server-end-point data when SCRAM-SHA-256-PLUS was offered.
  ScramServer(ScramVerifier verifier, bool known, std::string nonce,
              std::optional<std::string> channel_binding = std::nullopt);
  /// Answers the client's first message, sent with `mechanism`. Errors: scram_malformed,
  /// scram_channel_binding.
  [[nodiscard]] Result<std::string> challenge(std::string_view mechanism,
                                              std::string_view client_first);
  /// Checks the proof and returns the server's final message. Errors: scram_malformed,
  /// scram_nonce, scram_channel_binding, scram_proof.
  [[nodiscard]] Result<std::string> finish(std::string_view client_final);

 private:
  ScramVerifier verifier_;
  bool known_;
  std::string nonce_, header_, bare_, server_first_;
  std::optional<std::string> channel_binding_;
};

/// "md5" and the hex digest that AuthenticationMD5Password asks for.
[[nodiscard]] std::string md5_password(std::string_view user, std::string_view password,
                                       ByteView salt);

/// Base64 without line breaks; decoding refuses anything else (RFC 4648, section 4).
[[nodiscard]] std::string base64(std::string_view raw);
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace pgjanus::wire
