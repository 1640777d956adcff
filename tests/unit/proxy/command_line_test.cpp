#include "proxy/admin/command_line.hpp"

#include <catch2/catch.hpp>
#include <cstring>

#include "proxy/admin/cli.hpp"
#include "proxy/admin/command.hpp"
#include "proxy/admin/progress.hpp"

using namespace pgjanus;
using namespace pgjanus::admin;

namespace {

CommandLine read(std::vector<std::string> arguments) {
  auto parsed = parse_command_line(std::move(arguments));
  if (auto* exit = std::get_if<Exit>(&parsed)) FAIL(exit->text);
  return std::get<CommandLine>(parsed);
}

Exit exits(std::vector<std::string> arguments) {
  auto parsed = parse_command_line(std::move(arguments));
  REQUIRE(std::holds_alternative<Exit>(parsed));
  return std::get<Exit>(parsed);
}

/// What the admin socket understands of the verb's statement.
Command understood(std::vector<std::string> arguments) {
  const auto text = admin_statement(read(std::move(arguments)));
  auto parsed = parse_commands(text);
  CAPTURE(text);
  REQUIRE(std::holds_alternative<std::vector<Command>>(parsed));
  auto& commands = std::get<std::vector<Command>>(parsed);
  REQUIRE(commands.size() == 1);
  CHECK(commands[0].json);
  return commands[0];
}

}  // namespace

TEST_CASE("every verb becomes its command", "[cli]") {
  CHECK(understood({"check"}).verb == Verb::check);
  CHECK_FALSE(understood({"prepare", "--no-schema"}).with_schema);
  CHECK(understood({"load"}).verb == Verb::load);
  CHECK(understood({"migrate", "--json"}).verb == Verb::migrate);
  CHECK(understood({"verify", "public.a", "b.c d"}).tables ==
        std::vector<std::string>{"public.a", "b.c d"});
  CHECK(understood({"verify", "--repair"}).verb == Verb::repair);
  CHECK(understood({"verify", "--stop"}).verb == Verb::stop);
  CHECK_FALSE(understood({"verify", "--stop"}).load);
  CHECK(understood({"load", "--stop"}).load);
  CHECK(understood({"reads", "25%"}).reads.target_percent == 25);
  CHECK(understood({"resume"}).verb == Verb::resume);
  CHECK(understood({"pause", "--timeout", "5s"}).timeout == std::chrono::seconds{5});
  CHECK(understood({"finish", "--confirm", "it's", "--unfence"}).confirm == "it's");
  CHECK(understood({"abort", "--confirm", "shop"}).verb == Verb::abort);
  CHECK(understood({"status"}).what == "status");
}

TEST_CASE("cutover and rollback take the same options", "[cli]") {
  const auto cutover = understood(
      {"cutover", "--dry-run", "--wait", "60s", "--timeout=2s", "--terminate", "--force"});
  CHECK(cutover.flip.to == Side::target);
  CHECK(cutover.flip.dry_run);
  CHECK(cutover.flip.terminate);
  CHECK(cutover.flip.force);
  CHECK(cutover.flip.timeout == std::chrono::seconds{2});
  CHECK(understood({"rollback"}).flip.to == Side::source);
}

TEST_CASE("a value cannot become another command", "[cli]") {
  const auto command = understood({"finish", "--confirm", "x' UNFENCE; SHUTDOWN --"});
  CHECK(command.confirm == "x' UNFENCE; SHUTDOWN --");
  CHECK_FALSE(command.unfence);
}

TEST_CASE("settings of run arrive by their names", "[cli]") {
  const auto line = read({"run", "--source", "u1", "--listen=0.0.0.0:1", "--exclude", "a.b",
                          "--exclude", "c.d", "--database", "shop"});
  CHECK(line.flags.at("source") == "u1");
  CHECK(line.flags.at("listen") == "0.0.0.0:1");
  CHECK(line.flags.at("exclude") == "a.b,c.d");
  CHECK(line.flags.at("database") == "shop");
  CHECK(read({"status", "--database", "shop"}).database == "shop");
}

TEST_CASE("wrong usage is exit 1 and never repeats a value", "[cli]") {
  CHECK(exits({"--version"}).code == 0);
  CHECK(exits({"--help"}).code == 0);
  CHECK(exits({"cutover", "--help"}).text.find("--terminate") != std::string::npos);
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{}, {"fly"}, {"run", "--sorce", "postgresql://a:secret@h/d"},
        {"run", "--sorce=postgresql://a:secret@h/d"}, {"postgresql://a:secret@h/d"},
        {"check", "postgresql://a:secret@h/d"}, {"reads"}, {"finish"}, {"status", "--source", "x"},
        {"run", "--source"}, {"cutover", "--wait"}}) {
    const auto exit = exits(wrong);
    CHECK(exit.code == 1);
    CHECK(exit.text.find("secret") == std::string::npos);
  }
  CHECK(exits({"run", "--sorce", "x"}).text.find("--sorce") != std::string::npos);
  CHECK(exits({"fly"}).text.find("fly") != std::string::npos);
}

TEST_CASE("the process list shows no password", "[cli]") {
  std::vector<std::string> texts{"pgjanus", "run", "--source", "postgresql://a:secret@h/d",
                                 "--target=host=h password=secret", "--listen", "127.0.0.1:1",
                                 "host=x password=secret", "{\"password\":\"secret\"}"};
  std::vector<char*> argv;
  for (auto& text : texts) argv.push_back(text.data());
  mask_arguments(static_cast<int>(argv.size()), argv.data());
  for (const auto* text : argv) CHECK(std::string{text}.find("secret") == std::string::npos);
  CHECK(std::string{argv[2]} == "--source");
  CHECK(std::string{argv[4]}.starts_with("--target=xxx"));
  CHECK(std::string{argv[6]} == "127.0.0.1:1");
}

TEST_CASE("exit codes follow the SQLSTATE", "[cli]") {
  CHECK(exit_code_of("55000") == 2);
  CHECK(exit_code_of("22000") == 3);
  CHECK(exit_code_of("42501") == 4);
  CHECK(exit_code_of("57014") == 5);
  CHECK(exit_code_of("08007") == 6);
  CHECK(exit_code_of("42601") == 1);
  CHECK(exit_code_of("") == 1);
}

TEST_CASE("a bar finds the percentage in a line", "[cli]") {
  CHECK(share_in("rows 5 of 10, 50%, 1.2 MB/s") == Approx(0.5));
  CHECK(share_in("12.5 % done") == Approx(0.125));
  CHECK(share_in("250%") == Approx(1));
  CHECK(share_in("no number") < 0);
  CHECK(share_in("%") < 0);
}
