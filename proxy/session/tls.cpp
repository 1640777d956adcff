#include "proxy/session/tls.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "proxy/log.hpp"
#include "proxy/session/stream.hpp"

namespace pgjanus {

namespace {

SslContext make_context(const SSL_METHOD* method) {
  SslContext context{SSL_CTX_new(method), SslContextFree{}};
  if (!context) return context;
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  return context;
}

/// Hash of the certificate with its signature's hash; SHA-256 in place of MD5 and SHA-1
/// (RFC 5929, section 4.1).
std::optional<std::string> end_point_of(X509* certificate) {
  int digest_id = NID_undef;
  if (X509_get_signature_info(certificate, &digest_id, nullptr, nullptr, nullptr) != 1) return {};
  if (digest_id == NID_undef) return {};
  if (digest_id == NID_md5 || digest_id == NID_sha1) digest_id = NID_sha256;
  const auto* digest = EVP_get_digestbynid(digest_id);
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (digest == nullptr || X509_digest(certificate, digest, hash, &size) != 1) return {};
  return std::string{reinterpret_cast<const char*>(hash), size};
}

std::string home_file(std::string_view name) {
  const char* home = std::getenv("HOME");
  if (home == nullptr) return {};
  auto path = std::string{home} + "/.postgresql/" + std::string{name};
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? path : std::string{};
}

/// Name, size and time of a file: changes when the file does.
std::string stamp(const std::string& path) {
  struct stat info{};
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return path + "|";
  return path + "|" + std::to_string(info.st_size) + "|" + std::to_string(info.st_mtim.tv_sec) +
         "." + std::to_string(info.st_mtim.tv_nsec) + "|" + std::to_string(info.st_ino) + "|";
}

struct Files {
  std::string root, certificate, key, revoked, revoked_directory;
};

/// The key's passphrase, as OpenSSL asks for it: never from a terminal.
int passphrase(char* into, int size, int, void* sslpassword) {
  const auto& text = *static_cast<const std::string*>(sslpassword);
  const auto copied = text.copy(into, static_cast<std::size_t>(std::max(size, 0)));
  return static_cast<int>(copied);
}

/// libpq's ssl_min_protocol_version and ssl_max_protocol_version; 0 for none, -1 for a wrong one.
int version_from(std::string_view text) noexcept {
  if (text.empty()) return 0;
  static constexpr std::pair<std::string_view, int> names[] = {{"TLSv1", TLS1_VERSION},
                                                               {"TLSv1.1", TLS1_1_VERSION},
                                                               {"TLSv1.2", TLS1_2_VERSION},
                                                               {"TLSv1.3", TLS1_3_VERSION}};
  for (const auto& [name, version] : names)
    if (name == text) return version;
  return -1;
}

Files files_of(const ConnectionParameters& parameters) {
  const auto chosen = [&](const char* keyword, const char* file) {
    const auto given = parameters.get(keyword);
    return given.empty() ? home_file(file) : given;
  };
  return {chosen("sslrootcert", "root.crt"), chosen("sslcert", "postgresql.crt"),
          chosen("sslkey", "postgresql.key"), chosen("sslcrl", "root.crl"),
          parameters.get("sslcrldir")};
}

std::string configure(SSL_CTX* context, const ConnectionParameters& parameters, const Files& files,
                      SslMode mode) {
  const bool verify = mode == SslMode::verify_ca || mode == SslMode::verify_full;
  const int least = version_from(parameters.get("ssl_min_protocol_version"));
  const int most = version_from(parameters.get("ssl_max_protocol_version"));
  if (least < 0 || most < 0 || (least > 0 && SSL_CTX_set_min_proto_version(context, least) != 1) ||
      (most > 0 && SSL_CTX_set_max_proto_version(context, most) != 1))
    return "ssl_min_protocol_version or ssl_max_protocol_version is no version of TLS";
  if (!files.root.empty()) {
    if (SSL_CTX_load_verify_locations(context, files.root.c_str(), nullptr) != 1)
      return "could not read root certificate file \"" + files.root + "\": " + tls_error_text();
  } else if (verify) {
    return "sslmode verifies the server's certificate, but there is no root certificate: set "
           "sslrootcert (sslrootcert=system: the machine's own)";
  }
  if (!files.revoked.empty() || !files.revoked_directory.empty()) {
    auto* store = SSL_CTX_get_cert_store(context);
    const auto* file = files.revoked.empty() ? nullptr : files.revoked.c_str();
    const auto* folder = files.revoked_directory.empty() ? nullptr : files.revoked_directory.c_str();
    if (X509_STORE_load_locations(store, file, folder) != 1)
      return "could not read revocation list \"" + files.revoked + files.revoked_directory +
             "\": " + tls_error_text();
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
  // libpq checks the chain for `require` as well once a root certificate file is there.
  const bool check_chain = verify || (mode == SslMode::require && !files.root.empty());
  SSL_CTX_set_verify(context, check_chain ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!files.certificate.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1)
      return "could not read certificate file \"" + files.certificate + "\": " + tls_error_text();
    auto password = parameters.get("sslpassword");
    SSL_CTX_set_default_passwd_cb(context, passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(context, &password);
    const int loaded = SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
    SSL_CTX_set_default_passwd_cb(context, nullptr);
    if (loaded != 1)
      return "could not read private key file \"" + files.key + "\": " + tls_error_text();
  }
  return {};
}

}  // namespace

namespace {

/// A client that names protocols must name ours, however it came to TLS: bytes meant for another
/// protocol's server shall not be taken for ours (ALPACA; be-secure-openssl.c, alpn_cb).
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* in, unsigned in_size, void*) {
  for (unsigned at = 0; at < in_size && in[at] < in_size - at; at += in[at] + 1U) {
    const std::string_view name{reinterpret_cast<const char*>(in) + at + 1, in[at]};
    if (name != postgres_alpn) continue;
    *out = in + at + 1;
    *out_size = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

ClientTls load_client_tls(const std::string& certificate, const std::string& key) {
  ClientTls loaded{make_context(TLS_server_method()), {}};
  auto* context = loaded.context.get();
  if (context == nullptr) throw SettingsError{"TLS cannot be set up: " + tls_error_text()};
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    throw SettingsError{"certificate " + certificate + " cannot be used: " + tls_error_text()};
  std::string none;  // An encrypted key is an error, not a question on the terminal.
  SSL_CTX_set_default_passwd_cb(context, passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &none);
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    throw SettingsError{"key " + key + " cannot be used: " + tls_error_text()};
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  SSL_CTX_set_default_passwd_cb(context, nullptr);
  // Sessions of ours are long; resumption buys nothing and its tickets cost a write a login.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  loaded.end_point = end_point_of(SSL_CTX_get0_certificate(context)).value_or(std::string{});
  return loaded;
}

}  // namespace

ClientCertificate::ClientCertificate(std::string certificate, std::string key) {
  take(std::move(certificate), std::move(key));
}

void ClientCertificate::take(std::string certificate, std::string key) {
  // Stamped before it is read: a change in between is then seen the next time.
  auto seen = stamp(certificate) + stamp(key);
  std::shared_ptr<const ClientTls> loaded;
  if (!certificate.empty())
    loaded = std::make_shared<const ClientTls>(load_client_tls(certificate, key));
  current_ = std::move(loaded);
  stamp_ = std::move(seen);
  certificate_ = std::move(certificate);
  key_ = std::move(key);
}

void ClientCertificate::use(std::string certificate, std::string key) {
  const std::lock_guard lock{mutex_};
  take(std::move(certificate), std::move(key));
}

std::shared_ptr<const ClientTls> ClientCertificate::current() {
  const std::lock_guard lock{mutex_};
  if (certificate_.empty()) return nullptr;
  auto seen = stamp(certificate_) + stamp(key_);
  if (seen == stamp_) return current_;
  try {
    take(certificate_, key_);
    log_event(LogLevel::info, "certificate_reloaded", {{"certificate", certificate_}});
  } catch (const SettingsError& error) {
    stamp_ = std::move(seen);
    log_event(LogLevel::error, "certificate_not_reloaded",
              {{"certificate", certificate_}, {"error", error.what()},
               {"note", "clients still get the one from before"}});
  }
  return current_;
}

bool agreed_on_postgres(SSL* ssl) noexcept {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  return std::string_view{reinterpret_cast<const char*>(name), size} == postgres_alpn;
}

std::optional<std::string> peer_end_point(SSL* ssl) {
  std::unique_ptr<X509, decltype(&X509_free)> certificate{SSL_get1_peer_certificate(ssl),
                                                          &X509_free};
  if (!certificate) return {};
  return end_point_of(certificate.get());
}

std::optional<SslMode> ssl_mode_from(std::string_view text) noexcept {
  if (text.empty() || text == "prefer") return SslMode::prefer;
  if (text == "disable") return SslMode::disable;
  if (text == "allow") return SslMode::allow;
  if (text == "require") return SslMode::require;
  if (text == "verify-ca") return SslMode::verify_ca;
  if (text == "verify-full") return SslMode::verify_full;
  return {};
}

SslContext ServerTls::context(const ConnectionParameters& parameters, SslMode mode,
                              std::string& problem) {
  const auto files = files_of(parameters);
  const auto name = std::to_string(static_cast<int>(mode)) + "|" + stamp(files.root) +
                    stamp(files.certificate) + stamp(files.key) + stamp(files.revoked) +
                    stamp(files.revoked_directory) + parameters.get("ssl_min_protocol_version") +
                    "|" + parameters.get("ssl_max_protocol_version") + "|" +
                    parameters.get("sslpassword");
  const std::lock_guard lock{mutex_};
  if (const auto found = made_.find(name); found != made_.end()) return found->second;
  auto context = make_context(TLS_client_method());
  if (!context) {
    problem = "TLS cannot be set up: " + tls_error_text();
    return {};
  }
  problem = configure(context.get(), parameters, files, mode);
  if (!problem.empty()) return {};
  static constexpr std::size_t contexts_max = 16;  // Old ones go when certificates were renewed.
  if (made_.size() >= contexts_max) made_.clear();
  made_.emplace(name, context);
  return context;
}

}  // namespace pgjanus
