// A session that slept through a flip: its write meets the fence in the old primary. A statement
// that stood alone is run again on the new one; a transaction is told to begin again
// (design.md section 9, crash table).

#include "proxy/log.hpp"
#include "proxy/session/read_batch.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

/// For so long a fenced statement waits for the view that knows the new primary.
constexpr auto view_limit = std::chrono::seconds{10};

constexpr std::string_view fence_state = "25006";
constexpr std::string_view fence_message = "this database is now the mirror";  // contract.md.

}  // namespace

/// Keeps a batch that begins between transactions and stands alone in the buffer, while the fence
/// may refuse it: so it can be run again.
void Session::keep_lone(const wire::Piece& piece) {
  retry_.clear();
  if (!view().mirroring) return;
  // Larger ones are told to begin again: what every session keeps must stay small.
  static constexpr std::size_t kept_max = 8 * 1024;
  const auto all = client_in_.data();
  const auto rest = all.subspan(static_cast<std::size_t>(piece.bytes.data() - all.data()));
  if (rest.size() > kept_max) return;
  const auto batch = read_batch(rest);
  if (!batch || batch->bytes != rest.size()) return;
  retry_.assign(rest.begin(), rest.end());
  retry_on_ = main_.get();
}

bool Session::met_fence(const Server& server, const wire::Piece& piece) const {
  if (&server != main_.get()) return false;
  const auto error = wire::decode_error_fields(piece.body());
  return error && error->sqlstate() == fence_state && error->message() == fence_message;
}

/// What a transaction is told instead of the fence's own words: drivers repeat those.
wire::Bytes Session::begin_again() {
  wire::Bytes out;
  wire::encode_error_response(
      out, wire::make_error("ERROR", "40001", "could not serialize access: the primary has changed",
                            "The transaction began before a flip of the databases.",
                            "Repeat the transaction."));
  return out;
}

/// The refused statement was alone and has left no trace: it waits for the new primary's name, moves
/// there, and runs.
asio::awaitable<void> Session::retry_after_fence() {
  const auto self = shared_from_this();
  const auto bytes = std::exchange(retry_, {});
  const auto deadline = Clock::now() + view_limit;
  const auto epoch = view().epoch;
  fence_waiting_ = true;  // A flip that is under way need not wait for us: nothing runs.
  worker_.settled();
  std::optional<wire::ErrorFields> failure;
  bool moved = false;
  while (!ended_ && !failure && Clock::now() < deadline) {
    if (must_move() && pooled() && pin_.empty()) {
      give_back(main_);
      moved = true;
    } else if (must_move()) {
      failure = co_await move_to(*view().primary);
      moved = !failure;
    } else if (view().held == Held::none && view().primary && (moved || view().epoch != epoch)) {
      break;
    } else {
      co_await fence_.wait_until(deadline);
    }
  }
  fence_waiting_ = false;
  if (failure && !ended_) co_await end_with(std::move(*failure));
  if (!ended_ && Clock::now() >= deadline) {
    auto out = begin_again();
    wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
    const bool sent = co_await to_client(out);
    static_cast<void>(sent);
  } else if (!ended_) {
    log_event(LogLevel::info, "statement_retried_on_new_primary", {{"client", number_}});
    bool ready = true;
    if (pooled()) ready = co_await wait_for_primary();
    dirty_ = touched_ = true;  // What it did to the session on the first server has to be found here.
    if (ready && !ended_) co_await send_again(bytes);
  }
  work_done();
}

/// Sends a whole batch to the primary once more. The caller holds the client back meanwhile.
asio::awaitable<void> Session::send_again(wire::ByteView bytes) {
  active_ = main_;
  scanned_ = bytes;
  copied_ = 0;
  wire::Framer framer{buffer_bytes};
  for (auto rest = bytes; !rest.empty();) {
    const auto piece = framer.next(rest);
    if (!piece || !*piece) break;
    auto sent_as = static_cast<wire::Frontend>((*piece)->type);
    Mark mark;
    if (pooled()) rename(**piece, sent_as, mark);
    if (pooled() && (*piece)->type == static_cast<std::uint8_t>(wire::Frontend::parse)) note_parse(**piece);
    main_->exchange.from_client(sent_as, mark);
    if (sent_as == wire::Frontend::sync || sent_as == wire::Frontend::query) ++batch_;
    rest = rest.subspan((*piece)->bytes.size());
  }
  auto changed = std::exchange(worker_.outgoing, {});
  if (!changed.empty()) {
    const auto left = bytes.subspan(copied_);
    changed.insert(changed.end(), left.begin(), left.end());
    bytes = changed;
  }
  // A Parse of the unnamed statement comes along with its batch: it lives there now.
  const auto server = main_;
  wire::Bytes other;
  if (renames(*server)) bytes = other = renamed(*server, bytes);
  const bool open = co_await server->stream->write_all(bytes);
  static_cast<void>(open);  // The reader of that server finds out.
}

}  // namespace pgjanus
