#include "proxy/session/poller.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <system_error>

#include "wire/assert.hpp"

namespace pgjanus {

namespace {

constexpr std::uint32_t broken = EPOLLHUP | EPOLLERR;
constexpr int batch_max = 64;
constexpr int batches_max = 16;  // Then timers and what was posted get their turn.

}  // namespace

void Watched::add(Interest interest, std::unique_ptr<Waiter> waiter) {
  auto& waiters = interest == Interest::read ? readers_ : writers_;
  ++poller_.waiting_;
  if (descriptor_ < 0 || ready(interest)) return poller_.wake_soon(waiter, descriptor_ >= 0);
  waiter->next_ = std::move(waiters);
  waiters = std::move(waiter);
  poller_.arm();
}

void Watched::nudge() noexcept {
  if (descriptor_ < 0 || poller_.down_ || UnlinkingHook<OfNudged>::is_linked()) return;
  poller_.nudged_.push_back(*this);
  if (!poller_.delivering_) poller_.hurry();  // on_ready() looks at them at its end.
}

void Watched::close() noexcept {
  if (descriptor_ < 0) return;
  // By hand: a child between fork and exec holds the same file open, and then close() removes nothing.
  ::epoll_ctl(poller_.epoll_.native_handle(), EPOLL_CTL_DEL, descriptor_, nullptr);
  ::close(std::exchange(descriptor_, -1));
  poller_.wake_soon(readers_, false);
  poller_.wake_soon(writers_, false);
}

Poller::Poller(asio::execution_context& context)
    : asio::execution_context::service{context}, epoll_{static_cast<asio::io_context&>(context)} {
  const int descriptor = ::epoll_create1(EPOLL_CLOEXEC);
  if (descriptor < 0) throw std::system_error{errno, std::generic_category(), "epoll_create1"};
  epoll_.assign(descriptor);
}

Poller& Poller::of(const asio::any_io_executor& executor) {
  return asio::use_service<Poller>(asio::query(executor, asio::execution::context));
}

Poller::Handle Poller::watch(int descriptor) {
  Handle watched{new Watched{*this, descriptor}};
  all_.push_back(*watched);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = watched.get();
  if (::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, descriptor, &event) != 0)
    throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
  return watched;
}

void Poller::retire(Watched* watched) noexcept {
  watched->close();
  std::unique_ptr<Watched> owned{watched};
  if (!delivering_) return;
  owned->next_ = std::move(retired_);
  retired_ = std::move(owned);
}

void Poller::wake_soon(std::unique_ptr<Waiter>& waiters, bool open) noexcept {
  if (!waiters || down_) return;
  while (auto waiter = std::move(waiters)) {
    waiters = std::move(waiter->next_);
    waiter->open_ = open;
    waiter->next_ = std::move(due_);
    due_ = std::move(waiter);
  }
  if (!delivering_) hurry();  // on_ready() looks at them at its end.
}

/// on_ready() is called at the io_context's next turn.
void Poller::hurry() {
  arm();
  boost::system::error_code ignored;
  epoll_.cancel(ignored);
}

void Poller::arm() {
  if (armed_ || delivering_ || down_ || waiting_ == 0) return;
  armed_ = true;
  epoll_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code failed) {
    armed_ = false;
    on_ready(!failed);
  });
}

void Poller::on_ready(bool events) {
  delivering_ = true;
  // Where several were ready more may be by now: asked at once, they cost no turn of the io_context.
  for (int batches = 0; events && batches < batches_max && deliver_batch() > 1;) ++batches;
  while (!nudged_.empty()) {
    auto& watched = nudged_.front();
    nudged_.pop_front();
    deliver(watched, Interest::read);
  }
  for (auto due = std::move(due_); due;) {
    const auto waiter = std::exchange(due, std::move(due->next_));
    wake(*waiter);
  }
  while (auto watched = std::move(retired_)) retired_ = std::move(watched->next_);
  delivering_ = false;
  due_ || !nudged_.empty() ? hurry() : arm();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

/// Returns how many sockets had news.
int Poller::deliver_batch() {
  std::array<epoll_event, batch_max> batch;
  const int count = ::epoll_wait(epoll_.native_handle(), batch.data(), batch_max, 0);
  for (int i = 0; i < count; ++i) {
    auto& watched = *static_cast<Watched*>(batch[static_cast<std::size_t>(i)].data.ptr);
    const auto told = batch[static_cast<std::size_t>(i)].events;
    if (told & EPOLLIN) watched.readable_ = true;
    if (told & EPOLLOUT) watched.writable_ = true;
    if (told & (EPOLLRDHUP | broken)) watched.read_ended_ = true;
    if (told & broken) watched.write_ended_ = true;
  }
  for (int i = 0; i < count; ++i) {
    auto& watched = *static_cast<Watched*>(batch[static_cast<std::size_t>(i)].data.ptr);
    if (watched.ready(Interest::read)) deliver(watched, Interest::read);
    if (watched.ready(Interest::write)) deliver(watched, Interest::write);
  }
  return count;
}

void Poller::deliver(Watched& watched, Interest interest) {
  auto& waiters = interest == Interest::read ? watched.readers_ : watched.writers_;
  auto list = std::move(waiters);
  while (auto waiter = std::move(list)) {
    list = std::move(waiter->next_);
    const bool stays = watched.descriptor_ >= 0 && waiter->stays();
    if (stays && watched.descriptor_ >= 0) {
      waiter->next_ = std::move(waiters);
      waiters = std::move(waiter);
    } else {
      waiter->open_ = watched.descriptor_ >= 0;
      wake(*waiter);
    }
  }
}

/// What is thrown is thrown on by on_ready(), after all others have had their turn.
void Poller::wake(Waiter& waiter) noexcept {
  --waiting_;
  try {
    waiter.wake(waiter.open_);
  } catch (...) {
    failure_ = std::current_exception();
  }
}

void Poller::shutdown() {
  down_ = true;
  // Coroutines are destroyed with their waiters, and close streams while we are at it.
  std::unique_ptr<Waiter> last = std::move(due_);
  for (auto& watched : all_) {
    for (auto* waiters : {&watched.readers_, &watched.writers_}) {
      while (auto waiter = std::move(*waiters)) {
        *waiters = std::move(waiter->next_);
        waiter->next_ = std::move(last);
        last = std::move(waiter);
      }
    }
  }
  while (auto waiter = std::move(last)) last = std::move(waiter->next_);
  boost::system::error_code ignored;
  epoll_.close(ignored);
}

}  // namespace pgjanus
