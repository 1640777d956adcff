#include "proxy/admin/driver_words.hpp"

#include <algorithm>
#include <array>

namespace pgjanus::admin {
namespace {

Command tagged(std::string tag, char transaction = 0) {
  Command command;
  command.verb = Verb::driver;
  command.tag = std::move(tag);
  command.transaction = transaction;
  return command;
}

Command row(std::string tag, std::string column, std::string value) {
  auto command = tagged(std::move(tag));
  command.what = std::move(column);
  command.value = std::move(value);
  return command;
}

struct Known {
  std::string_view name, value;
};

/// What SHOW of a server's setting answers; drivers look at these after connecting.
constexpr std::array<Known, 10> parameters{{{"TIMEZONE", "UTC"},
                                            {"TRANSACTION_ISOLATION", "read committed"},
                                            {"DEFAULT_TRANSACTION_ISOLATION", "read committed"},
                                            {"TRANSACTION_READ_ONLY", "off"},
                                            {"DEFAULT_TRANSACTION_READ_ONLY", "off"},
                                            {"STANDARD_CONFORMING_STRINGS", "on"},
                                            {"CLIENT_ENCODING", "UTF8"},
                                            {"SERVER_ENCODING", "UTF8"},
                                            {"SERVER_VERSION", "15.0"},
                                            {"DATESTYLE", "ISO, MDY"}}};

/// SELECT of one number, or of one of the few functions that clients and pools ping with.
std::optional<Command> select_words(const Tokens& tokens) {
  if (tokens.size() < 2) return std::nullopt;
  const auto& first = tokens[1];
  const auto number = !first.text.empty() && first.kind == Token::Kind::word &&
                      std::ranges::all_of(first.text, [](char c) { return c >= '0' && c <= '9'; });
  if (tokens.size() == 2 && number) return row("SELECT 1", "?column?", first.text);
  const auto call = tokens.size() == 4 && tokens[2].text == "(" && tokens[3].text == ")";
  if (tokens.size() == 2 && first.upper == "CURRENT_USER") {
    return row("SELECT 1", "current_user", "pgjanus");
  }
  if (!call) return std::nullopt;
  if (first.upper == "VERSION" || first.upper == "PG_CATALOG.VERSION") {
    return row("SELECT 1", "version", "PostgreSQL 15.0 (pgjanus " PGJANUS_VERSION ")");
  }
  if (first.upper == "CURRENT_DATABASE") return row("SELECT 1", "current_database", "pgjanus");
  if (first.upper == "CURRENT_SCHEMA") return row("SELECT 1", "current_schema", "public");
  if (first.upper == "PG_IS_IN_RECOVERY") return row("SELECT 1", "pg_is_in_recovery", "f");
  return std::nullopt;
}

std::optional<Command> show_words(const Tokens& tokens) {
  // SHOW TRANSACTION ISOLATION LEVEL and SHOW TIME ZONE are settings in several words.
  std::string name;
  for (std::size_t i = 1; i < tokens.size(); ++i) name += tokens[i].upper;
  if (name == "TRANSACTIONISOLATIONLEVEL") name = "TRANSACTION_ISOLATION";
  for (const auto& known : parameters) {
    if (known.name != name) continue;
    auto column = tokens[1].text;
    if (tokens.size() > 2) column = "transaction_isolation";
    if (known.name == "TIMEZONE") column = "TimeZone";
    return row("SHOW", std::move(column), std::string{known.value});
  }
  return std::nullopt;
}

}  // namespace

std::optional<Command> driver_words(const Tokens& tokens) {
  const auto& word = tokens.front().upper;
  if (word == "BEGIN") return tagged("BEGIN", 'T');
  if (word == "START" && tokens.size() > 1 && tokens[1].upper == "TRANSACTION") {
    return tagged("START TRANSACTION", 'T');
  }
  if (word == "ROLLBACK" && tokens.size() > 1 &&
      std::ranges::any_of(tokens, [](const Token& token) { return token.upper == "TO"; })) {
    return tagged("ROLLBACK");  // To a savepoint: the block goes on.
  }
  if (word == "COMMIT" || word == "END") return tagged("COMMIT", 'I');
  if (word == "ROLLBACK") return tagged("ROLLBACK", 'I');
  for (const std::string_view harmless : {"SET", "RESET", "SAVEPOINT", "RELEASE", "DEALLOCATE",
                                          "DISCARD", "CLOSE", "UNLISTEN"}) {
    if (word != harmless) continue;
    const auto all = tokens.size() > 1 && tokens[1].upper == "ALL";
    return tagged(std::string{harmless} + (all && word != "RESET" ? " ALL" : ""));
  }
  if (word == "SELECT") return select_words(tokens);
  if (word == "SHOW") return show_words(tokens);
  return std::nullopt;
}

}  // namespace pgjanus::admin
