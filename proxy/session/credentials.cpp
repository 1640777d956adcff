#include "proxy/session/credentials.hpp"

#include <openssl/evp.h>

#include <boost/asio/ip/address.hpp>

#include "proxy/session/server.hpp"

namespace pgjanus {

namespace {

constexpr std::size_t salt_bytes = 16;  // As the server makes them (scram-common.h).
constexpr std::int32_t iterations = 4096;

std::string random_text(std::size_t size) {
  std::string text(size, '\0');
  random_bytes({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return text;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code failed;
  const auto address = boost::asio::ip::make_address(host, failed);
  return !failed && address.is_loopback();
}

}  // namespace

Credentials::Credentials(const Settings& settings)
    : database_{settings.database},
      url_{settings.url},
      users_{settings.users},
      loopback_{is_loopback(settings.listen.host)},
      secret_{random_text(32)} {}

wire::ScramVerifier Credentials::mock(const std::string& user) const {
  wire::ScramVerifier verifier;
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  const auto input = secret_ + user;
  EVP_Digest(input.data(), input.size(), hash, &size, EVP_sha256(), nullptr);
  verifier.salt.assign(reinterpret_cast<const char*>(hash), salt_bytes);
  verifier.iterations = iterations;
  return verifier;
}

Credentials::Login Credentials::find(const std::string& user) {
  std::optional<std::string> password;
  if (users_.empty()) {
    const auto source = url_[Side::source].read();
    if (source.get("user") == user) password = source.get("password");
  } else {
    for (const auto& entry : users_)
      if (entry.name == user) password = entry.password;
  }
  if (!password) return {mock(user), false, false};
  if (password->empty()) return {mock(user), false, loopback_};
  {
    const std::lock_guard lock{mutex_};
    const auto found = verifiers_.find(user);
    if (found != verifiers_.end() && found->second.password == *password)
      return {found->second.verifier, true, false};
  }
  // Some milliseconds of hashing: once at start and after a rotation, outside the lock.
  auto verifier = wire::make_verifier(*password, random_text(salt_bytes), iterations);
  const std::lock_guard lock{mutex_};
  verifiers_.insert_or_assign(user, Known{*password, verifier});
  return {verifier, true, false};
}

ConnectionParameters Credentials::parameters(Side side, const std::string& user) const {
  auto parameters = url_[side].read();
  for (const auto& entry : users_) {
    if (entry.name != user) continue;
    parameters.values["user"] = entry.server_user[side].value_or(entry.name);
    parameters.values["password"] = entry.server_password[side].value_or(entry.password);
  }
  return parameters;
}

std::string Credentials::database() const {
  if (!database_.empty()) return database_;
  const auto source = url_[Side::source].read();
  return source.get("dbname", source.get("user"));
}

}  // namespace pgjanus
