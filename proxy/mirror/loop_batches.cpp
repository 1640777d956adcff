// The batches themselves: what goes into one, its order, and what the primary must answer.

#include "proxy/engine/random.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto store_interval = 1000ms;  // How often an unchanged mirror's boundary is moved.
constexpr auto lister_kept = 10s;        // After the last DDL that needed it.
constexpr auto locks_interval = 200ms;
constexpr auto gather_max = 4ms;
constexpr auto gather_step = 200us;

/// The batch begins anew, with the keys since the last look.
struct OnceMore {};

/// What status shows of a batch, for as long as there is one.
struct UnderWay {
  UnderWay(const Batch*& shown, const Batch& batch) noexcept : place{shown} { place = &batch; }
  ~UnderWay() { place = nullptr; }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  const Batch*& place;
};

}  // namespace

// A batch reads under one snapshot, writes the mirror under one transaction, and becomes durable
// in this order: heartbeat on the primary, then the mirror's commit (README.md, "Going back").
asio::awaitable<void> MirrorLoop::cycle(bool store, TwinSnapshots* twins) {
  if (!held_up_.empty() && Clock::now() - locks_seen_at_ > locks_interval) co_await look_at_locks();
  if (!unsaved_holds_.empty()) co_await save_holds();
  if (!store && twins == nullptr) co_await gather();
  const auto began = Clock::now();
  const auto covered = tickets_.drawn();
  const auto defined = tickets_.defined();
  Batch batch{*reader_, *applier_, tables_, plan(),
              {boundary_.epoch, boundary_.batch + 1, {}, random_token(), system_, {}}};
  const UnderWay shown{under_way_, batch};
  stalled_table_ = 0;
  rewritten_.clear();
  ddl_.looking = ddl_.in_look = false;
  std::exception_ptr failure;
  bool once_more = false;
  try {
    auto header = co_await batch.open();
    check_header(header);
    bool replays = false;
    const bool looks = look_due();
    if (looks) replays = co_await look_at_catalog(header.snapshot);
    if (replays) once_more = co_await looks_too_late();
    if (once_more) throw OnceMore{};
    const bool nothing = batch.empty() && plan().own.empty() && !replays && ddl_.relabelled.empty();
    if (looks && !replays) {
      ddl_.defined = defined;
      ddl_.unsettled = 0;
      let_ddl_go();
    }
    if (looks && nothing) ddl_.looked = boundary_.snapshot;
    if (nothing && !store && twins == nullptr && began - stored_at_ < store_interval) {
      co_await batch.close_empty();
      finished_batch(began, covered);
      co_return;
    }
    if (twins != nullptr) co_await share_snapshot(*twins, header.snapshot);
    if (replays) {
      co_await begin_replay(batch);
      co_await batch.apply_rows();
      let_ddl_go();
      co_await end_replay();
      co_await batch.commit();
      replayed();
      ddl_.defined = defined;
    } else {
      if (!ddl_.relabelled.empty()) co_await read_late_labels();
      co_await batch.apply();
      tables_.whole.clear();
      ddl_.skip_asked = false;  // What it was meant for came right by itself.
    }
    // Rows are read after the look, by the names of then: should DDL have come in between, this batch's keys are taken once more,
    // and those that it took once more itself.
    if (looks && ddl_.once_more.empty()) ddl_.looked = boundary_.snapshot;
    boundary_ = batch.to();
    boundary_at_ = header.taken_at;
    for (const auto& [id, own] : plan().own) own_.erase(id);
    const auto settled = std::erase_if(restless_, [&](const auto& one) { return !held_up_.contains(one.first); });
    if (settled > 0) rested_ *= 2;
    ddl_.once_more.clear();
    stored_at_ = began;
    keys_ += batch.keys_applied();
    ++batches_;
    if (twins != nullptr) {
      co_await twins->mirror->run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
    }
    finished_batch(began, covered);
    co_return;
  } catch (...) {
    failure = std::current_exception();
  }
  stalled_table_ = batch.table_at_work();
  batch_was_long_ = Clock::now() - began > 1000ms;
  try {
    co_await batch.settled();
  } catch (const std::exception&) {
    // The first failure is the one that counts.
  }
  co_await batch.find_rewritten();
  rewritten_ = batch.rewritten();
  // Both transactions are open or gone; leave none behind on connections that go on.
  try {
    if (reader_ && reader_->usable() && reader_->in_transaction()) co_await reader_->run("ROLLBACK");
    if (applier_ && applier_->usable() && applier_->in_transaction()) {
      co_await applier_->run("ROLLBACK");
    }
  } catch (const pg::Error&) {
    drop_connections();
  }
  if (once_more) {
    co_await connect();  // What could not be rolled back is gone.
    co_await cycle(store, twins);
    co_return;
  }
  co_await after_failure(failure);
  std::rethrow_exception(failure);
}

// A batch costs much more than one more transaction in it, so those that are about to commit are
// waited for while more of them are to come than have come. Never longer than two batches take, and
// less and less often while nobody comes (an app that thinks inside its transactions).
asio::awaitable<void> MirrorLoop::gather() {
  if (!settings_.wait_for_both || state_ != MirrorState::in_sync) co_return;
  if (gathers_skipped_ < gathers_to_skip_) {
    ++gathers_skipped_;
    co_return;
  }
  const auto limit = Clock::now() + std::min<Clock::duration>(gather_max, 2 * batch_took_);
  const auto before = tickets_.drawn();
  bool more = true, late = false;
  for (;;) {
    const auto come = tickets_.drawn() - gathered_from_;
    more = come > 0 && tickets_.writers() > 0 &&
           static_cast<std::uint64_t>(tickets_.writers()) > come;
    late = Clock::now() >= limit;
    if (!more || late || stop_ || park_wanted_ > 0) break;
    co_await pause_for(gather_step);
  }
  const bool in_vain = more && late && tickets_.drawn() == before;
  gathers_skipped_ = 0;
  gathers_to_skip_ = in_vain ? std::min(gathers_to_skip_ * 2 + 1, 63) : 0;
}

asio::awaitable<void> MirrorLoop::share_snapshot(TwinSnapshots& twins, std::string snapshot) {
  auto exported = co_await reader_->run("SELECT pg_export_snapshot()");
  auto importing = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " +
                   pg::quote_literal(exported.text(0, 0)) + "; SELECT 1";
  co_await twins.primary->run(importing);
  twins.boundary = std::move(snapshot);
}

void MirrorLoop::finished_batch(Clock::time_point began, std::uint64_t covered) {
  const bool awaited = state_ == MirrorState::in_sync;
  surprises_ = 0;
  pause_ = 0ms;
  if (lister_ && Clock::now() - listed_at_ > lister_kept) lister_.reset();
  shared_at_ = began;
  stalled_table_ = 0;
  // Tables that this batch left out are read by the next one: until then nobody is told that both have them.
  const bool left_some = !std::exchange(ddl_.astray, {}).empty();
  const bool lacks = tell_what_lacks();
  if (!left_some) gathered_from_ = covered;
  if (!left_some && !lacks) tickets_.cover(covered, began);  // Of whom, is not known: nobody's write counts as mirrored.
  covered_();
  const auto took = Clock::now() - began;
  batch_took_ = took;
  if (!lacks && (state_ == MirrorState::stalled || left_some)) set_state(MirrorState::catching_up, std::nullopt);
  if (!lacks && !left_some && state_ != MirrorState::in_sync && took < settings_.acknowledge_wait) {
    set_state(MirrorState::in_sync, std::nullopt);
  }
  // What was acknowledged while nobody waited for the mirror came with this batch at the latest.
  settled_ = awaited && state_ == MirrorState::in_sync;
}

// Of a table that the batches leave out the app must not be told that both sides have it, nor be given what the mirror has of it.
bool MirrorLoop::tell_what_lacks() {
  if (!broken_.empty()) {
    set_state(MirrorState::degraded, broken_.begin()->second);
  } else if (!pending_detach_.empty()) {
    set_state(MirrorState::degraded, pending_detach_.begin()->second);
  } else if (!held_up_.empty()) {
    set_state(MirrorState::degraded, std::to_string(held_up_.size()) + (restless_.empty() ? " tables wait for a lock of the app"
                                         : " tables wait: the app locks them, or rewrites or truncates them again and again"));
  } else if (to_be_loaded_) {
    set_state(MirrorState::catching_up, "not every table is loaded; SHOW TABLES names them");
  } else {
    return false;
  }
  return true;
}

void MirrorLoop::check_header(const BatchHeader& header) const {
  const auto refuse = [](const char* state, const std::string& why) {
    pg::Error error{why};
    error.message = why;
    error.sqlstate = state;
    return error;
  };
  if (header.role != "primary" || header.epoch != settings_.epoch) {
    throw refuse("PGJ02", "the primary's state says " + header.role + " of epoch " +
                              std::to_string(header.epoch.value));
  }
  const auto now = parse_snapshot(header.snapshot), before = parse_snapshot(boundary_.snapshot);
  const std::string advice = "; verify and repair before going on";
  if (!now || !before || now->xmax < before->xmax) {
    throw refuse("PGJ03", "transaction ids went back on the primary: it was restored, or failed "
                          "over to a copy that lacked transactions" + advice);
  }
  if (boundary_.nonce != header.nonce && boundary_.nonce != header.previous_nonce) {
    throw refuse("PGJ03", "the primary does not know the mirror's last boundary: it went back in "
                          "time (failover to an asynchronous follower, or a restore)" + advice);
  }
  if (!boundary_.system.empty() && !system_.empty() && boundary_.system != system_) {
    throw refuse("PGJ03", "the primary is another cluster than at the last boundary" + advice);
  }
}

}  // namespace pgjanus
