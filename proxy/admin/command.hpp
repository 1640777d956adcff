#pragma once
// The language of the admin socket (contract.md, "Admin socket"): text in, commands out.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/engine/operations.hpp"

namespace pgjanus::admin {

enum class Verb : std::uint8_t {
  check, prepare, load, migrate, verify, repair, reads, flip, pause, resume, retry, skip, finish,
  abort, stop, reload, shutdown, show, help,
  driver,  // What drivers say by themselves: answered, does nothing.
};

struct Command {
  Verb verb = Verb::driver;
  std::string tag;     // Of CommandComplete: the words as they are in the contract.
  bool json = false;   // Answer with one row, one column: the JSON document.
  bool load = false;                // stop: the load; otherwise the verification
  bool with_schema = true;          // prepare
  std::vector<std::string> tables;  // load, verify, repair: schema.table
  ReadsPolicy reads;
  FlipOptions flip;
  std::chrono::milliseconds timeout{30'000};  // pause
  std::string confirm;                        // finish, abort
  bool unfence = false;
  std::string what;  // show: the word, lower case. driver: name of the one column, or empty.
  std::optional<std::string> value;           // driver: its value.
  char transaction = 0;  // driver: 'T' begins, 'I' ends a block; drivers look at the status byte.
};

/// Why a text is no command: 42601 (syntax) or 0A000, and what would be right.
struct SyntaxError {
  std::string sqlstate, message, hint;
};

/// Splits at semicolons and reads every command, or says what is wrong with the first that is not
/// one. Keywords in any case; names "quoted" or bare; values 'quoted' or bare. An empty text gives
/// no commands.
[[nodiscard]] std::variant<std::vector<Command>, SyntaxError> parse_commands(
    std::string_view text);

/// Lines of HELP: command and what it does.
[[nodiscard]] const std::vector<std::pair<std::string, std::string>>& help_lines();

}  // namespace pgjanus::admin
