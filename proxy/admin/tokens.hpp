#pragma once
// Words, quoted names, quoted values and symbols of one command.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgjanus::admin {

struct Token {
  enum class Kind : std::uint8_t { word, name, value, symbol };  // bare, "name", 'value', one char
  Kind kind = Kind::word;
  std::string text;
  std::string upper;  // Of a word; empty otherwise.
};

using Tokens = std::vector<Token>;

/// Cuts `text` into statements at semicolons; empty ones are left out. Comments (-- and /* */) are
/// skipped. Nothing when a quote or comment is not closed.
[[nodiscard]] std::optional<std::vector<Tokens>> tokenize(std::string_view text);

}  // namespace pgjanus::admin
