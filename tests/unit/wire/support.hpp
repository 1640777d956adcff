#pragma once
// What the tests of `wire` share.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/message.hpp"

/// boost::system::result can be streamed only where its value can: show the error alone.
template <class T>
struct Catch::StringMaker<boost::system::result<T>> {
  static std::string convert(const boost::system::result<T>& result) {
    return result ? "a value" : result.error().message();
  }
};

namespace pgjanus::wire {

/// A heap block of exactly the given bytes, so that AddressSanitizer sees every read beyond.
class ExactBuffer {
 public:
  explicit ExactBuffer(ByteView bytes)
      : size_{bytes.size()}, block_{std::make_unique<std::uint8_t[]>(bytes.size())} {
    std::copy(bytes.begin(), bytes.end(), block_.get());
  }
  ByteView view() const { return {block_.get(), size_}; }
  std::string_view text() const { return as_text(view()); }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> block_;
};

/// Bytes from hexadecimal digits; blanks are skipped.
inline Bytes hex(std::string_view digits) {
  Bytes bytes;
  int high = -1;
  for (const char digit : digits) {
    if (digit == ' ') continue;
    const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
    if (high < 0) {
      high = value;
    } else {
      bytes.push_back(static_cast<std::uint8_t>(high * 16 + value));
      high = -1;
    }
  }
  return bytes;
}

/// The body of the single message in `message`.
inline ByteView body_of(const Bytes& message) { return ByteView{message}.subspan(5); }

/// Bytes of a literal with zero bytes in it.
template <std::size_t size>
ByteView literal(const char (&text)[size]) {
  return as_bytes({text, size - 1});
}

}  // namespace pgjanus::wire
