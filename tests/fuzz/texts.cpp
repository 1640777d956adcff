// The small texts that peers, operators and databases choose: base64, saslprep, snapshots, READS.
// What is accepted must come back the same.

#include <string>

#include "router/reads.hpp"
#include "router/words.hpp"
#include "wire/assert.hpp"
#include "wire/scram.hpp"

using namespace pgjanus;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};

  const auto raw = wire::base64_decode(wire::base64(text));
  PROXY_ASSERT(raw && *raw == text);
  if (const auto decoded = wire::base64_decode(text)) {
    const auto again = wire::base64_decode(wire::base64(*decoded));
    PROXY_ASSERT(again && *again == *decoded);
  }

  const auto prepared = wire::saslprep(text);
  PROXY_ASSERT(wire::saslprep(prepared) == prepared);

  if (const auto snapshot = parse_snapshot(text)) {
    PROXY_ASSERT(snapshot->xmin <= snapshot->xmax);
    const FullXid* before = nullptr;
    for (const auto& running : snapshot->xip) {
      PROXY_ASSERT(running >= snapshot->xmin && running < snapshot->xmax);
      PROXY_ASSERT(before == nullptr || *before < running);
      PROXY_ASSERT(!snapshot->sees(running));
      before = &running;
    }
    const auto again = parse_snapshot(to_string(*snapshot));
    PROXY_ASSERT(again && *again == *snapshot);
  }

  if (const auto reads = parse_reads(text)) {
    PROXY_ASSERT(parse_reads(to_string(*reads)) == reads);
    for (const auto primary : {Side::source, Side::target})
      PROXY_ASSERT(target_percent(*reads, primary) <= 100);
  }
  if (const auto side = side_from(text)) PROXY_ASSERT(to_string(*side) == text);
  if (const auto role = role_from(text)) PROXY_ASSERT(to_string(*role) == text);
  return 0;
}
