#include "proxy/session/name_filter.hpp"

#include <algorithm>

namespace pgjanus {

namespace {

constexpr std::size_t header_bytes = 5;

bool has_text(std::uint8_t type) {
  return type == static_cast<std::uint8_t>(wire::Frontend::query) ||
         type == static_cast<std::uint8_t>(wire::Frontend::parse);
}

/// Type byte and length word counted in. A header that makes no sense passes alone, for the server to refuse.
std::size_t size_of(wire::ByteView header) {
  std::size_t length = 0;
  for (std::size_t i = 1; i < header_bytes; ++i) length = length << 8U | header[i];
  return std::max(length + 1, header_bytes);
}

}  // namespace

void NameFilter::pass(wire::ByteView bytes, const Rewriter& rewriter, bool readable, wire::Bytes& out) {
  while (!bytes.empty()) {
    if (rest_ > 0) {
      const auto some = bytes.first(std::min(rest_, bytes.size()));
      out.insert(out.end(), some.begin(), some.end());
      rest_ -= some.size();
      bytes = bytes.subspan(some.size());
      continue;
    }
    const auto wanted = held_.size() < header_bytes ? header_bytes : size_of(held_);
    if (held_.empty() && bytes.size() >= header_bytes) {
      const auto size = size_of(bytes);
      if (!has_text(bytes.front()) || size > held_max) {
        rest_ = size;
        continue;
      }
      if (bytes.size() >= size) {
        message(bytes.first(size), rewriter, readable, out);
        bytes = bytes.subspan(size);
        continue;
      }
    }
    const auto some = bytes.first(std::min(wanted - held_.size(), bytes.size()));
    held_.insert(held_.end(), some.begin(), some.end());
    bytes = bytes.subspan(some.size());
    if (held_.size() < header_bytes) continue;
    const auto size = size_of(held_);
    if (!has_text(held_.front()) || size > held_max) {
      out.insert(out.end(), held_.begin(), held_.end());
      rest_ = size - held_.size();
      held_.clear();
    } else if (held_.size() >= size) {
      const auto whole = std::exchange(held_, {});
      message(whole, rewriter, readable, out);
    }
  }
}

void NameFilter::message(wire::ByteView whole, const Rewriter& rewriter, bool readable, wire::Bytes& out) {
  const auto body = whole.subspan(header_bytes);
  const bool query = whole.front() == static_cast<std::uint8_t>(wire::Frontend::query);
  const auto rewritten = [&](std::string_view text) -> std::optional<std::string> {
    if (!readable || !rewriter.may_concern(text)) return std::nullopt;
    shadowed_ = shadowed_ || rewriter.hides(text);
    return rewriter.rewrite(text, shadowed_ ? TextOf::shadowed_client : TextOf::client);
  };
  if (query) {
    const auto text = wire::decode_query(body);
    const auto other = text ? rewritten(*text) : std::nullopt;
    if (other) return wire::encode_query(out, *other);
  } else {
    const auto parse = wire::decode_parse(body);
    const auto other = parse ? rewritten(parse->query) : std::nullopt;
    if (other) return wire::encode_parse(out, parse->statement, *other, parse->parameter_types);
  }
  out.insert(out.end(), whole.begin(), whole.end());
}

}  // namespace pgjanus
