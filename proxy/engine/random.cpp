#include "proxy/engine/random.hpp"

#include <openssl/rand.h>

#include <array>
#include <stdexcept>

namespace pgjanus {

std::string random_token() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error{"the system's random number generator gives nothing"};
  }
  static constexpr char digits[] = "0123456789abcdef";
  std::string token;
  for (const auto byte : bytes) {
    token += digits[byte >> 4];
    token += digits[byte & 15];
  }
  return token;
}

}  // namespace pgjanus
