#pragma once
// Where the parse tree of libpg_query says that relations and what looks like them stand in a text.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace pgjanus {

/// What of the parse tree tells names apart, by the byte at which they stand.
struct Places {
  struct Relation {
    bool qualified = false, hidden = false;  // hidden: a WITH query of that name is in scope.
    bool may_have_alias = false;             // And has none.
  };
  std::map<std::size_t, Relation> relations;
  std::map<std::size_t, std::size_t> columns;  // How many parts, a star counted.
  std::set<std::size_t> functions, types;
  std::set<std::size_t> targets;  // Columns of INSERT and UPDATE with a field: SET a.b = 1.
  /// DROP and COMMENT: their names have no place in the tree, only the statement has.
  enum class Named : std::uint8_t { other, relations, behind_on, functions };
  struct Statement {
    std::size_t start, end;
    Named named;
  };
  std::vector<Statement> drops;
  /// What the DROP or COMMENT names in which this byte stands.
  [[nodiscard]] Named dropped_at(std::size_t place) const noexcept;
  std::set<std::string> temporary;  // Relations that are temporary, by name.
};

/// Nothing when the text does not parse, or is not safe to be parsed. Any thread, with at least 8 MB of stack.
[[nodiscard]] std::optional<Places> places_of(const std::string& text);

}  // namespace pgjanus
