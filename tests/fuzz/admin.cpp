// What an operator's tools send to the admin socket: commands are found or refused with a sentence,
// and every text ends somewhere.

#include "proxy/admin/command.hpp"
#include "proxy/admin/tokens.hpp"
#include "wire/assert.hpp"

using namespace pgjanus;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto statements = admin::tokenize(text);
  const auto parsed = admin::parse_commands(text);
  if (const auto* wrong = std::get_if<admin::SyntaxError>(&parsed)) {
    PROXY_ASSERT(wrong->sqlstate.size() == 5 && !wrong->message.empty());
    return 0;
  }
  const auto& commands = std::get<std::vector<admin::Command>>(parsed);
  PROXY_ASSERT(statements && commands.size() == statements->size());
  for (const auto& command : commands) {
    PROXY_ASSERT(!command.tag.empty());
    PROXY_ASSERT(command.timeout.count() >= 0 && command.flip.timeout.count() >= 0 &&
                 command.flip.wait.count() >= 0);
  }
  return 0;
}
