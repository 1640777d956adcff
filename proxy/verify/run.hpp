#pragma once
// One comparison of some tables by several workers.

#include <deque>
#include <list>

#include "proxy/load/pace.hpp"
#include "proxy/verify/store.hpp"
#include "proxy/verify/verifier.hpp"

namespace pgjanus::verify {

/// Whether a run can be come back to.
enum class Kept : std::uint8_t { stored, once };

/// A worker: its connections, and what the others must know of it.
struct Lane {
  unsigned number = 0;
  TwinSnapshots twins;
  pg::ConnectionPtr records;
  pg::Connection* scanner = nullptr;  // The primary's, while it reads.
  bool made_way = false;              // For a lock of the app, or the end of the run.
  int waited_for = 0;                 // The scanner that somebody waited for at the last look.
  std::int64_t rows = 0, bytes = 0;   // Of the present group, not yet rested for.
  std::chrono::steady_clock::duration took{};
  std::string what;
};

class Run {
 public:
  Run(const Databases& databases, MirrorControl& mirror, const VerifyRequest& request, Pass& pass)
      : databases_{databases}, mirror_{mirror}, request_{request}, pass_{pass} {}

  /// Compares what the scope takes; the pass holds what came of it. Throws pg::Error when a side is
  /// lost or the run was stopped: what is done stays stored.
  boost::asio::awaitable<void> compare(const Scope& scope, Kept kept);

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int attempts_max = 8;
  static constexpr std::chrono::milliseconds pause_between_attempts{500};

  /// The tables of both sides, and what is on one of them only.
  struct Catalogs {
    std::vector<TableInfo> on_primary, on_mirror;
    std::vector<Difference> differences;
    [[nodiscard]] const TableInfo* twin_of(const TableInfo& table) const;
  };

  boost::asio::awaitable<void> open();
  boost::asio::awaitable<Catalogs> look_at_catalogs(const Scope& scope);
  boost::asio::awaitable<Catalogs> settled_catalogs(const Scope& scope);
  boost::asio::awaitable<void> choose(const Scope& scope, Kept kept);
  boost::asio::awaitable<void> read_sizes();
  boost::asio::awaitable<void> plan();
  boost::asio::awaitable<void> work_off();
  boost::asio::awaitable<void> work(unsigned number);
  boost::asio::awaitable<void> compare_group(Lane& lane, std::vector<Piece> group);
  boost::asio::awaitable<bool> look_at_group(Lane& lane, std::vector<Piece> group);
  boost::asio::awaitable<void> compare_piece(Lane& lane, Record& record, Piece piece);
  boost::asio::awaitable<TwinSnapshots> snapshots(TwinSnapshots used);
  boost::asio::awaitable<void> rest(const Lane* lane, std::int64_t rows, std::int64_t bytes,
                                    Clock::duration took);
  boost::asio::awaitable<void> look_for_waiters();
  void cancel(Lane& lane);
  boost::asio::awaitable<void> give_up(Lane& lane, Work& work);
  [[nodiscard]] std::vector<Piece> take();
  [[nodiscard]] bool left() const;  // Something is to be begun.
  [[nodiscard]] bool complete() const;
  [[nodiscard]] bool stopped() const { return ended_ || (request_.stop && request_.stop()); }
  [[nodiscard]] bool limited() const;
  void look_around();
  void tell();

  const Databases& databases_;
  MirrorControl& mirror_;
  const VerifyRequest& request_;
  Pass& pass_;
  pg::ConnectionPtr guard_;  // Looks whether our locks keep somebody waiting.
  load::Pace pace_;
  std::deque<Piece> pieces_;      // Biggest first.
  std::int64_t group_bytes_ = 0;  // No group of small ones is above it.
  std::list<Lane> lanes_;     // Addresses are stable.
  bool ended_ = false;        // A worker failed: the others end.
  VerifyProgress state_;
  struct Sample {
    Clock::time_point at;
    std::int64_t rows, bytes;
  };
  std::deque<Sample> samples_;
  Clock::time_point told_{};
};

}  // namespace pgjanus::verify
