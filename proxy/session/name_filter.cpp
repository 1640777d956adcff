#include "proxy/session/name_filter.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "wire/assert.hpp"

namespace pgjanus {

namespace {

constexpr std::size_t header_bytes = 5;
/// The length word is a signed one, and counts itself but not the type byte.
constexpr std::size_t size_max = std::size_t{INT32_MAX} + 1;

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

/// Where in such a message the statement's text begins.
std::size_t text_start(wire::ByteView message) {
  if (message.front() != static_cast<std::uint8_t>(wire::Frontend::parse)) return header_bytes;
  const auto name_end = std::find(message.begin() + header_bytes, message.end(), std::uint8_t{0});
  return static_cast<std::size_t>(name_end - message.begin()) + (name_end == message.end() ? 0 : 1);
}

}  // namespace

NameFilter::NameFilter(std::size_t held_max) : held_max_{held_max} { PROXY_ASSERT(held_max >= header_bytes); }

void NameFilter::pass(wire::ByteView bytes, const Rewriter& rewriter, bool readable, wire::Bytes& out) {
  while (!bytes.empty()) {
    if (rest_ > 0) {
      const auto some = bytes.first(std::min(rest_, bytes.size()));
      out.insert(out.end(), some.begin(), some.end());
      rest_ -= some.size();
      bytes = bytes.subspan(some.size());
      continue;
    }
    if (held_.empty() && bytes.size() >= header_bytes) {
      const auto size = size_of(bytes);
      if (!has_text(bytes.front())) {
        rest_ = size;
        continue;
      }
      const auto wanted = std::min(size, held_max_);
      if (bytes.size() >= wanted) {
        message(bytes.first(wanted), rewriter, readable, out);
        bytes = bytes.subspan(wanted);
        continue;
      }
    }
    const auto wanted = held_.size() < header_bytes ? header_bytes : std::min(size_of(held_), held_max_);
    const auto some = bytes.first(std::min(wanted - held_.size(), bytes.size()));
    held_.insert(held_.end(), some.begin(), some.end());
    bytes = bytes.subspan(some.size());
    if (held_.size() < header_bytes) continue;
    if (!has_text(held_.front())) {
      out.insert(out.end(), held_.begin(), held_.end());
      rest_ = size_of(held_) - held_.size();
      held_.clear();
    } else if (held_.size() >= std::min(size_of(held_), held_max_)) {
      const auto held = std::exchange(held_, {});
      message(held, rewriter, readable, out);
    }
  }
}

void NameFilter::message(wire::ByteView held, const Rewriter& rewriter, bool readable, wire::Bytes& out) {
  const auto size = size_of(held);
  rest_ = size - held.size();
  const auto start = text_start(held);
  auto text = wire::as_text(held.subspan(start));
  text = text.substr(0, text.find('\0'));
  const auto end = start + text.size();
  const bool whole = end < held.size();
  std::optional<std::string> other;
  // Without its zero byte at the end no whole message is one.
  if (readable && (whole || rest_ > 0) && rewriter.may_concern(text)) {
    shadowed_ = shadowed_ || rewriter.hides(text);
    const auto whose = shadowed_ ? TextOf::shadowed_client : TextOf::client;
    other = whole ? rewriter.rewrite(text, whose) : rewriter.rewrite_head(text, whose);
  }
  const auto changed = other ? size - text.size() + other->size() : size;
  if (!other || changed > size_max) {
    out.insert(out.end(), held.begin(), held.end());
    return;
  }
  out.reserve(out.size() + held.size() - text.size() + other->size());
  out.push_back(held.front());
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out.push_back(static_cast<std::uint8_t>((changed - 1) >> shift));
  const std::array parts{held.subspan(header_bytes, start - header_bytes), wire::as_bytes(*other), held.subspan(end)};
  for (const auto part : parts) out.insert(out.end(), part.begin(), part.end());
}

}  // namespace pgjanus
