#pragma once
// Indexes that stay although the catalog has them under another identity: given to a constraint (ADD CONSTRAINT … USING INDEX), or
// made again as they were (REINDEX CONCURRENTLY). They stay on the mirror, too: foreign keys refer to them, REPLICA
// IDENTITY, CLUSTER ON and comments hang on them, and building one takes as long as its table is large.

#include <string>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

class Adopted {
 public:
  Adopted(const Shape& before, const Shape& now);

  /// Whether a constraint has it now, or an index that is alike.
  [[nodiscard]] bool stays(const Key& index) const { return indexes_.contains(index); }
  /// What an index that is new was before; nullptr if there was none like it.
  [[nodiscard]] const nlohmann::json* made_again(const Key& index) const;
  /// Makes `constraint` of the index that the mirror has; empty when that is another's, or none.
  [[nodiscard]] std::string making(const nlohmann::json& constraint) const;
  /// The name that the index gives up for the constraint's.
  [[nodiscard]] std::string vacated_by(const nlohmann::json& constraint) const;

 private:
  const Shape& before_;
  std::set<Key> indexes_;
  std::map<Key, Key> again_;
};

}  // namespace pgjanus::ddl
