#pragma once
// Cuts a byte stream into messages without holding long ones.

#include <cstdint>
#include <optional>

#include "wire/bytes.hpp"
#include "wire/error.hpp"

namespace pgjanus::wire {

/// One message, or a part of a long one. Views alias the input of Framer::next().
struct Piece {
  std::uint8_t type = 0;
  std::uint32_t size = 0;  // Whole message on the wire: type byte, length field and body.
  ByteView bytes;          // What of it is here, header included when `first`.
  bool first = true;
  bool last = true;
  /// Body bytes in this piece (without the 5 header bytes when `first`).
  [[nodiscard]] ByteView body() const noexcept { return first ? bytes.subspan(5) : bytes; }
  [[nodiscard]] bool whole() const noexcept { return first && last; }
};

/// Takes messages off the front of a stream after start-up (type byte, int32 length, body;
/// PostgreSQL manual, "Message Flow"). A message of at most `whole_max` bytes comes in one piece.
/// Of a longer one the first piece is its front of exactly `whole_max` bytes (at least the
/// header), then come pieces as its bytes arrive, so its body is never held. Feeding a stream
/// whole, bytewise or split anywhere gives the same messages with the same fronts.
/// The type byte is not judged: check it at the front of the buffer while not inside(), since the
/// server refuses an unknown one before it reads a length.
class Framer {
 public:
  explicit Framer(std::uint32_t whole_max) noexcept : whole_max_{whole_max} {}

  /// The next piece at the front of `input`, or nothing when more bytes are needed. The caller
  /// drops piece.bytes.size() bytes from its buffer before the next call, and must offer at least
  /// `whole_max` bytes of buffer. Errors: message_length.
  [[nodiscard]] Result<std::optional<Piece>> next(ByteView input);

  /// Whether a long message has begun and not ended.
  [[nodiscard]] bool inside() const noexcept { return remaining_ > 0; }

 private:
  std::uint32_t whole_max_;
  std::uint32_t remaining_ = 0;  // Bytes still to come of a long message.
  std::uint32_t size_ = 0;
  std::uint8_t type_ = 0;
};

/// Largest message on the wire: the server's own palloc limit, 2^30 - 1 (MaxAllocSize).
inline constexpr std::uint32_t message_size_max = (1U << 30) - 1;

}  // namespace pgjanus::wire
