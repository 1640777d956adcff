#pragma once
// Remembers the classes of texts that come again, since parsing costs 10 to 50 µs.

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "router/classify.hpp"

namespace pgjanus {

/// A cache in front of classify(), by text without its constants (normalized()). One for each worker
/// thread; not thread-safe. A text is admitted when it is seen for the second time, so that those seen
/// once do not push out those that return. Forgets everything when the catalog changes.
class ClassCache {
 public:
  /// Longer texts are not kept: 4 kB.
  static constexpr std::size_t text_bytes_max = 4096;

  /// Keeps at most `bytes_max` bytes, the tables' own overhead (entry_bytes each) included.
  explicit ClassCache(std::size_t bytes_max = 4 * 1024 * 1024);

  /// As classify(text, *catalog). The catalog must not be null; it is kept alive until another
  /// one comes. `text` is as normalized() wants it.
  [[nodiscard]] StatementClass classify(std::string_view text,
                                        const std::shared_ptr<const Catalog>& catalog);

  [[nodiscard]] std::size_t entries() const noexcept { return by_text_.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Entry {
    std::string text;
    StatementClass result;
  };
  // List node, hash node and bucket, with the heap's own headers.
  static constexpr std::size_t entry_bytes = 160;
  // Hashes of texts seen once. A clash only admits a text too early.
  static constexpr std::size_t seen_slots = 4096;

  [[nodiscard]] bool seen_before(std::size_t hash) noexcept;
  void admit(std::string_view text, StatementClass result);

  std::string buffer_;  // For the key that is looked for.
  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::shared_ptr<const Catalog> catalog_;
  std::list<Entry> by_use_;  // The front was used last.
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_text_;  // Views of by_use_.
  std::vector<std::size_t> seen_;
};

}  // namespace pgjanus
