#pragma once
// What a client's next batch is, judged from the bytes in its buffer: enough to send a read to the
// other side, and to send it again to the primary.

#include <cstdint>
#include <optional>
#include <string_view>

#include "wire/bytes.hpp"

namespace pgjanus {

/// One batch that stands whole in a buffer and asks for one statement: a Query, or
/// [Parse of the unnamed statement] Bind [Describe] Execute (all rows) Sync. Views alias the input.
struct ReadBatch {
  std::size_t bytes = 0;      // From the front of the buffer.
  std::string_view text;      // Of the Query or Parse; empty when `statement` names it.
  std::string_view statement; // That Bind uses.
  bool parses = false, simple = false;
};

/// Nothing when the front of `input` is no such batch, or not all of it is there.
[[nodiscard]] std::optional<ReadBatch> read_batch(wire::ByteView input);

}  // namespace pgjanus
