#include "proxy/session/keyring.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "wire/assert.hpp"

namespace pgjanus {

namespace {

// More than there are roles. A server that makes up a new salt for each login (one that hides which
// roles exist does, for those that do not) must not make it grow.
constexpr std::size_t known_max = 256;

wire::Digest name_of(std::string_view password, std::string_view salt, std::int32_t iterations) {
  // With lengths in between, so that no two triples make one text.
  std::string text = std::to_string(iterations) + ':' + std::to_string(salt.size()) + ':';
  text.append(salt).append(password);
  wire::Digest name{};
  unsigned size = 0;
  PROXY_ASSERT(EVP_Digest(text.data(), text.size(), name.data(), &size, EVP_sha256(), nullptr) == 1);
  OPENSSL_cleanse(text.data(), text.size());
  return name;
}

}  // namespace

wire::ScramKeys ScramKeyring::keys(std::string_view password, std::string_view salt,
                                   std::int32_t iterations) {
  const auto name = name_of(password, salt, iterations);
  {
    const std::lock_guard lock{mutex_};
    if (const auto found = known_.find(name); found != known_.end()) return found->second;
  }
  const auto keys = wire::derive_scram_keys(password, salt, iterations);  // Outside the lock.
  const std::lock_guard lock{mutex_};
  if (known_.size() >= known_max) clear();
  known_.insert_or_assign(name, keys);
  return keys;
}

void ScramKeyring::clear() noexcept {
  for (auto& [name, keys] : known_) OPENSSL_cleanse(&keys, sizeof keys);
  known_.clear();
}

}  // namespace pgjanus
