#include "proxy/descriptors.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <thread>

namespace pgjanus {

std::size_t raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // What Linux starts with.
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit wanted{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0) limit = wanted;
  }
  return static_cast<std::size_t>(limit.rlim_cur);
}

std::size_t clients_that_fit(std::size_t descriptors, const Settings& settings) noexcept {
  const std::size_t threads = settings.threads > 0 ? settings.threads
                                                   : std::max(1U, std::thread::hardware_concurrency());
  // Epoll, timer and wake-up of each thread; control connections, two for each load worker; the
  // admin socket and HTTP with their own bounds of connections; logs, TLS files, pg_dump's pipes.
  std::size_t aside = 128 + 4 * threads + 4 * settings.load_workers;
  // Its socket, its server's, and in a flip that of its server on the other side, opened before
  // the old one is let go. Pooled servers belong to nobody: two sets of them for each
  // user, for the same reason.
  std::size_t each = 3;
  if (settings.pool == PoolMode::transaction) {
    each = 1;
    aside += 2 * static_cast<std::size_t>(settings.pool_size) * (settings.users.size() + 1);
  }
  return descriptors > aside ? (descriptors - aside) / each : 0;
}

}  // namespace pgjanus
