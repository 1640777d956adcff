#pragma once
// Open files: how many this process may have, and how many clients that makes.

#include <cstddef>

#include "proxy/settings/settings.hpp"

namespace pgjanus {

/// Raises the soft limit of open files (RLIMIT_NOFILE) to the hard one: shells and service managers
/// leave it at 1,024 for programs that use select(), which we do not. Returns what holds now.
[[nodiscard]] std::size_t raise_descriptor_limit() noexcept;

/// How many clients `descriptors` carry, with what the rest of the process needs set aside.
[[nodiscard]] std::size_t clients_that_fit(std::size_t descriptors,
                                           const Settings& settings) noexcept;

}  // namespace pgjanus
