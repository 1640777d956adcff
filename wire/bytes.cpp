#include "wire/bytes.hpp"

#include <boost/endian/conversion.hpp>
#include <cstring>
#include <limits>

#include "wire/assert.hpp"
#include "wire/framer.hpp"

namespace pgjanus::wire {

ByteView FieldReader::take(std::size_t size) noexcept {
  if (size > rest_.size()) {  // Compare, never add: `size` is chosen by the peer.
    overrun_ = true;
    rest_ = {};
    return {};
  }
  const auto field = rest_.first(size);
  rest_ = rest_.subspan(size);
  return field;
}

std::uint8_t FieldReader::byte() noexcept {
  const auto field = take(1);
  return field.empty() ? std::uint8_t{0} : field[0];
}

std::int16_t FieldReader::int16() noexcept {
  const auto field = take(2);
  return field.empty() ? std::int16_t{0} : boost::endian::load_big_s16(field.data());
}

std::int32_t FieldReader::int32() noexcept {
  const auto field = take(4);
  return field.empty() ? 0 : boost::endian::load_big_s32(field.data());
}

std::string_view FieldReader::cstring() noexcept {
  const void* zero = rest_.empty() ? nullptr : std::memchr(rest_.data(), 0, rest_.size());
  if (zero == nullptr) {
    take(rest_.size() + 1);  // Marks the overrun.
    return {};
  }
  const auto size = static_cast<std::size_t>(static_cast<const std::uint8_t*>(zero) - rest_.data());
  return as_text(take(size + 1).first(size));
}

ByteView FieldReader::bytes(std::size_t size) noexcept { return take(size); }

MessageWriter& MessageWriter::begin(std::uint8_t type) {
  out_.push_back(type);
  return begin_untyped();
}

MessageWriter& MessageWriter::begin_untyped() {
  length_at_ = out_.size();
  out_.resize(out_.size() + 4);
  return *this;
}

MessageWriter& MessageWriter::byte(std::uint8_t value) {
  out_.push_back(value);
  return *this;
}

MessageWriter& MessageWriter::int16(std::int16_t value) {
  const auto at = out_.size();
  out_.resize(at + 2);
  boost::endian::store_big_s16(out_.data() + at, value);
  return *this;
}

MessageWriter& MessageWriter::int32(std::int32_t value) {
  const auto at = out_.size();
  out_.resize(at + 4);
  boost::endian::store_big_s32(out_.data() + at, value);
  return *this;
}

MessageWriter& MessageWriter::cstring(std::string_view text) {
  PROXY_ASSERT(text.find('\0') == std::string_view::npos);
  this->text(text);
  return byte(0);
}

MessageWriter& MessageWriter::text(std::string_view text) { return bytes(as_bytes(text)); }

MessageWriter& MessageWriter::bytes(ByteView bytes) {
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  return *this;
}

void MessageWriter::end() {
  const auto length = out_.size() - length_at_;  // The length field counts itself, not the type.
  PROXY_ASSERT(length <= message_size_max);
  boost::endian::store_big_u32(out_.data() + length_at_, static_cast<std::uint32_t>(length));
}

}  // namespace pgjanus::wire
