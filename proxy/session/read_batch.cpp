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

/// Type and body of the message at the front, taken off; type 0 when there is no whole one.
std::pair<std::uint8_t, wire::ByteView> take(wire::ByteView& rest) noexcept {
  if (rest.size() < 5) return {};
  const auto length = std::size_t{rest[1]} << 24U | std::size_t{rest[2]} << 16U | std::size_t{rest[3]} << 8U | rest[4];
  if (length < 4 || length > rest.size() - 1) return {};
  const auto type = rest[0];
  const auto body = rest.subspan(5, length - 4);
  rest = rest.subspan(1 + length);
  return {type, body};
}

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

bool uses_names(wire::ByteView input) noexcept {
  bool uses = false;
  while (!input.empty()) {
    const auto [type, body] = take(input);
    wire::FieldReader fields{body};
    switch (static_cast<Frontend>(type)) {
      case Frontend::parse:
      case Frontend::execute: break;
      case Frontend::bind:
        fields.cstring();
        uses = uses || !fields.cstring().empty();
        break;
      case Frontend::describe: uses = uses || (fields.byte() == 'S' && !fields.cstring().empty()); break;
      case Frontend::sync: return uses && input.empty();
      default: return false;
    }
  }
  return false;
}

bool only_prepared(wire::ByteView replies) noexcept {
  while (!replies.empty()) {
    switch (static_cast<wire::Backend>(take(replies).first)) {
      case wire::Backend::parse_complete:
      case wire::Backend::bind_complete:
      case wire::Backend::close_complete:
      case wire::Backend::parameter_description:
      case wire::Backend::row_description:
      case wire::Backend::no_data: break;
      default: return false;
    }
  }
  return true;
}

std::vector<std::string_view> names_given(wire::ByteView batch) {
  std::vector<std::string_view> names;
  while (!batch.empty()) {
    const auto [type, body] = take(batch);
    if (type == 0) break;
    wire::FieldReader fields{body};
    if (static_cast<Frontend>(type) == Frontend::parse) names.push_back(fields.cstring());
  }
  return names;
}

}  // namespace pgjanus
