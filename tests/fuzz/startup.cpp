// Start-up packets: whatever decodes must decode to the same again after encoding.

#include "wire/startup.hpp"

#include "wire/assert.hpp"

using namespace pgjanus::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input{data, size};
  const auto announced = startup_size(input);
  if (announced && *announced) PROXY_ASSERT(**announced >= 8 && **announced <= startup_size_max);
  const auto packet = decode_startup(input);
  if (!packet) return 0;
  PROXY_ASSERT(announced && *announced && **announced == size);

  Bytes again;
  if (const auto* message = std::get_if<StartupMessage>(&*packet)) {
    encode_startup(again, *message);
  } else if (const auto* cancel = std::get_if<CancelRequest>(&*packet)) {
    if (size != 16) return 0;  // A key of another length names nobody.
    encode_cancel_request(again, *cancel);
  } else {
    return 0;
  }
  PROXY_ASSERT(std::equal(again.begin(), again.end(), input.begin(), input.end()));
  return 0;
}
