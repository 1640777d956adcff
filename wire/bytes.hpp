#pragma once
// Fields of message bodies, big-endian (PostgreSQL manual, "Message Data Types").

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pgjanus::wire {

using ByteView = std::span<const std::uint8_t>;
using Bytes = std::vector<std::uint8_t>;

[[nodiscard]] inline std::string_view as_text(ByteView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline ByteView as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// Reads the fields of one message body. The first overrun makes every later read return zero or
/// empty, so a decoder checks once, with complete(). Returned views alias the body.
class FieldReader {
 public:
  explicit FieldReader(ByteView body) noexcept : rest_{body} {}
  std::uint8_t byte() noexcept;
  std::int16_t int16() noexcept;
  std::int32_t int32() noexcept;
  /// Up to and without the terminating zero byte; an overrun when there is none.
  std::string_view cstring() noexcept;
  ByteView bytes(std::size_t size) noexcept;
  ByteView rest() const noexcept { return rest_; }
  bool overrun() const noexcept { return overrun_; }
  bool complete() const noexcept { return !overrun_ && rest_.empty(); }

 private:
  ByteView take(std::size_t size) noexcept;
  ByteView rest_;
  bool overrun_ = false;
};

/// Appends messages to a buffer that the caller owns. Lengths are filled in by end().
class MessageWriter {
 public:
  explicit MessageWriter(Bytes& out) noexcept : out_{out} {}
  MessageWriter& begin(std::uint8_t type);  // Type byte and a place for the length.
  MessageWriter& begin_untyped();           // Startup packets have no type byte.
  MessageWriter& byte(std::uint8_t value);
  MessageWriter& int16(std::int16_t value);
  MessageWriter& int32(std::int32_t value);
  MessageWriter& cstring(std::string_view text);  // Asserts that text holds no zero byte.
  MessageWriter& text(std::string_view text);     // Without terminator.
  MessageWriter& bytes(ByteView bytes);
  void end();

 private:
  Bytes& out_;
  std::size_t length_at_ = 0;
};

}  // namespace pgjanus::wire
