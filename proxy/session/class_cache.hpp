#pragma once
// Classes of statement texts, by exact text.

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "router/classify.hpp"

namespace pgjanus {

/// Two generations of bounded size: what is used again moves to the young one, the rest goes with
/// the old one. Texts with literals that never come back cost a parse each and push nothing out
/// that is in use. One thread.
class ClassCache {
 public:
  static constexpr std::size_t text_max = 4096;         // Longer texts are judged each time.
  static constexpr std::size_t generation_max = 4096;   // Texts; so at most 2 * 16 MB, rarely 1.

  StatementClass get(std::string_view text, const std::shared_ptr<const Catalog>& catalog) {
    if (catalog != catalog_) {
      catalog_ = catalog;  // Kept alive, so that its address cannot come back as another's.
      young_.clear();
      old_.clear();
    }
    if (text.size() > text_max) return classify(text, *catalog);
    if (const auto found = young_.find(text); found != young_.end()) return found->second;
    const auto found = old_.find(text);
    const auto kind = found != old_.end() ? found->second : classify(text, *catalog);
    if (young_.size() >= generation_max) {
      old_ = std::move(young_);
      young_.clear();
    }
    young_.emplace(std::string{text}, kind);
    return kind;
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Generation = std::unordered_map<std::string, StatementClass, Hash, std::equal_to<>>;
  std::shared_ptr<const Catalog> catalog_;
  Generation young_, old_;
};

}  // namespace pgjanus
