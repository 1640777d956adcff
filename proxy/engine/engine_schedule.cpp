// Verifications that come by themselves ([verify] every), so that a flip's guard finds a fresh
// answer.

#include <boost/asio/co_spawn.hpp>

#include "proxy/engine/engine.hpp"
#include "proxy/engine/verb_parts.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {
constexpr auto again_after_failure = 60s;
constexpr auto way_limit = 10s;  // For a run to end that an operator's command ends.
}  // namespace

// Called by the watch, once a second. Due is what was not compared since the last load, reload or
// repair, and what was compared too long ago.
void Engine::verify_when_due() {
  if (settings_.verify_every <= 0ms || phase_ != Phase::mirroring || !loop_ || stopping_) return;
  if (flipping_ || loading_ || !busy_with_.empty() || held_ != Held::none) return;
  if (loop_->report().state != MirrorState::in_sync) return;
  const auto now = Clock::now();
  const bool never = verify_ended_at_ == Clock::time_point{};
  const auto wait = verified_since_change_
                        ? settings_.verify_every
                        : std::min<std::chrono::milliseconds>(settings_.verify_every,
                                                              again_after_failure);
  if (!never && now - verify_ended_at_ < wait) return;
  if (never && verified_since_change_) {  // By an earlier process: its time runs from our start.
    verify_ended_at_ = now;
    return;
  }
  verify_ended_at_ = now;
  scheduled_verify_ = true;
  const auto ended = [this](std::exception_ptr failure, const Outcome&) {
    scheduled_verify_ = false;
    verify_ended_at_ = Clock::now();
    if (failure) log_event(LogLevel::warn, "scheduled_verification_failed");
  };
  asio::co_spawn(executor_, verify_on_schedule(), ended);
}

Engine::Awaited Engine::verify_on_schedule() {
  Caller caller;
  caller.peer = schedule_peer;
  std::vector<std::string> all;
  auto outcome = co_await verify(std::move(caller), std::move(all), false);
  co_return outcome;
}

asio::awaitable<void> Engine::end_scheduled_verification() {
  make_way_ = true;
  const auto deadline = Clock::now() + way_limit;
  while (scheduled_verify_ && Clock::now() < deadline) co_await pause_for(20ms);
  make_way_ = false;
}

}  // namespace pgjanus
