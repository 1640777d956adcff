#include <algorithm>
#include <array>
#include <cstdint>

#include "wire/scram.hpp"

namespace pgjanus::wire {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint32_t no_digit = 64;

constexpr std::array<std::uint8_t, 256> digit_values = [] {
  std::array<std::uint8_t, 256> values{};
  for (auto& value : values) value = no_digit;
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<std::uint8_t>(alphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}();

}  // namespace

std::string base64(std::string_view raw) {
  std::string text;
  text.reserve((raw.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < raw.size(); at += 3) {
    const auto here = std::min<std::size_t>(3, raw.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = (group << 8) | (i < here ? static_cast<std::uint8_t>(raw[at + i]) : 0U);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text += i <= here ? alphabet[(group >> (18 - 6 * i)) & 63] : '=';
    }
  }
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string raw;
  raw.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    // Padding only at the very end, of one or two places.
    std::size_t digits = 4;
    if (at + 4 == text.size()) {
      if (text[at + 3] == '=') digits = text[at + 2] == '=' ? 2 : 3;
    }
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto value =
          i < digits ? digit_values[static_cast<std::uint8_t>(text[at + i])] : std::uint8_t{0};
      if (value == no_digit) return std::nullopt;
      group = (group << 6) | value;
    }
    for (std::size_t i = 0; i + 1 < digits; ++i) {
      raw += static_cast<char>((group >> (16 - 8 * i)) & 0xFF);
    }
    // One text for one value: bits that the padding leaves over must be zero (RFC 4648, 3.5).
    if (digits < 4 && (group & ((1U << (8 * (4 - digits))) - 1)) != 0) return std::nullopt;
  }
  return raw;
}

}  // namespace pgjanus::wire
