#pragma once
// Which sockets of a thread are ready, told without a system call for each wait.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

namespace pgjanus {

namespace asio = boost::asio;

enum class Interest : std::uint8_t { read, write };

/// Somebody who waits for a socket.
class Waiter {
 public:
  virtual ~Waiter() = default;
  /// The socket may be ready. True: all is done, and the waiting goes on; nobody is woken.
  virtual bool stays() noexcept { return false; }
  /// The waiting is over; `open` is false when the socket was closed.
  virtual void wake(bool open) = 0;

 private:
  friend class Poller;
  friend class Watched;
  std::unique_ptr<Waiter> next_;
  bool open_ = false;  // What it will be told.
};

/// Work that a wait does by itself each time the socket may be ready, before it wakes anybody.
class Recheck {
 public:
  /// True: all is done, and the waiting goes on.
  virtual bool again() noexcept = 0;

 protected:
  ~Recheck() = default;
};

class Poller;

template <class Tag>
using UnlinkingHook = boost::intrusive::list_base_hook<boost::intrusive::tag<Tag>,
                                                       boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
struct OfAll;
struct OfNudged;

/// A descriptor that its Poller watches, edge-triggered (epoll(7)), from construction to close().
/// Remembers what the edges told, so that asking "ready?" costs nothing. One thread.
class Watched : public UnlinkingHook<OfAll>, public UnlinkingHook<OfNudged> {
 public:
  [[nodiscard]] bool ready(Interest interest) const noexcept {
    return interest == Interest::read ? readable_ || read_ended_ : writable_ || write_ended_;
  }
  /// The kernel had nothing more (had no room): the next edge tells when that changes. Must be said
  /// after every attempt that fell short, and only then.
  void exhausted(Interest interest) noexcept {
    (interest == Interest::read ? readable_ : writable_) = false;
  }
  /// Completes with `void(bool open)` when it is ready, and `recheck` has work for somebody, or when
  /// it is closed; never before this returns. `recheck` lives until then.
  template <class Token>
  auto async_wait(Interest interest, Token&& token, Recheck* recheck = nullptr);
  void add(Interest interest, std::unique_ptr<Waiter> waiter);
  /// Who waits for reading looks again soon, as if bytes had come; never before this returns.
  void nudge() noexcept;
  /// Closes the descriptor; who waits is woken, not before this returns. Idempotent.
  void close() noexcept;

 private:
  friend class Poller;
  Watched(Poller& poller, int descriptor) noexcept : poller_{poller}, descriptor_{descriptor} {}

  Poller& poller_;
  int descriptor_;
  bool readable_ = false, writable_ = true;
  bool read_ended_ = false, write_ended_ = false;  // End of the stream, or an error: no edge may follow.
  std::unique_ptr<Waiter> readers_, writers_;
  std::unique_ptr<Watched> next_;  // Among those that wait for destruction.
};

/// One epoll instance inside an io_context's. Asio asks the kernel to re-arm a socket for every wait
/// that does not try first; here that is done once for all sockets that became ready together, and
/// a Waiter that does its work in stays() costs neither a handler nor a coroutine's resumption.
/// Everything is called on the io_context's one thread.
class Poller : public asio::execution_context::service {
 public:
  inline static asio::execution_context::id id;
  explicit Poller(asio::execution_context& context);
  [[nodiscard]] static Poller& of(const asio::any_io_executor& executor);

  struct Retire {
    void operator()(Watched* watched) const noexcept { watched->poller_.retire(watched); }
  };
  using Handle = std::unique_ptr<Watched, Retire>;
  /// Takes a non-blocking descriptor. Throws std::system_error, and then has closed it.
  [[nodiscard]] Handle watch(int descriptor);

 private:
  friend class Watched;
  void shutdown() override;
  void retire(Watched* watched) noexcept;
  void wake_soon(std::unique_ptr<Waiter>& waiters, bool open) noexcept;
  void arm();
  void hurry();
  void on_ready(bool events);
  int deliver_batch();
  void deliver(Watched& watched, Interest interest);
  void wake(Waiter& waiter) noexcept;

  asio::posix::stream_descriptor epoll_;
  template <class Tag>
  using List = boost::intrusive::list<Watched, boost::intrusive::base_hook<UnlinkingHook<Tag>>,
                                      boost::intrusive::constant_time_size<false>>;
  List<OfAll> all_;
  List<OfNudged> nudged_;
  std::unique_ptr<Waiter> due_;        // To be woken without another look at their sockets.
  std::unique_ptr<Watched> retired_;   // Until nothing of the batch refers to them.
  std::exception_ptr failure_;
  std::size_t waiting_ = 0;  // As long as somebody waits, io_context::run() does not return.
  bool armed_ = false, delivering_ = false, down_ = false;
};

namespace detail {

template <class Handler>
class HandlerWaiter final : public Waiter {
 public:
  HandlerWaiter(Handler handler, Recheck* recheck) : handler_{std::move(handler)}, recheck_{recheck} {}
  bool stays() noexcept override { return recheck_ != nullptr && recheck_->again(); }
  void wake(bool open) override {
    auto handler = std::move(handler_);
    std::move(handler)(open);
  }

 private:
  Handler handler_;
  Recheck* recheck_;
};

}  // namespace detail

template <class Token>
auto Watched::async_wait(Interest interest, Token&& token, Recheck* recheck) {
  return asio::async_initiate<Token, void(bool)>(
      [](auto handler, Watched* watched, Interest what, Recheck* first) {
        using Kept = detail::HandlerWaiter<decltype(handler)>;
        watched->add(what, std::make_unique<Kept>(std::move(handler), first));
      },
      token, this, interest, recheck);
}

}  // namespace pgjanus
