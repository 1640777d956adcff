#pragma once
// Keys of SCRAM that were derived before.

#include <map>
#include <mutex>

#include "wire/scram.hpp"

namespace pgjanus {

/// A role's salt stays the same until its password changes, so only the first of its logins has to
/// hash 4,096 times, a millisecond in which a worker serves nobody; ten thousand sessions would take
/// ten seconds of it. Holds secrets, as the settings do. Any thread.
class ScramKeyring {
 public:
  ScramKeyring() = default;
  ~ScramKeyring() { clear(); }
  ScramKeyring(const ScramKeyring&) = delete;
  ScramKeyring& operator=(const ScramKeyring&) = delete;

  [[nodiscard]] wire::ScramKeys keys(std::string_view password, std::string_view salt,
                                     std::int32_t iterations);

 private:
  void clear() noexcept;

  std::mutex mutex_;
  std::map<wire::Digest, wire::ScramKeys> known_;  // By a hash of what they were derived from.
};

}  // namespace pgjanus
