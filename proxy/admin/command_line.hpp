#pragma once
// The command line (contract.md, "The program").

#include <string>
#include <variant>
#include <vector>

#include "proxy/settings/settings.hpp"

namespace pgjanus::admin {

struct CommandLine {
  std::string verb;
  Flags flags;           // Settings, by name.
  bool json = false, watch = false;
  bool no_schema = false, repair = false, stop = false;
  bool dry_run = false, terminate = false, force = false, unfence = false;
  std::string database, confirm, reads;
  std::string wait, timeout;  // Empty: the proxy's default.
  std::vector<std::string> tables;
};

/// Nothing to run: text for stdout (code 0: --help, --version) or stderr.
struct Exit {
  int code = 0;
  std::string text;
};

/// Reads the arguments after the program's name. Error texts never repeat a value.
[[nodiscard]] std::variant<CommandLine, Exit> parse_command_line(std::vector<std::string> arguments);

/// Overwrites in place whatever could be a password, so that no process list shows one: values of
/// --source and --target, and anything that looks like a URL, a key=value string or a secret. The
/// moment between exec and this call is out of our hands; the environment or a _FILE has no such
/// moment (README). Call first thing, after copying the arguments.
void mask_arguments(int argc, char** argv);

/// The statement for the admin socket that means the same as the verb.
[[nodiscard]] std::string admin_statement(const CommandLine& line);

}  // namespace pgjanus::admin
