#pragma once
// What a client's next batch is, judged from the bytes in its buffer: enough to send a read to the
// other side, and to send it again to the primary.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

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

/// Whether `input` is one extended batch and nothing else, of Parse, Bind, Describe, Execute and a Sync at
/// its end, that uses a named statement. Cheap: headers and names only.
[[nodiscard]] bool uses_names(wire::ByteView input) noexcept;
/// Whether whole messages of a server only say that something was prepared or how it looks.
[[nodiscard]] bool only_prepared(wire::ByteView replies) noexcept;
/// The names that the Parse messages of such a batch give.
[[nodiscard]] std::vector<std::string_view> names_given(wire::ByteView batch);

}  // namespace pgjanus
