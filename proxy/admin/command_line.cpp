// The only file that includes CLI11.

#include "proxy/admin/command_line.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>

#include "proxy/settings/options.hpp"

namespace pgjanus::admin {
namespace {

struct VerbHelp {
  const char* name;
  const char* what;
};

constexpr VerbHelp verbs[] = {
    {"run", "the proxy, in the foreground; SIGTERM drains and stops, SIGHUP reloads"},
    {"check", "preflight of both databases; changes nothing"},
    {"prepare", "schema to the target, capture on the source, fence on the target"},
    {"load", "bulk load, then mirror; returns when in sync"},
    {"migrate", "check, prepare, load, verify; stops before the cutover"},
    {"verify", "exact comparison of both sides at a boundary"},
    {"reads", "where reads go: primary, mirror, source, target, or the target's share (25%)"},
    {"cutover", "flip to the target"},
    {"rollback", "flip back to the source"},
    {"pause", "hold new transactions on all proxies"},
    {"resume", "let them go"},
    {"finish", "end the migration"},
    {"abort", "before a cutover: stop mirroring, remove everything of ours from both sides"},
    {"promote", "not there yet"},
    {"status", "one screen: phase, primary, lag, what it waits for and why"},
};

/// Looks like it may hold a password.
bool suspicious(std::string_view text) {
  return text.find("://") != std::string_view::npos ||
         text.find("password") != std::string_view::npos || text.starts_with('{');
}

void add_settings(CLI::App& app, CommandLine& line, bool all) {
  for (const auto& option : options()) {
    const auto everywhere = option.name == "admin-dir" || option.name == "listen" ||
                            option.name == "config";
    if (option.name == "database" || (!all && !everywhere)) continue;
    auto about = std::string{option.expects} + " [" + std::string{option.environment} + "]";
    auto* added = app.add_option_function<std::vector<std::string>>(
        "--" + std::string{option.name},
        [&line, name = std::string{option.name}](const std::vector<std::string>& values) {
          std::string joined;
          for (const auto& value : values) joined += (joined.empty() ? "" : ",") + value;
          line.flags[name] = joined;
        },
        about);
    added->expected(1)->type_name("VALUE");
    if (option.name == "exclude") added->take_all();
  }
}

void add_flip(CLI::App& app, CommandLine& line) {
  app.add_flag("--dry-run", line.dry_run, "say what would happen and what stands in the way");
  app.add_option("--wait", line.wait, "gate open: time for long transactions to end (60s)");
  app.add_option("--timeout", line.timeout, "how long clients may be held (2s)");
  app.add_flag("--terminate", line.terminate, "end the transactions that block");
  app.add_flag("--force", line.force, "skip guards that are marked skippable");
}

void add_own(CLI::App& app, CommandLine& line, std::string_view verb) {
  if (verb == "prepare") {
    app.add_flag("--no-schema", line.no_schema, "the target has the schema already");
  } else if (verb == "verify") {
    app.add_option("table", line.tables, "schema.table; all without one");
    auto* repair = app.add_flag("--repair", line.repair, "heal what differs, compare again");
    app.add_flag("--stop", line.stop, "end the one under way; what is done stays")->excludes("table")->excludes(repair);
  } else if (verb == "load") {
    app.add_option("table", line.tables, "schema.table; all without one");
    app.add_flag("--stop", line.stop, "end the one under way; what is done stays")->excludes("table");
  } else if (verb == "reads") {
    app.add_option("side", line.reads, "primary, mirror, source, target, or 25%")->required();
  } else if (verb == "cutover" || verb == "rollback") {
    add_flip(app, line);
  } else if (verb == "pause") {
    app.add_option("--timeout", line.timeout, "resumes by itself after (30s)");
  } else if (verb == "finish" || verb == "abort") {
    app.add_option("--confirm", line.confirm, "the database's name")->required();
    if (verb == "finish") {
      app.add_flag("--unfence", line.unfence, "afterwards: lift the old side's fence");
    }
  } else if (verb == "promote") {
    app.add_option("--confirm", line.confirm, "the database's name");
    app.add_flag("--accept-loss")->description("say that writes may be missing");
  } else if (verb == "status") {
    app.add_flag("--watch", line.watch, "again every second, until interrupted");
  }
}

/// CLI11's own texts repeat what was typed; ours name flags only.
std::string about_error(const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  const auto known = !arguments.empty() && std::ranges::any_of(verbs, [&](const VerbHelp& verb) {
    return arguments.front() == verb.name;
  });
  if (!known) {
    const auto& first = arguments.empty() ? std::string{} : arguments.front();
    if (first.empty() || first.starts_with('-') || suspicious(first)) {
      return "name the verb first: pgjanus VERB [OPTIONS]";
    }
    return "there is no verb \"" + first + '"';
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error)) {
    return arguments.front() + ": an argument is missing";
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr) {
    const std::string text = error.what();
    const auto leaks = std::ranges::any_of(arguments, [&](const std::string& argument) {
      return suspicious(argument) && text.find(argument) != std::string::npos;
    });
    return leaks ? "wrong usage" : text;
  }
  std::string names;
  const std::string text = error.what();
  for (const auto& argument : arguments) {
    const auto name = argument.substr(0, argument.find('='));
    if (!name.starts_with('-') || text.find(name) == std::string::npos) continue;
    names += (names.empty() ? "" : ", ") + name;
  }
  if (names.empty()) return arguments.front() + " takes fewer arguments than were given";
  return arguments.front() + " does not know " + names;
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + '\'';
}

std::string with_tables(std::string text, const std::vector<std::string>& tables) {
  for (const auto& table : tables) text += ' ' + quoted(table);
  return text;
}

std::string flip_text(const CommandLine& line) {
  std::string text = line.verb == "rollback" ? "CUTOVER TO SOURCE" : "CUTOVER";
  if (line.dry_run) text += " DRY RUN";
  if (!line.wait.empty()) text += " WAIT " + quoted(line.wait);
  if (!line.timeout.empty()) text += " TIMEOUT " + quoted(line.timeout);
  if (line.terminate) text += " TERMINATE";
  if (line.force) text += " FORCE";
  return text;
}

}  // namespace

std::variant<CommandLine, Exit> parse_command_line(std::vector<std::string> arguments) {
  CommandLine line;
  CLI::App app{"Moves a live Postgres database to another server, with a way back.", "pgjanus"};
  app.set_version_flag("--version", "pgjanus " PGJANUS_VERSION);
  app.require_subcommand(1);
  for (const auto& verb : verbs) {
    auto* sub = app.add_subcommand(verb.name, verb.what);
    const std::string_view name = verb.name;
    add_own(*sub, line, name);
    sub->add_option("--database", line.database, "the database, by the name clients use");
    if (name != "run") sub->add_flag("--json", line.json, "one JSON object on stdout");
    add_settings(*sub, line, name == "run" || name == "check");
    if (name == "run") {
      sub->footer("Flags win over the environment, and that over the TOML file. Passwords belong "
                  "into the\nenvironment or a file: a command line can be seen for a moment.");
    }
    sub->callback([&line, name] { line.verb = name; });
  }
  app.footer("`pgjanus VERB --help` lists the options of a verb.");
  auto reversed = arguments;
  std::ranges::reverse(reversed);
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    const auto picked = app.get_subcommands();
    return Exit{0, picked.empty() ? app.help() : picked.front()->help()};
  } catch (const CLI::CallForVersion&) {
    return Exit{0, "pgjanus " PGJANUS_VERSION "\n"};
  } catch (const CLI::ParseError& error) {
    if (arguments.empty()) return Exit{1, app.help()};
    return Exit{1, "pgjanus: " + about_error(error, arguments) + " (see --help)\n"};
  }
  const auto is_local = line.verb == "run" || line.verb == "check";
  if (!line.database.empty() && is_local) line.flags["database"] = line.database;
  return line;
}

void mask_arguments(int argc, char** argv) {
  const auto mask = [](char* text) { std::memset(text, 'x', std::strlen(text)); };
  bool next = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view text{argv[i]};
    const auto is_url = text == "--source" || text == "--target";
    if (next) {
      mask(argv[i]);
    } else if (text.starts_with("--source=") || text.starts_with("--target=")) {
      mask(argv[i] + text.find('=') + 1);
    } else if (suspicious(text)) {
      const auto equals = text.starts_with("--") ? text.find('=') : std::string_view::npos;
      mask(equals == std::string_view::npos ? argv[i] : argv[i] + equals + 1);
    }
    next = is_url;
  }
}

std::string admin_statement(const CommandLine& line) {
  const auto& verb = line.verb;
  std::string text;
  if (verb == "status") text = "SHOW STATUS";
  else if (line.stop) text = verb == "load" ? "STOP LOAD" : "STOP VERIFY";
  else if (verb == "prepare") text = line.no_schema ? "PREPARE WITHOUT SCHEMA" : "PREPARE";
  else if (verb == "load") text = with_tables("LOAD", line.tables);
  else if (verb == "verify") text = with_tables(line.repair ? "REPAIR" : "VERIFY", line.tables);
  else if (verb == "reads") text = "READS " + quoted(line.reads);
  else if (verb == "cutover" || verb == "rollback") text = flip_text(line);
  else if (verb == "finish" || verb == "abort") {
    text = (verb == "finish" ? "FINISH CONFIRM " : "ABORT CONFIRM ") + quoted(line.confirm);
    if (line.unfence) text += " UNFENCE";
  } else {
    text = verb;  // check, migrate, pause, resume: one word.
    std::ranges::transform(text, text.begin(), [](char c) { return static_cast<char>(c - 32); });
    if (verb == "pause" && !line.timeout.empty()) text += " TIMEOUT " + quoted(line.timeout);
  }
  return text + " JSON";
}

}  // namespace pgjanus::admin
