// A hostile server: first and final message, one a line. It does not know the password, so no
// final message of its own may pass.

#include "wire/assert.hpp"
#include "wire/scram.hpp"

using namespace pgjanus::wire;

namespace {

// Counts that are allowed but take long say nothing about the parser.
bool takes_long(std::string_view first) {
  const auto at = first.rfind(",i=");
  if (at == std::string_view::npos) return false;
  const auto end = first.find_first_not_of('0', at + 3);
  const auto digits = end == std::string_view::npos ? 0 : first.size() - end;
  return digits > 3 && digits < 10;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = as_text({data, size});
  const auto end = std::min(input.find('\n'), input.size());
  const auto first = input.substr(0, end);
  const auto last = input.substr(std::min(end + 1, input.size()));
  if (takes_long(first)) return 0;

  for (const auto& binding : {std::optional<std::string>{}, std::optional<std::string>{"digest"}}) {
    ScramClient client{"a password nobody guesses", "client", binding};
    PROXY_ASSERT(!client.check(last));
    if (const auto proof = client.proof(first)) PROXY_ASSERT(proof->find(",p=") != proof->npos);
    PROXY_ASSERT(!client.check(last));
  }
  return 0;
}
