#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "metrics/http_server.hpp"
#include "proxy/admin/cli.hpp"
#include "proxy/admin/progress.hpp"
#include "proxy/admin/socket.hpp"
#include "proxy/log.hpp"
#include "proxy/pg/conninfo.hpp"
#include "proxy/run.hpp"

namespace {

using namespace pgjanus;

/// `check` works alone where the URLs are known, and asks the running proxy where they are not.
int check(const admin::CommandLine& line) {
  const auto environment = process_environment();
  auto settings = load_settings(line.flags, environment, Needs::nothing);
  if (!settings.url[Side::source].given() && !settings.url[Side::target].given()) {
    try {
      static_cast<void>(admin::find_proxy(admin_address(line.flags, environment), environment));
      return admin::run_verb(line);
    } catch (const SettingsError&) {
      // No proxy either: the missing URLs are what to say.
    }
  }
  settings = load_settings(line.flags, environment, Needs::databases);
  configure_log(LogLevel::error, settings.log_format);
  admin::ProgressPrinter progress;
  const auto outcome =
      check_alone(settings, [&](const std::string& text) { progress.show(text); });
  progress.finish();
  return admin::print_outcome(line, outcome);
}

int start(const admin::CommandLine& line) {
  auto settings = load_settings(line.flags, process_environment(), Needs::databases);
  configure_log(settings.log_level, settings.log_format);
  return run(std::move(settings), line.flags);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments{argv + 1, argv + argc};
  admin::mask_arguments(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);  // A peer that went away is an error value, not an end.
  pg::forget_libpq_environment();
  const auto parsed = admin::parse_command_line(std::move(arguments));
  if (const auto* exit = std::get_if<admin::Exit>(&parsed)) {
    std::fputs(exit->text.c_str(), exit->code == 0 ? stdout : stderr);
    return exit->code;
  }
  const auto& line = std::get<admin::CommandLine>(parsed);
  if (line.verb != "run" && line.verb != "check") return admin::run_verb(line);
  try {
    return line.verb == "run" ? start(line) : check(line);
  } catch (const std::exception& error) {
    if (line.json) {
      std::puts(nlohmann::json{{"error", {{"message", error.what()}}}}.dump(2).c_str());
    }
    std::fprintf(stderr, "pgjanus: %s\n", error.what());
    return 1;
  }
}
