#include "wire/framer.hpp"

#include <algorithm>
#include <boost/endian/conversion.hpp>

namespace pgjanus::wire {
namespace {

constexpr std::uint32_t header_size = 5;  // Type byte and length field.

}  // namespace

Result<std::optional<Piece>> Framer::next(ByteView input) {
  if (remaining_ > 0) {
    if (input.empty()) return std::nullopt;
    const auto here = std::min<std::size_t>(remaining_, input.size());
    remaining_ -= static_cast<std::uint32_t>(here);
    return Piece{type_, size_, input.first(here), false, remaining_ == 0};
  }
  if (input.size() < header_size) return std::nullopt;
  const auto length = boost::endian::load_big_u32(input.data() + 1);
  if (length < 4 || length > message_size_max) return WireErrc::message_length;
  const auto size = length + 1;  // At most 2^30: the check above keeps this from wrapping.
  // A long message's first piece is always exactly this long, however its bytes arrive: what a
  // session decides from the names at the front must not depend on how TCP cut the stream.
  const auto front = std::min(size, std::max(whole_max_, header_size));
  if (input.size() < front) return std::nullopt;
  type_ = input[0];
  size_ = size;
  remaining_ = size - front;
  return Piece{type_, size_, input.first(front), true, remaining_ == 0};
}

}  // namespace pgjanus::wire
