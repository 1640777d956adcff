#pragma once
// TLS contexts: one for clients, one for each way of reaching servers; and channel binding.

#include <openssl/ssl.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "proxy/session/keyring.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {

struct SslContextFree {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using SslContext = std::shared_ptr<SSL_CTX>;

/// What we show to clients: certificate, key, and the data that SCRAM-SHA-256-PLUS binds to.
struct ClientTls {
  SslContext context;
  std::string end_point;  // tls-server-end-point of our certificate (RFC 5929, section 4).
};

/// Our certificate for clients, from two PEM files that are read again when they change: each TLS
/// login looks at them first. A new pair that cannot be used (half of it written, a key that does
/// not fit) is said in the log once, and the pair in force stays. Any thread.
class ClientCertificate {
 public:
  /// Both names empty: no TLS for clients. Throws SettingsError naming the file.
  ClientCertificate(std::string certificate, std::string key);
  /// What a new client is shown; null without a certificate.
  [[nodiscard]] std::shared_ptr<const ClientTls> current();
  /// RELOAD: these files from now on. Throws SettingsError; then everything stays as it was.
  void use(std::string certificate, std::string key);

 private:
  void take(std::string certificate, std::string key);

  std::mutex mutex_;
  std::string certificate_, key_;
  std::string stamp_;  // Of the files when they were last looked at, also when that failed.
  std::shared_ptr<const ClientTls> current_;
};

/// The ALPN name of the Postgres protocol.
inline constexpr std::string_view postgres_alpn = "postgresql";
/// Whether the handshake agreed on it; a client that begins with TLS must have asked for it.
[[nodiscard]] bool agreed_on_postgres(SSL* ssl) noexcept;

/// tls-server-end-point of the peer's certificate; nothing without one or with a signature
/// algorithm that has no single hash.
[[nodiscard]] std::optional<std::string> peer_end_point(SSL* ssl);

/// libpq's sslmode (PostgreSQL manual, "SSL Support").
enum class SslMode : std::uint8_t { disable, allow, prefer, require, verify_ca, verify_full };
[[nodiscard]] std::optional<SslMode> ssl_mode_from(std::string_view text) noexcept;

/// What logins to servers share: contexts, made once for each set of sslmode, sslrootcert, sslcert and sslkey
/// (their content too, so that a renewed bundle is read), and SCRAM's keys. Any thread.
class ServerTls {
 public:
  /// Null with `problem` set when a file cannot be used.
  [[nodiscard]] SslContext context(const ConnectionParameters& parameters, SslMode mode,
                                   std::string& problem);
  ScramKeyring keyring;

 private:
  std::mutex mutex_;
  std::map<std::string, SslContext> made_;
};

}  // namespace pgjanus
