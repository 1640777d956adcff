// The framer: a stream fed whole, bytewise and cut in two gives the same messages. The first input
// byte sets whole_max, the second where to cut; the rest is the stream.

#include "wire/framer.hpp"

#include <optional>

#include "wire/assert.hpp"

using namespace pgjanus::wire;

namespace {

struct Message {
  std::uint8_t type;
  std::uint32_t size;
  std::size_t front;  // Bytes of the first piece.
  std::size_t all;    // Bytes seen.
  friend bool operator==(const Message&, const Message&) = default;
};

struct Outcome {
  std::vector<Message> messages;
  std::size_t taken = 0;
  bool failed = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

class Feed {
 public:
  Feed(ByteView stream, std::uint32_t whole_max) : stream_{stream}, framer_{whole_max} {}

  void until(std::size_t end) {
    while (!outcome_.failed) {
      const auto piece = framer_.next(stream_.subspan(outcome_.taken, end - outcome_.taken));
      outcome_.failed = !piece;
      if (!piece || !*piece) return;
      const auto& part = **piece;
      PROXY_ASSERT(!part.bytes.empty());
      PROXY_ASSERT(part.bytes.data() == stream_.data() + outcome_.taken);
      PROXY_ASSERT(part.body().size() <= part.bytes.size());
      auto& messages = outcome_.messages;
      if (part.first) {
        messages.push_back(Message{part.type, part.size, part.bytes.size(), 0});
      }
      messages.back().all += part.bytes.size();
      PROXY_ASSERT(messages.back().all <= part.size);
      PROXY_ASSERT(part.last == (messages.back().all == part.size));
      PROXY_ASSERT(framer_.inside() == !part.last);
      outcome_.taken += part.bytes.size();
    }
  }
  const Outcome& outcome() const { return outcome_; }

 private:
  ByteView stream_;
  Framer framer_;
  Outcome outcome_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint32_t whole_max = data[0];
  const ByteView stream{data + 2, size - 2};
  const auto cut = stream.size() * data[1] / 255;

  Feed whole{stream, whole_max}, bytewise{stream, whole_max}, halves{stream, whole_max};
  whole.until(stream.size());
  for (std::size_t end = 0; end <= stream.size(); ++end) bytewise.until(end);
  halves.until(cut);
  halves.until(stream.size());
  PROXY_ASSERT(whole.outcome() == bytewise.outcome());
  PROXY_ASSERT(whole.outcome() == halves.outcome());
  return 0;
}
