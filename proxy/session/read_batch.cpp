#include "proxy/session/read_batch.hpp"

#include "proxy/session/buffer.hpp"
#include "wire/framer.hpp"
#include "wire/message.hpp"

namespace pgjanus {

using wire::Frontend;

namespace {

/// Takes whole messages off the front.
class Messages {
 public:
  explicit Messages(wire::ByteView input) : rest_{input}, whole_{input.size()} {}
  /// Of the next message, or nothing.
  std::optional<wire::Piece> next() {
    wire::Framer framer{buffer_bytes};
    const auto piece = framer.next(rest_);
    if (!piece || !*piece || !(*piece)->whole()) return {};
    rest_ = rest_.subspan((*piece)->bytes.size());
    return **piece;
  }
  [[nodiscard]] std::size_t taken() const noexcept { return whole_ - rest_.size(); }

 private:
  wire::ByteView rest_;
  std::size_t whole_;
};

bool is(const std::optional<wire::Piece>& piece, Frontend type) {
  return piece && piece->type == static_cast<std::uint8_t>(type);
}

}  // namespace

std::optional<ReadBatch> read_batch(wire::ByteView input) {
  Messages messages{input};
  ReadBatch batch;
  auto message = messages.next();
  if (is(message, Frontend::query)) {
    const auto text = wire::decode_query(message->body());
    if (!text) return {};
    batch = {messages.taken(), *text, {}, false, true};
    return batch;
  }
  if (is(message, Frontend::parse)) {
    const auto parse = wire::decode_parse(message->body());
    // A named statement has to be on the primary too, whoever serves its first use. Types of our
    // own making have other numbers on the other side.
    if (!parse || !parse->statement.empty()) return {};
    for (const auto type : parse->parameter_types)
      if (static_cast<std::uint32_t>(type) >= 16384) return {};
    batch.text = parse->query;
    batch.parses = true;
    message = messages.next();
  }
  if (!is(message, Frontend::bind)) return {};
  const auto names = wire::decode_bind_names(message->body());
  if (!names || !names->portal.empty() || (batch.parses && !names->statement.empty())) return {};
  batch.statement = names->statement;
  message = messages.next();
  if (is(message, Frontend::describe)) {
    const auto target = wire::decode_target(message->body());
    if (!target || target->kind != 'P' || !target->name.empty()) return {};
    message = messages.next();
  }
  if (!is(message, Frontend::execute)) return {};
  const auto execute = wire::decode_execute(message->body());
  if (!execute || !execute->portal.empty() || execute->row_limit != 0) return {};
  message = messages.next();
  if (!is(message, Frontend::sync)) return {};
  batch.bytes = messages.taken();
  return batch;
}

}  // namespace pgjanus
