#include "proxy/admin/command.hpp"

#include <algorithm>
#include <array>

#include "proxy/admin/driver_words.hpp"
#include "proxy/admin/tokens.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus::admin {
namespace {

constexpr std::string_view see_help = "HELP lists the commands.";

/// Takes tokens off one statement. The first mismatch is remembered and ends the reading.
class Reader {
 public:
  explicit Reader(const Tokens& tokens) : tokens_{tokens} {}

  [[nodiscard]] bool done() const { return at_ == tokens_.size(); }
  /// Takes the word when it comes next.
  bool word(std::string_view upper) {
    if (done() || tokens_[at_].upper != upper) return false;
    ++at_;
    return true;
  }
  bool words(std::string_view first, std::string_view second) {
    if (at_ + 1 >= tokens_.size() || tokens_[at_ + 1].upper != second) return false;
    if (!word(first)) return false;
    ++at_;
    return true;
  }
  /// The next bare or quoted token as text; false and a syntax error without one.
  bool text(std::string& to, std::string_view what) {
    if (done() || tokens_[at_].kind == Token::Kind::symbol) {
      return fail("expected " + std::string{what});
    }
    to = tokens_[at_++].text;
    return true;
  }
  bool duration(std::chrono::milliseconds& to, std::string_view after) {
    std::string value;
    if (!text(value, "a duration such as '60s' after " + std::string{after})) return false;
    const auto parsed = parse_duration(value);
    if (!parsed) return fail(std::string{after} + " takes a duration such as '60s' or '500ms'");
    to = *parsed;
    return true;
  }
  /// schema.table, "schema.table" or "schema"."table", several with or without commas.
  bool tables(std::vector<std::string>& to) {
    while (!done() && tokens_[at_].upper != "JSON") {
      if (symbol(',')) continue;
      std::string name;
      if (!text(name, "a table as schema.table")) return false;
      // A dot belongs to bare words, so "a"."b" comes as name, word ".", name; "a".b as name, ".b".
      if (!done() && tokens_[at_].kind == Token::Kind::word && tokens_[at_].text[0] == '.') {
        std::string rest = tokens_[at_++].text;
        if (rest == "." && !text(rest, "a table after the dot")) return false;
        name += rest.starts_with('.') ? rest : '.' + rest;
      }
      to.push_back(std::move(name));
    }
    return true;
  }
  bool fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }
  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] std::string next_text() const { return done() ? "" : tokens_[at_].text; }
  [[nodiscard]] const Tokens& tokens() const { return tokens_; }

 private:
  bool symbol(char c) {
    if (done() || tokens_[at_].kind != Token::Kind::symbol || tokens_[at_].text[0] != c) {
      return false;
    }
    ++at_;
    return true;
  }

  const Tokens& tokens_;
  std::size_t at_ = 0;
  std::string error_;
};

bool nothing(Reader&, Command&) { return true; }

bool read_prepare(Reader& reader, Command& command) {
  if (reader.words("WITHOUT", "SCHEMA") || reader.words("NO", "SCHEMA")) {
    command.with_schema = false;
  }
  return true;
}

bool read_tables(Reader& reader, Command& command) { return reader.tables(command.tables); }

bool read_reads(Reader& reader, Command& command) {
  std::string value;
  if (!reader.text(value, "a side or a share after READS")) return false;
  std::ranges::transform(value, value.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto policy = parse_reads(value);
  if (!policy) {
    return reader.fail("READS takes primary, mirror, source, target, or a share such as 25%");
  }
  command.reads = *policy;
  return true;
}

bool read_flip(Reader& reader, Command& command) {
  while (!reader.done()) {
    auto& flip = command.flip;
    if (reader.words("TO", "SOURCE")) {
      flip.to = Side::source;
      command.tag = "CUTOVER TO SOURCE";
    } else if (reader.words("TO", "TARGET")) {
      flip.to = Side::target;
    } else if (reader.words("DRY", "RUN")) {
      flip.dry_run = true;
    } else if (reader.word("WAIT")) {
      if (!reader.duration(flip.wait, "WAIT")) return false;
    } else if (reader.word("TIMEOUT")) {
      if (!reader.duration(flip.timeout, "TIMEOUT")) return false;
      if (flip.timeout.count() == 0) return reader.fail("TIMEOUT must be longer than 0");
    } else if (reader.word("TERMINATE")) {
      flip.terminate = true;
    } else if (reader.word("FORCE")) {
      flip.force = true;
    } else {
      break;
    }
  }
  return true;
}

bool read_pause(Reader& reader, Command& command) {
  return !reader.word("TIMEOUT") || reader.duration(command.timeout, "TIMEOUT");
}

bool read_confirm(Reader& reader, Command& command) {
  while (!reader.done()) {
    if (reader.word("CONFIRM")) {
      if (!reader.text(command.confirm, "the database's name after CONFIRM")) return false;
    } else if (command.verb == Verb::finish && reader.word("UNFENCE")) {
      command.unfence = true;
    } else {
      break;
    }
  }
  if (command.confirm.empty()) {
    return reader.fail(command.tag + " needs CONFIRM 'database': the name that clients connect to");
  }
  return true;
}

bool read_stop(Reader& reader, Command& command) {
  command.load = reader.word("LOAD");
  if (command.load || reader.word("VERIFY") || reader.word("REPAIR")) return true;
  return reader.fail("STOP takes LOAD or VERIFY: what is to end; SHUTDOWN ends the proxy");
}

bool read_show(Reader& reader, Command& command) {
  static constexpr std::array<std::string_view, 13> known{
      "STATUS", "TABLES",      "CLIENTS", "SERVERS", "POOLS", "MEMBERS", "LAG",
      "VERIFY", "DIFFERENCES", "EVENTS",  "CONFIG",  "STATS", "VERSION"};
  for (const auto name : known) {
    if (!reader.word(name)) continue;
    command.what = name;
    std::ranges::transform(command.what, command.what.begin(),
                           [](char c) { return static_cast<char>(c + 32); });
    return true;
  }
  std::string list;
  for (const auto name : known) list += (list.empty() ? "" : ", ") + std::string{name};
  return reader.fail("SHOW knows " + list);
}

struct Rule {
  std::string_view word;
  Verb verb;
  bool (*read)(Reader&, Command&);
};

constexpr std::array<Rule, 19> rules{{{"CHECK", Verb::check, nothing},
                                      {"PREPARE", Verb::prepare, read_prepare},
                                      {"LOAD", Verb::load, read_tables},
                                      {"MIGRATE", Verb::migrate, nothing},
                                      {"VERIFY", Verb::verify, read_tables},
                                      {"REPAIR", Verb::repair, read_tables},
                                      {"READS", Verb::reads, read_reads},
                                      {"CUTOVER", Verb::flip, read_flip},
                                      {"PAUSE", Verb::pause, read_pause},
                                      {"RESUME", Verb::resume, nothing},
                                      {"RETRY", Verb::retry, nothing},
                                      {"SKIP", Verb::skip, nothing},
                                      {"FINISH", Verb::finish, read_confirm},
                                      {"ABORT", Verb::abort, read_confirm},
                                      {"STOP", Verb::stop, read_stop},
                                      {"RELOAD", Verb::reload, nothing},
                                      {"SHUTDOWN", Verb::shutdown, nothing},
                                      {"SHOW", Verb::show, read_show},
                                      {"HELP", Verb::help, nothing}}};

std::variant<Command, SyntaxError> read_one(const Tokens& tokens) {
  if (auto driver = driver_words(tokens)) return *driver;
  Reader reader{tokens};
  for (const auto& rule : rules) {
    if (!reader.word(rule.word)) continue;
    Command command;
    command.verb = rule.verb;
    command.tag = rule.word;
    if (!rule.read(reader, command)) return SyntaxError{"42601", reader.error(), ""};
    command.json = reader.word("JSON");
    if (!reader.done()) {
      return SyntaxError{"42601",
                         "\"" + reader.next_text() + "\" does not belong to " + command.tag,
                         std::string{see_help}};
    }
    return command;
  }
  return SyntaxError{"42601", "\"" + tokens.front().text + "\" is no command of pgjanus",
                     std::string{see_help}};
}

}  // namespace

std::variant<std::vector<Command>, SyntaxError> parse_commands(std::string_view text) {
  const auto statements = tokenize(text);
  if (!statements) return SyntaxError{"42601", "a quote or a comment is not closed", ""};
  std::vector<Command> commands;
  for (const auto& tokens : *statements) {
    auto read = read_one(tokens);
    if (auto* error = std::get_if<SyntaxError>(&read)) return std::move(*error);
    commands.push_back(std::move(std::get<Command>(read)));
  }
  return commands;
}

const std::vector<std::pair<std::string, std::string>>& help_lines() {
  static const std::vector<std::pair<std::string, std::string>> lines{
      {"CHECK", "preflight of both databases; changes nothing"},
      {"PREPARE [WITHOUT SCHEMA]", "schema to the target, capture on the source, fence on the target"},
      {"LOAD [schema.table]", "bulk load, then mirror; again for one table"},
      {"MIGRATE", "check, prepare, load, verify"},
      {"VERIFY [schema.table]", "exact comparison at a boundary"},
      {"REPAIR [schema.table]", "verify, heal what differs, compare again"},
      {"STOP LOAD|VERIFY", "end it; what is done stays, and the same command goes on there"},
      {"READS primary|mirror|source|target|25%", "where reads go"},
      {"CUTOVER [DRY RUN] [WAIT '60s'] [TIMEOUT '2s'] [TERMINATE] [FORCE]", "flip to the target"},
      {"CUTOVER TO SOURCE …", "the rollback: flip back to the source"},
      {"PAUSE [TIMEOUT '30s'], RESUME", "hold new transactions, and let them go"},
      {"RETRY, SKIP", "go on after an error of the mirror; SKIP leaves the failing row out"},
      {"FINISH CONFIRM 'db' [UNFENCE]", "end the migration; UNFENCE afterwards frees the old side"},
      {"ABORT CONFIRM 'db'", "before a cutover: remove everything of ours"},
      {"RELOAD, SHUTDOWN", "read the settings again; drain and stop"},
      {"SHOW STATUS|TABLES|LAG|MEMBERS", "the migration"},
      {"SHOW CLIENTS|SERVERS|POOLS|STATS", "the sessions of this proxy"},
      {"SHOW VERIFY|DIFFERENCES|EVENTS", "verification, what differs, the audit log"},
      {"SHOW CONFIG|VERSION", "this proxy"},
      {"… JSON", "after any command: one row, one column, a JSON document"},
  };
  return lines;
}

}  // namespace pgjanus::admin
