// The filter of names on the way to a server. The first bytes choose the names, where they change, and how much of a
// message is held; the rest is the stream of messages. However the stream is cut, the same comes out; message for
// message it stays the same but for texts, and without renames every byte does.

#include "proxy/session/name_filter.hpp"

#include <string>
#include <vector>

#include "wire/assert.hpp"

using namespace pgjanus;
using wire::Bytes;
using wire::ByteView;

namespace {

const Rewriter nothing;
const Rewriter moved{{{{"a", "b"}, {"c", "b"}, Unqualified::is_ours}}};
const Rewriter renamed{{{{"a", "b"}, {"c", "dd"}, Unqualified::is_ours}}};

/// Messages of a stream, the last perhaps cut short; a length that makes no sense is that of a header.
struct Messages {
  std::vector<ByteView> whole;
  ByteView rest;
};

Messages cut(ByteView stream) {
  Messages messages;
  for (;;) {
    messages.rest = stream;
    if (stream.size() < 5) return messages;
    std::size_t length = 1;
    length += std::size_t{stream[1]} << 24U | std::size_t{stream[2]} << 16U | std::size_t{stream[3]} << 8U | stream[4];
    length = std::max<std::size_t>(length, 5);
    if (stream.size() < length) return messages;
    messages.whole.push_back(stream.first(length));
    stream = stream.subspan(length);
  }
}

bool equal(ByteView a, ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

/// The stream in pieces of `step` bytes; with `change` the names change there.
Bytes passed(ByteView stream, std::size_t held_max, std::size_t step, const Rewriter& first, const Rewriter& then,
             std::size_t change) {
  NameFilter filter{held_max};
  Bytes out;
  for (std::size_t at = 0; at < stream.size();) {
    auto size = std::min(step, stream.size() - at);
    if (at < change) size = std::min(size, change - at);
    const auto before = out.size();
    filter.pass(stream.subspan(at, size), at < change ? first : then, true, out);
    PROXY_ASSERT(out.size() >= before);
    at += size;
    const auto messages = cut(stream.first(at));
    PROXY_ASSERT(filter.inside() == !messages.rest.empty());
  }
  return out;
}

void check(ByteView stream, ByteView out, std::size_t held_max) {
  const auto before = cut(stream), after = cut(out);
  PROXY_ASSERT(before.whole.size() == after.whole.size());
  for (std::size_t i = 0; i < before.whole.size(); ++i) {
    const auto type = before.whole[i].front();
    PROXY_ASSERT(after.whole[i].front() == type);
    if (type != 'Q' && type != 'P') PROXY_ASSERT(equal(before.whole[i], after.whole[i]));
  }
  // What was begun has passed, as it is or with another head, or it waits.
  PROXY_ASSERT(after.rest.empty() || equal(after.rest, before.rest) || before.rest.size() >= held_max);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto& names = data[0] % 2 == 0 ? moved : renamed;
  const std::size_t step = std::size_t{data[1]} + 1;
  const ByteView stream{data + 3, size - 3};
  const auto change = stream.size() * data[2] / 255;

  const auto held_max = data[0] % 4 < 2 ? NameFilter::held_bytes_max : std::size_t{5} + data[0] / 4;

  const auto whole = passed(stream, held_max, stream.size(), names, names, 0);
  check(stream, whole, held_max);
  PROXY_ASSERT(passed(stream, held_max, 1, names, names, 0) == whole);
  PROXY_ASSERT(passed(stream, held_max, step, names, names, 0) == whole);

  const auto same = passed(stream, held_max, step, nothing, nothing, 0);
  PROXY_ASSERT(equal(ByteView{same}, stream.first(same.size())));
  const auto rest = cut(stream).rest;
  PROXY_ASSERT(stream.size() - same.size() <= rest.size());

  check(stream, passed(stream, held_max, step, nothing, names, change), held_max);
  check(stream, passed(stream, held_max, step, names, nothing, change), held_max);
  return 0;
}
