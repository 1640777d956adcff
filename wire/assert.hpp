#pragma once
// Assertions that stay on in release: a broken invariant must not go on to touch data.

namespace pgjanus {

/// Prints what failed and where on stderr, and aborts. Any thread.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace pgjanus

#define PROXY_ASSERT(expression)       \
  ((expression) ? static_cast<void>(0) \
                : ::pgjanus::assertion_failed(#expression, __FILE__, __LINE__))
