// A hostile client: mechanism, first and final message, one a line. Nothing it can send logs in,
// since the mock verifier's keys fit no password.

#include "wire/assert.hpp"
#include "wire/scram.hpp"

using namespace pgjanus::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto rest = as_text({data, size});
  const auto line = [&rest] {
    const auto end = std::min(rest.find('\n'), rest.size());
    const auto text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return text;
  };
  const auto mechanism = line();
  const auto first = line();
  const auto final_message = rest;

  static const auto verifier = make_verifier("a password nobody guesses", "salt", 1);
  for (const auto& binding : {std::optional<std::string>{}, std::optional<std::string>{"digest"}}) {
    ScramServer server{verifier, true, "server", binding};
    if (!server.challenge(mechanism, first)) continue;
    PROXY_ASSERT(!server.finish(final_message));
    PROXY_ASSERT(!server.finish(final_message));
  }
  if (const auto raw = base64_decode(final_message)) {
    PROXY_ASSERT(base64(*raw) == final_message);
  }
  return 0;
}
