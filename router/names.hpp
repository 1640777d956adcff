#pragma once
// What the two sides call the same relation: [[rename]] of the settings, and what follows from it.

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/words.hpp"

namespace pgjanus {

struct QualifiedName {
  std::string schema, name;  // As the catalog has them: folded, without quotes.
  friend auto operator<=>(const QualifiedName&, const QualifiedName&) = default;
};

/// schema.name for people, as TableInfo::display().
[[nodiscard]] std::string to_string(const QualifiedName& name);
/// For SQL, quoted.
[[nodiscard]] std::string sql_name(const QualifiedName& name);
[[nodiscard]] std::string sql_word(std::string_view name);
/// `users`, `public.users`, `"Odd"."na.me"`: folded as Postgres does (ASCII). The schema is empty when
/// there is none. Nothing for anything else, other blanks and three parts included.
[[nodiscard]] std::optional<QualifiedName> parse_name(std::string_view text);

/// One relation that has another name on the target.
struct Rename {
  QualifiedName source, target;
  friend bool operator==(const Rename&, const Rename&) = default;
};

/// Names of one side in those of the other. Names that are not in it are the same on both sides. Pure.
class NameMap {
 public:
  /// False, and nothing is added, when one of the names is in the map already.
  bool add(Rename rename);
  [[nodiscard]] bool empty() const noexcept { return renames_.empty(); }
  [[nodiscard]] const std::vector<Rename>& renames() const noexcept { return renames_; }
  /// What `side` calls the relation that the source calls so.
  [[nodiscard]] QualifiedName on(Side side, const QualifiedName& of_source) const;
  /// What the source calls the relation that `side` calls so.
  [[nodiscard]] QualifiedName of(Side side, const QualifiedName& there) const;
  /// Whether `side` must have nothing of this name: it is what the other side calls something.
  [[nodiscard]] bool taken(Side side, const QualifiedName& there) const;
  friend bool operator==(const NameMap& a, const NameMap& b) { return a.to_target_ == b.to_target_; }

 private:
  std::vector<Rename> renames_;
  std::map<QualifiedName, QualifiedName> to_target_, to_source_;
};

}  // namespace pgjanus
