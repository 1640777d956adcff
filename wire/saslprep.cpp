// SASLprep (RFC 4013) of a password, for the characters that keyboards give.
//
// PostgreSQL prepares passwords before hashing them, on both ends (pg_saslprep of
// src/common/saslprep.c). Full preparation needs the tables of Unicode normalisation. Here stand
// the characters of which the normal form NFKC is themselves or a short text that takes part in no
// composition; with any other character the bytes stay as they are, which is right wherever NFKC
// changes nothing.

#include <array>
#include <cstdint>
#include <optional>

#include "wire/scram.hpp"

namespace pgjanus::wire {
namespace {

struct Range {
  std::uint32_t first, last;
};

template <std::size_t size>
bool within(const std::array<Range, size>& ranges, std::uint32_t character) {
  for (const auto& range : ranges) {
    if (character >= range.first && character <= range.last) return true;
  }
  return false;
}

// RFC 3454, tables C.1.2 and B.1; the first wins for U+200B, as in pg_saslprep.
constexpr std::array<Range, 6> spaces{{{0xA0, 0xA0},
                                       {0x1680, 0x1680},
                                       {0x2000, 0x200B},
                                       {0x202F, 0x202F},
                                       {0x205F, 0x205F},
                                       {0x3000, 0x3000}}};
constexpr std::array<Range, 7> nothing{{{0xAD, 0xAD},
                                        {0x34F, 0x34F},
                                        {0x1806, 0x1806},
                                        {0x180B, 0x180D},
                                        {0x200C, 0x200D},
                                        {0x2060, 0x2060},
                                        {0xFEFF, 0xFEFF}}};

// Assigned in Unicode 3.2, left to right or neutral, and their own NFKC.
constexpr std::array<Range, 24> themselves{{
    {0x20, 0x7E},     {0xA1, 0xA7},     {0xA9, 0xA9},     {0xAB, 0xAC},     {0xAE, 0xAE},
    {0xB0, 0xB1},     {0xB6, 0xB7},     {0xBB, 0xBB},     {0xBF, 0x131},    {0x134, 0x13E},
    {0x141, 0x148},   {0x14A, 0x17E},   {0x180, 0x1C3},   {0x1CD, 0x1F0},   {0x1F4, 0x220},
    {0x391, 0x3A1},   {0x3A3, 0x3CE},   {0x400, 0x481},   {0x2012, 0x2016}, {0x2018, 0x2022},
    {0x20AC, 0x20AC}, {0x3041, 0x3094}, {0x4E00, 0x9FA5}, {0xAC00, 0xD7A3},
}};

struct Mapped {
  std::uint32_t character;
  std::string_view text;
};
constexpr std::array<Mapped, 17> mapped{{
    {0xA8, " \xCC\x88"},
    {0xAA, "a"},
    {0xAF, " \xCC\x84"},
    {0xB2, "2"},
    {0xB3, "3"},
    {0xB4, " \xCC\x81"},
    {0xB5, "\xCE\xBC"},
    {0xB8, " \xCC\xA7"},
    {0xB9, "1"},
    {0xBA, "o"},
    {0xBC,
     "1\xE2\x81\x84"
     "4"},
    {0xBD,
     "1\xE2\x81\x84"
     "2"},
    {0xBE,
     "3\xE2\x81\x84"
     "4"},
    {0x2011, "\xE2\x80\x90"},
    {0x2025, ".."},
    {0x2026, "..."},
    {0x2122, "TM"},
}};

// The character at the front of `text` and how many bytes it takes; nothing for malformed UTF-8.
struct Decoded {
  std::uint32_t character;
  std::size_t size;
};
std::optional<Decoded> decode(std::string_view text) {
  const auto byte = [text](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return Decoded{lead, 1};
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return std::nullopt;
  std::uint32_t character = lead & (0x7FU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    character = (character << 6) | (byte(i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  if (character < least[size] || character > 0x10FFFF) return std::nullopt;
  if (character >= 0xD800 && character <= 0xDFFF) return std::nullopt;
  return Decoded{character, size};
}

// What stands for one character, or nothing when we do not know.
std::optional<std::string_view> prepared(std::uint32_t character, std::string_view itself) {
  if (within(themselves, character)) return itself;
  if (within(spaces, character)) return " ";
  if (within(nothing, character)) return "";
  for (const auto& entry : mapped) {
    if (entry.character == character) return entry.text;
  }
  return std::nullopt;
}

}  // namespace

std::string saslprep(std::string_view password) {
  std::string result;
  bool ascii = true;
  for (auto rest = password; !rest.empty();) {
    const auto next = decode(rest);
    if (!next) return std::string{password};
    ascii = ascii && next->character < 0x80;
    const auto itself = rest.substr(0, next->size);
    // Full-width forms of ASCII, as East Asian keyboards give them.
    const bool full_width = next->character >= 0xFF01 && next->character <= 0xFF5E;
    if (full_width) {
      result += static_cast<char>(next->character - 0xFEE0);
    } else if (const auto text = prepared(next->character, itself)) {
      result += *text;
    } else {
      return std::string{password};
    }
    rest.remove_prefix(next->size);
  }
  // Pure ASCII is never touched, control characters included; nothing left is no password.
  return ascii || result.empty() ? std::string{password} : result;
}

}  // namespace pgjanus::wire
