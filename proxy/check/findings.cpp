#include "proxy/check/findings.hpp"

#include <algorithm>
#include <charconv>

namespace pgjanus::check {

std::string_view to_string(Level level) noexcept {
  switch (level) {
    case Level::pass: return "pass";
    case Level::warn: return "warn";
    case Level::fail: return "fail";
  }
  return "fail";
}

void Findings::pass(std::string id, std::string subject, std::string detail) {
  list_.push_back({std::move(id), Level::pass, std::move(subject), std::move(detail), {}});
}

void Findings::warn(std::string id, std::string subject, std::string detail, std::string remedy) {
  list_.push_back(
      {std::move(id), Level::warn, std::move(subject), std::move(detail), std::move(remedy)});
}

void Findings::fail(std::string id, std::string subject, std::string detail, std::string remedy) {
  list_.push_back(
      {std::move(id), Level::fail, std::move(subject), std::move(detail), std::move(remedy)});
}

bool Findings::has(std::string_view id) const noexcept {
  return std::any_of(list_.begin(), list_.end(), [&](const Finding& f) { return f.id == id; });
}

std::size_t Findings::count(Level level) const noexcept {
  return static_cast<std::size_t>(std::count_if(
      list_.begin(), list_.end(), [&](const Finding& f) { return f.level == level; }));
}

Outcome Findings::outcome() const {
  Outcome outcome;
  const auto failed = count(Level::fail), warned = count(Level::warn);
  outcome.message = std::to_string(count(Level::pass)) + " pass, " + std::to_string(warned) +
                    " warn, " + std::to_string(failed) + " fail";
  if (failed != 0) {
    outcome.ended = Ended::not_ready;
    outcome.hint = "put the failed ones right, and check again";
  }
  outcome.document["findings"] = nlohmann::json::array();
  for (const auto& finding : list_) {
    outcome.document["findings"].push_back({{"id", finding.id},
                                            {"level", std::string{to_string(finding.level)}},
                                            {"subject", finding.subject},
                                            {"detail", finding.detail},
                                            {"remedy", finding.remedy}});
  }
  return outcome;
}

int program_version(std::string_view text) noexcept {
  constexpr std::string_view before = "(PostgreSQL) ";
  const auto at = text.find(before);
  if (at == std::string_view::npos) return 0;
  int major = 0;
  const char* begin = text.data() + at + before.size();
  const auto parsed = std::from_chars(begin, text.data() + text.size(), major);
  return parsed.ec == std::errc{} ? major : 0;
}

}  // namespace pgjanus::check
