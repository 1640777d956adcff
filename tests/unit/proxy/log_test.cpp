#include "proxy/log.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace pgjanus;

namespace {

/// The line without its time, which comes first.
std::string text_line(std::string_view value) {
  const auto line = log_line(LogFormat::text, LogLevel::info, "happened", {{"key", value}});
  CHECK(line.find('\n') == std::string::npos);
  CHECK(line.starts_with("time=20"));
  return line.substr(line.find(' ') + 1);
}

}  // namespace

TEST_CASE("a text line is logfmt", "[log]") {
  CHECK(text_line("plain") == "level=info event=happened key=plain");
  CHECK(text_line("two words") == "level=info event=happened key=\"two words\"");
  CHECK(text_line("") == "level=info event=happened key=\"\"");
  CHECK(text_line("a=b") == "level=info event=happened key=\"a=b\"");
  CHECK(text_line("say \"hi\"") == "level=info event=happened key=\"say \\\"hi\\\"\"");
}

TEST_CASE("no value can forge or hide a line", "[log]") {
  CHECK(text_line("a\nlevel=error") == "level=info event=happened key=\"a\\nlevel=error\"");
  CHECK(text_line("\x1b[2J") == "level=info event=happened key=\"\\u001b[2J\"");
  CHECK(text_line("\xc2\x9b" "2J") == "level=info event=happened key=\"\\ufffd2J\"");
  CHECK(text_line("caf\xc3\xa9") == "level=info event=happened key=\"caf\xc3\xa9\"");
  CHECK(text_line("caf\xe9!") == "level=info event=happened key=\"caf\\ufffd!\"");
}

TEST_CASE("a JSON line parses whatever was in it", "[log]") {
  for (const std::string value : {"plain", "\"", "\\", "a\nb\tc", "\x01\x7f", "\xff\xfe", "\xc2",
                                  "\xed\xa0\x80", "\xf0\x9f\x90\x98", "\xf5\x80\x80\x80"}) {
    const auto line = log_line(LogFormat::json, LogLevel::warn, "happened",
                               {{"text", value}, {"number", 3}, {"yes", true}});
    CAPTURE(line);
    CHECK(line.find('\n') == std::string::npos);
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    REQUIRE(parsed.is_object());
    CHECK(parsed["level"] == "warn");
    CHECK(parsed["event"] == "happened");
    CHECK(parsed["number"] == 3);
    CHECK(parsed["yes"] == true);
    if (static_cast<unsigned char>(value[0]) < 0x80) CHECK(parsed["text"] == value);
  }
}
