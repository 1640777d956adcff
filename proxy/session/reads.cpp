// Reads that the other side serves: which, how they get there, and how they come back.

#include "proxy/log.hpp"
#include "proxy/session/read_batch.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

/// For so long a session does not try the other side again after it failed there.
constexpr auto refused_for = std::chrono::seconds{5};

/// What others wrote may be missing there for so long, or for as long as a commit may wait for it. A batch that takes longer
/// while no commit waits leaves the mirror's state as it is.
constexpr std::chrono::milliseconds behind_max{1000};

}  // namespace

/// Whether the view sends any read of ours elsewhere. Cheap; kept in routing_.
void Session::update_routing() noexcept {
  const auto& now = view();
  if (!now.primary || !now.mirror_in_sync || !now.catalog) {
    routing_ = false;
    return;
  }
  const auto percent = target_percent(now.reads, *now.primary);
  routing_ = *now.primary == Side::source ? percent > 0 : percent < 100;
}

/// Where the batch at the front of the buffer goes, by the rules of router/reads.hpp.
bool Session::goes_aside() {
  const auto batch = read_batch(client_in_.data());
  if (!batch) return false;
  const auto kind = batch->simple || batch->parses ? class_of(batch->text)
                                                   : class_of_statement(batch->statement);
  // An unnamed statement lives where it was parsed; elsewhere it would have to be parsed first.
  if (!batch->simple && !batch->parses && batch->statement.empty()) return false;
  const auto primary = main_ ? main_->side : *view().primary;
  const auto& tickets = worker_.shared.tickets;
  const auto now = Clock::now();
  const bool fresh = now - std::max(behind_max, view().acknowledge_wait) < tickets.as_of();
  ReadContext context{.primary = primary,
                      .policy = view().reads,
                      .mirror_in_sync = view().mirror_in_sync && fresh,
                      .own_writes_mirrored = tickets.covered(ticket_),
                      .movable = now >= aside_refused_until_,
                      .dice = dice_};
  if (route(kind, context) == primary) return false;
  aside_bytes_ = batch->bytes;
  return true;
}

/// Opens the server aside and gives it the session's state. The gate asks again afterwards.
asio::awaitable<void> Session::ready_aside() {
  working_ = true;
  attention_ = true;
  const auto side = other(main_->side);
  if (!aside_ || !aside_->usable()) {
    release(aside_);
    aside_state_.reset();
    const auto failure = co_await lease(side, aside_);
    if (!failure) worker_.start_relay(aside_);
  }
  if (aside_ && !ended_) co_await bring_up(aside_);
  if (!aside_ || !aside_state_) {
    log_event(LogLevel::debug, "reads_stay_on_primary", {{"client", number_}});
    aside_refused_until_ = Clock::now() + refused_for;
  }
  work_done();
}

/// The front of the buffer goes to the other side; kept, until its first reply is on its way.
void Session::send_aside() {
  const auto bytes = client_in_.data().first(aside_bytes_);
  retry_.assign(bytes.begin(), bytes.end());
  retry_on_ = aside_.get();
  active_ = aside_;
}

/// Nothing of the reply has reached the client: the primary answers instead.
asio::awaitable<void> Session::retry_on_primary() {
  const auto self = shared_from_this();
  working_ = true;
  attention_ = true;
  const auto bytes = std::exchange(retry_, {});
  aside_refused_until_ = Clock::now() + refused_for;
  bool ready = true;
  if (pooled()) ready = co_await wait_for_primary();
  dirty_ = touched_ = true;  // What it did to the session on the first server has to be found here.
  if (ready && !ended_) co_await send_again(bytes);
  work_done();
}

/// The reply that nobody shall see has been dropped. In a task of its own: it may ask this very
/// server, whose answers our caller reads.
void Session::begin_retry(const Server& server) {
  retry_due_ = false;
  if (std::exchange(repairing_, false))
    spawn(repeat_batch(), "repeat_batch");
  else if (&server == main_.get())
    spawn(retry_after_fence(), "retry_after_fence");
  else
    spawn(retry_on_primary(), "retry_on_primary");
}

/// An error before anything of the reply was passed on: true when the batch is to run elsewhere. On
/// the other side any error is reason enough; the primary's word is taken for all but the fence.
bool Session::retries(Server& server, const wire::Piece& piece) {
  if (retry_.empty() || retry_on_ != &server) return false;
  if (&server == main_.get() && !(undoable_ && met_fence(server, piece))) return false;
  discard_reply(server);
  return true;
}

/// The rest of the reply, up to its ReadyForQuery, is nobody's; then what it answered runs again.
void Session::discard_reply(Server& server) {
  discarded_ = {};
  server.answer = &discarded_;
  server.answer_ready_owed = 1;
  server.exchange = Exchange{};
  retry_due_ = true;
  working_ = true;  // The client's next batch waits behind this one.
  attention_ = true;
}

/// The other side's server went while it served a read.
asio::awaitable<void> Session::aside_lost() {
  const bool nothing_sent = !retry_.empty();
  release(aside_);
  aside_state_.reset();
  active_ = main_;
  update_attention();
  if (nothing_sent) {
    co_await retry_on_primary();
    co_return;
  }
  if (mid_message_ != nullptr) {
    client_.close();  // No message of ours may stand inside another.
    co_return;
  }
  wire::Bytes out;
  wire::encode_error_response(
      out, wire::make_error("ERROR", "08006", "the server that answered this read was lost", "",
                            "Repeat the statement."));
  wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
  const bool open = co_await to_client(out);
  static_cast<void>(open);
  gate_news();
}

}  // namespace pgjanus
