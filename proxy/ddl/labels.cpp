#include <optional>

#include "proxy/ddl/document.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

LabelSteps enum_labels(const json& old, const json& doc) {
  LabelSteps steps;
  if (!old.contains("labels") || old["labels"].is_null() || doc["labels"].is_null()) return steps;
  constexpr std::size_t word = 5;  // "type " in front of the name.
  const auto was_called = text(old, "label").substr(word), called = text(doc, "label").substr(word);
  const auto of = [&](std::int64_t label) -> std::optional<std::string> {
    for (const auto& one : old["labels"]) {
      if (one[0].get<std::int64_t>() == label) return one[1].get<std::string>();
    }
    return std::nullopt;
  };
  std::string previous;
  bool first = true;
  for (const auto& one : doc["labels"]) {
    const auto now = one[1].get<std::string>();
    const auto was = of(one[0].get<std::int64_t>());
    if (!was) {
      const auto next = first ? old["labels"][0][1].get<std::string>() : std::string{};
      steps.added.push_back({Step::Kind::create, text(doc, "label"),
                             "ALTER TYPE " + was_called + " ADD VALUE IF NOT EXISTS " + pg::quote_literal(now) +
                                 (first ? " BEFORE " + pg::quote_literal(next) : " AFTER " + pg::quote_literal(previous))});
    } else if (*was != now) {
      steps.renamed.push_back({Step::Kind::rename, text(doc, "label"),
                               "ALTER TYPE " + called + " RENAME VALUE " + pg::quote_literal(*was) + " TO " +
                                   pg::quote_literal(now)});
    }
    previous = was.value_or(now);
    first = false;
  }
  return steps;
}

}  // namespace pgjanus::ddl
