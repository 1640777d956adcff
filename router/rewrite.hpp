#pragma once
// SQL texts with the names of one side in those of the other: what clients say, and what catalogs and
// pg_dump print. Names are replaced where they stand; nothing else of a text changes.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/names.hpp"

namespace pgjanus {

/// Whose text it is, and so how names without a schema are taken.
enum class TextOf : std::uint8_t {
  client,           // As the entries say, where no WITH query of that name is in scope.
  shadowed_client,  // A temporary table may have such a name: only names with a schema are ours.
  catalog,          // Every name has its schema; a name without one is something else.
};

/// What a name without a schema means, in a client's text.
enum class Unqualified : std::uint8_t {
  stays,    // Something else.
  is_ours,  // This relation, whatever the search_path: nothing else is called so.
  unclear,  // It depends on the search_path: spelled out as the other side has it, which the server refuses.
};

/// Immutable; any thread, with at least 8 MB of stack.
class Rewriter {
 public:
  struct Entry {
    QualifiedName from, to;
    Unqualified alone = Unqualified::stays;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  Rewriter() = default;
  explicit Rewriter(std::vector<Entry> entries);

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// Whether one of the names' words occurs at all: cheap, and most texts are done with it.
  [[nodiscard]] bool may_concern(std::string_view text) const noexcept;
  /// Whether the text makes a temporary table of one of these names.
  [[nodiscard]] bool hides(std::string_view text) const;
  /// The text with the names replaced; nothing when none is in it. Texts that libpg_query cannot read, or
  /// longer ones than parse_bytes_max, are read by their tokens alone: qualified names are replaced, others
  /// only behind the INSERT INTO, UPDATE, DELETE FROM or COPY that begins the text. Linear then; it needs no more
  /// memory than the result, a window of tokens aside. Nothing, too, when it would grow by growth_bytes_max.
  [[nodiscard]] std::optional<std::string> rewrite(std::string_view text, TextOf whose) const;
  /// The same for the beginning of a longer text, by its tokens alone: what replaces it, whatever the rest is. Names
  /// whose meaning hangs on what comes behind the head stay.
  [[nodiscard]] std::optional<std::string> rewrite_head(std::string_view head, TextOf whose) const;

  /// Larger texts are not parsed, as in classify.
  static constexpr std::size_t parse_bytes_max = 16 * 1024;
  /// What a text of nothing but names may become longer by.
  static constexpr std::size_t growth_bytes_max = 8 * 1024 * 1024;
  friend bool operator==(const Rewriter&, const Rewriter&) = default;

 private:
  [[nodiscard]] bool readable(std::string_view text) const noexcept;

  std::vector<Entry> entries_;
};

}  // namespace pgjanus
