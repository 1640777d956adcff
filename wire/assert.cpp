#include "wire/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace pgjanus {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "pgjanus: assertion failed: %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace pgjanus
