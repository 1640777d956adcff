#pragma once

#include <string>

namespace pgjanus {

/// 128 random bits of the system's generator as 32 hexadecimal digits: nonces and ids. Any thread.
[[nodiscard]] std::string random_token();

}  // namespace pgjanus
