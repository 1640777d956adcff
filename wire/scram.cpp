#include "wire/scram.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <charconv>

#include "wire/assert.hpp"

namespace pgjanus::wire {
namespace {

constexpr std::string_view mechanism_plain = "SCRAM-SHA-256";
constexpr std::string_view mechanism_plus = "SCRAM-SHA-256-PLUS";
constexpr std::string_view binding_type = "tls-server-end-point";
constexpr std::size_t mock_salt_size =
    16;  // SCRAM_DEFAULT_SALT_LEN, src/include/common/scram-common.h.

std::string_view as_text(const Digest& digest) { return wire::as_text(ByteView{digest}); }

Digest sha256(std::string_view text) {
  Digest digest{};
  unsigned size = 0;
  PROXY_ASSERT(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) ==
               1);
  PROXY_ASSERT(size == digest.size());
  return digest;
}

Digest hmac(const Digest& key, std::string_view text) {
  Digest digest{};
  unsigned size = 0;
  const auto bytes = as_bytes(text);
  PROXY_ASSERT(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(),
                    bytes.size(), digest.data(), &size) != nullptr);
  PROXY_ASSERT(size == digest.size());
  return digest;
}

Digest exclusive_or(const Digest& a, const Digest& b) {
  Digest result{};
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = static_cast<std::uint8_t>(a[i] ^ b[i]);
  }
  return result;
}

bool equal(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// RFC 5802, section 7: printable = %x21-2B / %x2D-7E.
bool is_nonce(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char character) {
    return character >= 0x21 && character <= 0x7E && character != ',';
  });
}

std::optional<Digest> decode_digest(std::string_view text) {
  const auto raw = base64_decode(text);
  Digest digest{};
  if (!raw || raw->size() != digest.size()) return std::nullopt;
  std::copy_n(as_bytes(*raw).begin(), digest.size(), digest.begin());
  return digest;
}

// Reads "a=value" attributes separated by commas (RFC 5802, section 5.1).
class Attributes {
 public:
  explicit Attributes(std::string_view text) noexcept : rest_{text} {}

  bool done() const noexcept { return done_; }
  // Where the next attribute begins.
  std::string_view rest() const noexcept { return rest_; }
  // The name of the next attribute, or 0 when none is there.
  char peek() const noexcept {
    if (done_ || rest_.size() < 2 || rest_[1] != '=') return 0;
    const char name = rest_[0];
    const bool letter = (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z');
    return letter ? name : '\0';
  }
  std::optional<std::string_view> next(char name) noexcept {
    if (peek() != name || name == 0) return std::nullopt;
    const auto end = std::min(rest_.find(','), rest_.size());
    const auto value = rest_.substr(2, end - 2);
    done_ = end == rest_.size();
    rest_.remove_prefix(done_ ? end : end + 1);
    return value;
  }

 private:
  std::string_view rest_;
  bool done_ = false;
};

bool has_zero(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

ScramKeys derive_scram_keys(std::string_view password, std::string_view salt,
                            std::int32_t iterations) {
  PROXY_ASSERT(iterations >= 1);
  Digest salted{};
  const auto salt_bytes = as_bytes(salt);
  PROXY_ASSERT(PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                 salt_bytes.data(), static_cast<int>(salt_bytes.size()), iterations,
                                 EVP_sha256(), static_cast<int>(salted.size()),
                                 salted.data()) == 1);
  const ScramKeys keys{hmac(salted, "Client Key"), hmac(salted, "Server Key")};
  OPENSSL_cleanse(salted.data(), salted.size());
  return keys;
}

ScramVerifier make_verifier(std::string_view password, std::string_view salt,
                            std::int32_t iterations) {
  auto keys = derive_scram_keys(saslprep(password), salt, iterations);
  ScramVerifier verifier{std::string{salt}, iterations, sha256(as_text(keys.client)), keys.server};
  OPENSSL_cleanse(keys.client.data(), keys.client.size());
  return verifier;
}

std::optional<ScramVerifier> parse_verifier(std::string_view text) {
  // Cuts `text` at the first `end`, which must be there.
  const auto until = [&](char end) -> std::optional<std::string_view> {
    const auto at = text.find(end);
    if (at == std::string_view::npos) return std::nullopt;
    const auto part = text.substr(0, at);
    text.remove_prefix(at + 1);
    return part;
  };
  const auto scheme = until('$'), iterations = until(':'), salt = until('$'), stored = until(':');
  if (!scheme || !iterations || !salt || !stored) return std::nullopt;
  if (*scheme != mechanism_plain) return std::nullopt;
  ScramVerifier verifier;
  const auto* end = iterations->data() + iterations->size();
  const auto [rest, error] = std::from_chars(iterations->data(), end, verifier.iterations);
  if (error != std::errc{} || rest != end || verifier.iterations < 1) return std::nullopt;
  auto raw_salt = base64_decode(*salt);
  const auto stored_key = decode_digest(*stored), server_key = decode_digest(text);
  if (!raw_salt || raw_salt->empty() || !stored_key || !server_key) return std::nullopt;
  verifier.salt = std::move(*raw_salt);
  verifier.stored_key = *stored_key;
  verifier.server_key = *server_key;
  return verifier;
}

ScramVerifier make_mock_verifier(std::string_view user, std::string_view secret,
                                 std::int32_t iterations) {
  const auto key = sha256(secret);
  const auto salt = hmac(key, user);
  return {std::string{as_text(salt).substr(0, mock_salt_size)}, iterations, {}, {}};
}

ScramClient::ScramClient(std::string password, std::string nonce,
                         std::optional<std::string> channel_binding, Unbound unbound)
    : password_{saslprep(password)},
      nonce_{std::move(nonce)},
      channel_binding_{std::move(channel_binding)} {
  PROXY_ASSERT(is_nonce(nonce_));
  // The server knows the user from the startup message and ignores the name here.
  bare_ = "n=,r=" + nonce_;
  if (channel_binding_) header_ = "p=" + std::string{binding_type} + ",,";
  else header_ = unbound == Unbound::not_offered ? "y,," : "n,,";
}

std::string ScramClient::first() const { return header_ + bare_; }

Result<std::string> ScramClient::proof(std::string_view server_first,
                                       const ScramKeySource& keys_of) {
  if (has_zero(server_first) || expected_) return WireErrc::scram_malformed;
  Attributes attributes{server_first};
  const auto nonce = attributes.next('r');
  const auto salt_text = attributes.next('s');
  const auto iterations_text = attributes.next('i');
  // Like libpq: extensions of the server's first message are none that we know.
  if (!nonce || !salt_text || !iterations_text || !attributes.done()) {
    return WireErrc::scram_malformed;
  }
  if (!is_nonce(*nonce)) return WireErrc::scram_malformed;
  if (nonce->size() <= nonce_.size() || !nonce->starts_with(nonce_)) return WireErrc::scram_nonce;
  const auto salt = base64_decode(*salt_text);
  if (!salt || salt->empty()) return WireErrc::scram_malformed;
  std::int64_t iterations = 0;
  const auto* end = iterations_text->data() + iterations_text->size();
  const auto [rest, error] = std::from_chars(iterations_text->data(), end, iterations);
  if (error == std::errc::result_out_of_range) return WireErrc::scram_iterations;
  if (error != std::errc{} || rest != end) return WireErrc::scram_malformed;
  if (iterations < 1 || iterations > scram_iterations_max) return WireErrc::scram_iterations;

  auto final_message = "c=" + base64(header_ + channel_binding_.value_or("")) + ",r=";
  final_message += *nonce;
  const auto exchange = bare_ + ',' + std::string{server_first} + ',' + final_message;
  auto keys = keys_of(password_, *salt, static_cast<std::int32_t>(iterations));
  const auto signature = hmac(sha256(as_text(keys.client)), exchange);
  expected_ = hmac(keys.server, exchange);
  final_message += ",p=" + base64(as_text(exclusive_or(keys.client, signature)));
  OPENSSL_cleanse(keys.client.data(), keys.client.size());
  return final_message;
}

Result<void> ScramClient::check(std::string_view server_final) const {
  if (!expected_) return WireErrc::scram_malformed;
  Attributes attributes{server_final};
  if (attributes.next('e')) return WireErrc::scram_proof;
  const auto text = attributes.next('v');
  if (!text || !attributes.done()) return WireErrc::scram_malformed;
  const auto signature = decode_digest(*text);
  if (!signature) return WireErrc::scram_malformed;
  if (!equal(*signature, *expected_)) return WireErrc::scram_server_signature;
  return {};
}

ScramServer::ScramServer(ScramVerifier verifier, bool known, std::string nonce,
                         std::optional<std::string> channel_binding)
    : verifier_{std::move(verifier)},
      known_{known},
      nonce_{std::move(nonce)},
      channel_binding_{std::move(channel_binding)} {
  PROXY_ASSERT(is_nonce(nonce_));
}

Result<std::string> ScramServer::challenge(std::string_view mechanism,
                                           std::string_view client_first) {
  if (has_zero(client_first) || !server_first_.empty()) return WireErrc::scram_malformed;
  const bool plus = mechanism == mechanism_plus;
  if (!plus && mechanism != mechanism_plain) return WireErrc::scram_malformed;
  if (plus && !channel_binding_) return WireErrc::scram_channel_binding;

  // gs2-header: the binding flag, an authorization identity (which the server refuses), a comma
  // after each (RFC 5802, section 7; read_client_first_message in auth-scram.c).
  const auto flag_end = client_first.find(',');
  if (flag_end == std::string_view::npos) return WireErrc::scram_malformed;
  const auto flag = client_first.substr(0, flag_end);
  if (flag.starts_with("p=")) {
    if (!plus) return WireErrc::scram_malformed;
    if (flag.substr(2) != binding_type) return WireErrc::scram_channel_binding;
  } else if (flag == "y") {
    // "I could bind, but you did not offer it": we did, so somebody in between took it away.
    if (channel_binding_) return WireErrc::scram_channel_binding;
  } else if (flag == "n") {
    if (plus) return WireErrc::scram_malformed;
  } else {
    return WireErrc::scram_malformed;
  }
  const auto after_flag = client_first.substr(flag_end + 1);
  if (!after_flag.starts_with(',')) return WireErrc::scram_malformed;
  header_ = client_first.substr(0, flag_end + 2);
  bare_ = after_flag.substr(1);

  Attributes attributes{bare_};  // A mandatory extension ("m=") stands before "n=" and fails.
  if (!attributes.next('n')) return WireErrc::scram_malformed;
  const auto client_nonce = attributes.next('r');
  if (!client_nonce || !is_nonce(*client_nonce)) return WireErrc::scram_malformed;
  while (!attributes.done()) {  // Optional extensions are ignored.
    if (!attributes.next(attributes.peek())) return WireErrc::scram_malformed;
  }
  nonce_ = std::string{*client_nonce} + nonce_;
  server_first_ =
      "r=" + nonce_ + ",s=" + base64(verifier_.salt) + ",i=" + std::to_string(verifier_.iterations);
  return server_first_;
}

Result<std::string> ScramServer::finish(std::string_view client_final) {
  if (has_zero(client_final) || server_first_.empty()) return WireErrc::scram_malformed;
  Attributes attributes{client_final};
  const auto binding = attributes.next('c');
  if (!binding) return WireErrc::scram_malformed;
  const bool bound = header_.starts_with('p');
  if (*binding != base64(bound ? header_ + *channel_binding_ : header_)) {
    return WireErrc::scram_channel_binding;
  }
  const auto nonce = attributes.next('r');
  if (!nonce) return WireErrc::scram_malformed;
  while (attributes.peek() != 'p') {  // Optional extensions are ignored.
    if (!attributes.next(attributes.peek())) return WireErrc::scram_malformed;
  }
  // Everything before ",p=" is signed.
  const auto signed_size = client_final.size() - attributes.rest().size() - 1;
  const auto proof_text = attributes.next('p');
  if (!proof_text || !attributes.done()) return WireErrc::scram_malformed;
  const auto proof = decode_digest(*proof_text);
  if (!proof) return WireErrc::scram_malformed;
  if (*nonce != nonce_) return WireErrc::scram_nonce;

  const auto exchange =
      bare_ + ',' + server_first_ + ',' + std::string{client_final.substr(0, signed_size)};
  server_first_.clear();  // One proof an exchange: no second guess on the same nonce.
  const auto client_key = exclusive_or(*proof, hmac(verifier_.stored_key, exchange));
  const bool fits = equal(sha256(as_text(client_key)), verifier_.stored_key);
  // Both are always looked at, so that the time taken does not tell an unknown user.
  if (!(fits & known_)) return WireErrc::scram_proof;
  return "v=" + base64(as_text(hmac(verifier_.server_key, exchange)));
}

std::string md5_password(std::string_view user, std::string_view password, ByteView salt) {
  const auto hex_md5 = [](std::string_view text) {
    std::array<std::uint8_t, 16> digest{};
    unsigned size = 0;
    PROXY_ASSERT(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_md5(), nullptr) ==
                 1);
    PROXY_ASSERT(size == digest.size());
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    for (const auto byte : digest) {
      hex += digits[byte >> 4];
      hex += digits[byte & 15];
    }
    return hex;
  };
  // AuthenticationMD5Password: "md5" || md5(md5(password || user) || salt), digests in hex.
  return "md5" + hex_md5(hex_md5(std::string{password} + std::string{user}) +
                         std::string{wire::as_text(salt)});
}

}  // namespace pgjanus::wire
