// What other control work asks of the loop, between two batches.

#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto rewrites_patience = 30s;

pg::Error too_slow(const char* what) {
  // Put together in steps: GCC 12 at -O2 sees a false overrun in one long concatenation.
  std::string text = "the mirror loop did not come to rest in time (";
  text += what;
  text += ')';
  pg::Error error{text};
  error.message = text;
  error.sqlstate = "57014";
  return error;
}

std::string int_array(const std::vector<int>& ids) {
  std::string list = "{";
  for (const int id : ids) list += (list.size() > 1 ? "," : "") + std::to_string(id);
  return list + "}";
}

/// Lets the loop go on however the block is left.
class Unpark {
 public:
  explicit Unpark(MirrorLoop& loop) noexcept : loop_{loop} {}
  ~Unpark() { loop_.unpark(); }
  Unpark(const Unpark&) = delete;
  Unpark& operator=(const Unpark&) = delete;

 private:
  MirrorLoop& loop_;
};

}  // namespace

asio::awaitable<void> MirrorLoop::park(pg::Duration limit) {
  const auto deadline = Clock::now() + limit;
  ++park_wanted_;
  work_.notify();
  while (stop_ || owned_ || !at_rest_) {
    if (stop_ || Clock::now() >= deadline) {
      --park_wanted_;
      resumed_.notify();
      throw too_slow("park");
    }
    if (owned_) {
      co_await pause_for(2ms);
    } else {
      co_await rest_.wait(50ms);
    }
  }
  owned_ = true;
}

void MirrorLoop::unpark() noexcept {
  owned_ = false;
  --park_wanted_;
  if (park_wanted_ == 0) at_rest_ = false;
  resumed_.notify();
}

// Whoever asks wants to see DDL, too, that bypassed us a moment ago.
asio::awaitable<void> MirrorLoop::drain(Bar bar, pg::Duration limit) {
  ddl_.drain_limit = limit;
  ddl_.due = ddl_.on;
  ddl_.behind_bar = bar == Bar::closed;
  std::exception_ptr failure;
  try {
    co_await patient_cycle(nullptr);
  } catch (...) {
    failure = std::current_exception();
  }
  ddl_.behind_bar = false;
  if (failure) std::rethrow_exception(failure);
}

// One batch, with the patience that turn() has by running again and again: a snapshot that met DDL
// is taken anew, and a table that the app keeps locked is held up. An app that locks or rewrites one table
// after the other (VACUUM FULL of each) is met for as long as rewrites_patience.
asio::awaitable<void> MirrorLoop::patient_cycle(TwinSnapshots* twins) {
  const auto until = Clock::now() + rewrites_patience;
  for (int tries = 1;; ++tries) {
    std::optional<pg::Error> failure;
    ddl_.in_motion = false;
    rewritten_.clear();
    try {
      co_await connect();
      co_await cycle(true, twins);
      if (twins == nullptr) co_await follow_privileges();
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) co_return;
    const int table = stalled_table_;
    if (failure->is("23514")) co_await lift_check(*failure);
    if (failure->lost || !passing(*failure)) throw *failure;
    if (ddl_.in_motion && ++ddl_.unsettled >= holds_from) hold_ddl();
    const bool busy = failure->is("55P03") || failure->is("PGJ01") || !rewritten_.empty();
    // Not while clients wait behind the gate, or somebody else for the loop.
    const bool patient = busy && !ddl_.behind_bar && !stop_ && park_wanted_ <= 1 && Clock::now() < until;
    if (tries >= surprises_max && !patient) throw *failure;
    if (twins != nullptr) {
      if (twins->primary->in_transaction()) co_await twins->primary->run("ROLLBACK");
      if (twins->mirror->in_transaction()) co_await twins->mirror->run("ROLLBACK");
    }
    if (failure->is("55P03") && tables_.by_id.contains(table)) {
      if (tries % 3 == 0) hold_up(table);
    } else {
      if (!failure->is("PGJ01")) forget_tables();
      if (tries >= 5 || batch_was_long_) hold_up_rewritten();
    }
    // A look that DDL spoilt is made again before more of it comes: capture was brought just now.
    co_await pause_for(std::chrono::milliseconds{std::min(5 * tries, patient && ddl_.in_motion ? 5 : 100)});
  }
}

asio::awaitable<void> MirrorLoop::detach(std::vector<int> tables, TableState state,
                                         pg::Duration limit) {
  co_await park(limit);
  const Unpark unpark{*this};
  co_await connect();
  // coalesce: a table that already has a boundary of its own needs the journal since then.
  co_await applier_->run(
      "UPDATE pgjanus.tables SET state = $2, boundary = coalesce(boundary, $3) "
      "WHERE id = ANY ($1::int[])", pg::params(int_array(tables), std::string{to_string(state)}, boundary_.snapshot));
  co_await read_tables();
  // Ahead of the first batch without them, whose commits are told to be on both sides.
  if (state_ == MirrorState::in_sync) tell_what_lacks();
}

asio::awaitable<void> MirrorLoop::attach(std::vector<int> tables, pg::Duration limit) {
  co_await park(limit);
  const Unpark unpark{*this};
  co_await connect();
  co_await applier_->run(
      "UPDATE pgjanus.tables SET state = 'mirrored', error = NULL WHERE id = ANY ($1::int[])", pg::params(int_array(tables)));
  co_await read_tables();
  co_await patient_cycle(nullptr);
}

asio::awaitable<void> MirrorLoop::reload(std::vector<int> tables, pg::Duration limit) {
  co_await park(limit);
  const Unpark unpark{*this};
  co_await connect();
  // The entry is newer than every boundary: whichever batch comes next reads the tables whole.
  co_await reader_->run(
      "INSERT INTO pgjanus.journal (xid, table_id) "
      "SELECT pg_current_xact_id(), unnest($1::int[])", pg::params(int_array(tables)));
  co_await applier_->run(
      "UPDATE pgjanus.tables SET state = 'mirrored', error = NULL, "
      "boundary = coalesce(boundary, $2) WHERE id = ANY ($1::int[])", pg::params(int_array(tables), boundary_.snapshot));
  co_await read_tables();
  co_await patient_cycle(nullptr);
}

asio::awaitable<TwinSnapshots> MirrorLoop::twin_snapshots(TwinSnapshots twins, pg::Duration limit) {
  const bool stand = twins.primary && twins.primary->usable() && twins.mirror && twins.mirror->usable();
  if (!stand) {
    twins.primary = co_await databases_.open(settings_.primary, "verify", 10'000ms);
    twins.mirror = co_await databases_.open(mirror_side(), "verify", 10'000ms);
    // A verifier may compute for long on one side while the other waits.
    co_await twins.primary->run("SET idle_in_transaction_session_timeout = '10min'");
    co_await twins.mirror->run("SET idle_in_transaction_session_timeout = '10min'");
  }
  co_await park(limit);
  const Unpark unpark{*this};
  co_await patient_cycle(&twins);
  co_return twins;
}

asio::awaitable<void> MirrorLoop::catch_up(pg::Duration limit) {
  co_await park(limit);
  const Unpark unpark{*this};
  co_await drain();
}

}  // namespace pgjanus
