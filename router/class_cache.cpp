#include "router/class_cache.hpp"

#include "router/normalize.hpp"
#include "wire/assert.hpp"

namespace pgjanus {

ClassCache::ClassCache(std::size_t bytes_max) : bytes_max_{bytes_max}, seen_(seen_slots) {}

StatementClass ClassCache::classify(std::string_view text,
                                    const std::shared_ptr<const Catalog>& catalog) {
  PROXY_ASSERT(catalog != nullptr);
  // Holding the old one keeps its address from being used again for the new one.
  if (catalog != catalog_) {
    by_text_.clear();
    by_use_.clear();
    bytes_ = 0;
    catalog_ = catalog;
  }
  if (text.size() > text_bytes_max) return pgjanus::classify(text, *catalog);
  const auto key = normalized(text, buffer_);
  if (const auto found = by_text_.find(key); found != by_text_.end()) {
    by_use_.splice(by_use_.begin(), by_use_, found->second);
    return found->second->result;
  }
  const auto result = pgjanus::classify(text, *catalog);
  if (seen_before(std::hash<std::string_view>{}(key))) admit(key, result);
  return result;
}

bool ClassCache::seen_before(std::size_t hash) noexcept {
  auto& slot = seen_[hash % seen_slots];
  if (slot == hash) return true;
  slot = hash;
  return false;
}

void ClassCache::admit(std::string_view text, StatementClass result) {
  const auto bytes = text.size() + entry_bytes;
  if (bytes > bytes_max_) return;
  while (bytes_ + bytes > bytes_max_) {
    const auto& oldest = by_use_.back();
    bytes_ -= oldest.text.size() + entry_bytes;
    by_text_.erase(oldest.text);
    by_use_.pop_back();
  }
  by_use_.push_front({std::string{text}, result});
  by_text_.emplace(by_use_.front().text, by_use_.begin());
  bytes_ += bytes;
}

}  // namespace pgjanus
