#include "proxy/admin/cli.hpp"

#include <csignal>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "proxy/admin/progress.hpp"
#include "proxy/admin/render.hpp"
#include "proxy/admin/socket.hpp"
#include "proxy/pg/admin_client.hpp"

namespace pgjanus::admin {
namespace {

using nlohmann::json;

constexpr int interrupted_code = 128 + SIGINT;  // As a shell reports it.

volatile std::sig_atomic_t interrupts = 0;

void on_interrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1) _exit(interrupted_code);  // The operator insists.
}

/// Without SA_RESTART, so that a wait ends at once.
void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_error(const std::string& message, const std::string& hint) {
  std::fprintf(stderr, "pgjanus: %s\n", message.c_str());
  if (!hint.empty()) std::fprintf(stderr, "hint: %s\n", hint.c_str());
}

std::string dump(const json& document) {
  return document.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

/// What --json prints when there is no document of the verb's own.
json error_document(const std::string& sqlstate, const std::string& message,
                    const std::string& hint) {
  return {{"error",
           {{"sqlstate", sqlstate.empty() ? json(nullptr) : json(sqlstate)},
            {"message", message},
            {"hint", hint.empty() ? json(nullptr) : json(hint)}}}};
}

int fail(const CommandLine& line, const std::string& message) {
  if (line.json) print(dump(error_document({}, message, {})));
  print_error(message, {});
  return 1;
}

/// The databases of a status document must have the one that was named.
bool serves(const json& status, const std::string& database) {
  for (const auto& element : status.value("databases", json::array())) {
    if (element.value("database", std::string{}) == database) return true;
  }
  return false;
}

int show_status(const CommandLine& line, const json& document) {
  if (line.json) {
    print(dump(document));
    return 0;
  }
  std::string text;
  for (const auto& database : document["databases"]) {
    const auto name = database.value("database", std::string{});
    if (!line.database.empty() && name != line.database) continue;
    text += render_status(database, document.value("version", std::string{}));
  }
  if (line.watch && isatty(STDOUT_FILENO)) text = "\033[H\033[2J" + text;
  print(text);
  return 0;
}

/// What a failure found, without its message: that goes to stderr.
std::string findings_of(const std::string& verb, json document) {
  if (document.is_object()) document.erase("message");
  return render_result(verb, document);
}

bool is_flip(const CommandLine& line) {
  return line.verb == "cutover" || line.verb == "rollback";
}

int finish(const CommandLine& line, const pg::AdminClient::Result& result) {
  const auto document =
      result.document ? json::parse(*result.document, nullptr, false) : json(nullptr);
  if (!result.failed) {
    if (line.verb == "status") return show_status(line, document);
    print(line.json ? dump(document) : render_result(line.verb, document));
    return 0;
  }
  if (result.document) {
    print(line.json ? dump(document) : findings_of(line.verb, document));
  } else if (line.json) {
    print(dump(error_document(result.sqlstate, result.message, result.hint)));
  }
  if (result.lost) {
    print_error("the proxy went away before it answered: " + result.message, {});
    // A flip may have been decided: only the databases know.
    return is_flip(line) && !line.dry_run ? static_cast<int>(Ended::in_doubt) : 1;
  }
  print_error(result.message, result.hint);
  if (interrupts > 0 && !is_flip(line) && result.sqlstate == "57014") return interrupted_code;
  return exit_code_of(result.sqlstate);
}

int talk(const CommandLine& line) {
  const auto environment = process_environment();
  const auto socket = find_proxy(admin_address(line.flags, environment), environment);
  catch_interrupts();
  ProgressPrinter progress;
  pg::AdminClient client{socket.directory, socket.port,
                         [&](const std::string& text) { progress.show(text); }};
  const auto interrupted = [] { return interrupts > 0; };
  if (!line.database.empty()) {
    const auto status = client.run("SHOW STATUS JSON", interrupted);
    const auto document = json::parse(status.document.value_or("{}"), nullptr, false);
    if (!serves(document, line.database)) {
      return fail(line, "the proxy at " + socket.path() + " does not serve the database \"" +
                            line.database + '"');
    }
  }
  while (true) {
    const auto result = client.run(admin_statement(line), interrupted);
    progress.finish();
    const auto code = finish(line, result);
    if (!line.watch || code != 0) return code;
    const timespec second{1, 0};
    nanosleep(&second, nullptr);  // A signal ends it early.
    if (interrupts > 0) return 0;
  }
}

}  // namespace

int exit_code_of(std::string_view sqlstate) noexcept {
  for (const auto ended : {Ended::not_ready, Ended::differences, Ended::refused, Ended::timed_out,
                           Ended::in_doubt}) {
    if (sqlstate == sqlstate_of(ended)) return static_cast<int>(ended);
  }
  return 1;
}

int print_outcome(const CommandLine& line, const Outcome& outcome) {
  auto document = outcome.document.is_null() ? json::object() : outcome.document;
  if (!document.contains("message")) document["message"] = outcome.message;
  const auto failed = outcome.ended != Ended::done;
  if (failed && outcome.document.is_null()) {
    if (line.json) {
      print(dump(error_document(std::string{sqlstate_of(outcome.ended)}, outcome.message,
                                outcome.hint)));
    }
  } else {
    print(line.json ? dump(document)
                    : failed ? findings_of(line.verb, document)
                             : render_result(line.verb, document));
  }
  if (failed) print_error(outcome.message, outcome.hint);
  return static_cast<int>(outcome.ended);
}

int run_verb(const CommandLine& line) {
  if (line.verb == "promote") {
    return fail(line, "promote is not there yet: it will make the mirror primary when the old "
                      "primary is gone for good");
  }
  try {
    return talk(line);
  } catch (const SettingsError& error) {
    return fail(line, error.what());
  } catch (const pg::AdminClientError& error) {
    return fail(line, error.what());
  }
}

}  // namespace pgjanus::admin
