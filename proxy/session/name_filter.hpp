#pragma once
// What goes to one server, with the names of its side in statement texts.

#include "router/rewrite.hpp"
#include "wire/bytes.hpp"
#include "wire/message.hpp"

namespace pgjanus {

/// Looks at the bytes on their way to a server: Query and Parse messages are rewritten where they name a relation that
/// this side calls otherwise, everything else passes as it is. One that comes in pieces waits for its end, up to
/// held_max bytes; of a longer one so much is rewritten as the head of its text, and the rest streams, with names of
/// the other side that the server refuses. Memory: what is held, and its copy on the way out. One thread; of one server.
class NameFilter {
 public:
  /// What a session is willing to hold. In a statement that long names stand in front, and values behind them.
  static constexpr std::size_t held_bytes_max = 4U << 20;

  /// Precondition: at least the header of a message fits into held_max.
  explicit NameFilter(std::size_t held_max = held_bytes_max);
  /// What to send in place of `bytes` is appended to `out`; perhaps less, the rest comes with a later call.
  void pass(wire::ByteView bytes, const Rewriter& rewriter, bool readable, wire::Bytes& out);
  /// Whether a message waits for its end, or passes in pieces: then all bytes have to come here.
  [[nodiscard]] bool inside() const noexcept { return rest_ > 0 || !held_.empty(); }

 private:
  /// A whole message, or the first held_max bytes of it.
  void message(wire::ByteView held, const Rewriter& rewriter, bool readable, wire::Bytes& out);

  std::size_t held_max_;
  std::size_t rest_ = 0;   // Bytes of the message that passes as it is.
  wire::Bytes held_;       // Of the message that waits.
  bool shadowed_ = false;  // A temporary table has had one of the names: it hides ours.
};

}  // namespace pgjanus
