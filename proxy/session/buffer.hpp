#pragma once
// Relay buffers: borrowed from the worker while bytes are in flight, given back when idle.

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "wire/assert.hpp"
#include "wire/bytes.hpp"

namespace pgjanus {

/// Bytes of one relay buffer: the bound of what a direction holds, and the largest message that
/// is seen whole. Longer ones stream through in pieces.
inline constexpr std::size_t buffer_bytes = 32 * 1024;

/// Buffers of one worker thread. Last in, first out: a busy worker keeps using the same warm pages,
/// and a thousand idle sessions hold none.
class BufferPool {
 public:
  using Block = std::unique_ptr<std::uint8_t[]>;
  Block take() {
    if (free_.empty()) return Block{new std::uint8_t[buffer_bytes]};
    auto block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  void give(Block block) {
    if (free_.size() < kept_max) free_.push_back(std::move(block));
  }

 private:
  static constexpr std::size_t kept_max = 64;  // 2 MB a worker.
  std::vector<Block> free_;
};

/// The bytes of one direction that were read and not yet passed on.
class Buffer {
 public:
  explicit Buffer(BufferPool& pool) noexcept : pool_{pool} {}
  ~Buffer() {
    if (block_) pool_.give(std::move(block_));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] wire::ByteView data() const noexcept {
    return {block_.get() + begin_, end_ - begin_};
  }
  [[nodiscard]] BufferPool& pool() const noexcept { return pool_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  /// Changes one byte of data().
  void patch(std::size_t at, std::uint8_t byte) noexcept {
    PROXY_ASSERT(at < end_ - begin_);
    block_[begin_ + at] = byte;
  }
  /// Where to read into; moves what is held to the front first. Empty when full.
  [[nodiscard]] std::span<std::uint8_t> space() {
    if (!block_) block_ = pool_.take();
    if (begin_ > 0) {
      std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {block_.get() + end_, buffer_bytes - end_};
  }
  void filled(std::size_t bytes) noexcept {
    PROXY_ASSERT(bytes <= buffer_bytes - end_);
    end_ += bytes;
  }
  void drop(std::size_t bytes) noexcept {
    PROXY_ASSERT(bytes <= end_ - begin_);
    begin_ += bytes;
  }
  /// Gives the memory back when nothing is held.
  void rest() {
    if (!empty() || !block_) return;
    begin_ = end_ = 0;
    pool_.give(std::move(block_));
  }

 private:
  BufferPool& pool_;
  BufferPool::Block block_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace pgjanus
