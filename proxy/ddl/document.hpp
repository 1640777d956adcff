#pragma once
// Reading the documents of a shape (README.md, "Documents"). A field that is not there, or NULL, is empty.

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// Creation in this order, dropping in the other; what comes after `late_from` waits for the rows.
inline constexpr std::array<std::string_view, 17> kinds{
    "schema", "extension", "type",  "sequence", "function", "table",  "column",     "partition", "other",
    "constraint", "index", "view", "rule",  "trigger",  "policy",   "statistics", "comment"};
inline constexpr int late_from = 9, foreign_keys = 12, behind_all = 1000, ahead_of_all = -1000;

[[nodiscard]] inline int rank_of(std::string_view kind) {
  const auto at = static_cast<int>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
  return at >= 11 ? at + 2 : at;  // Foreign keys come behind constraints and indexes.
}

[[nodiscard]] inline std::string text(const nlohmann::json& doc, const char* field) {
  const auto found = doc.find(field);
  return found != doc.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

[[nodiscard]] inline std::int64_t number(const nlohmann::json& doc, const char* field) {
  const auto found = doc.find(field);
  return found != doc.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

[[nodiscard]] inline bool flag(const nlohmann::json& doc, const char* field) {
  const auto found = doc.find(field);
  return found != doc.end() && found->is_boolean() && found->get<bool>();
}

/// The column that a sequence belongs to: table and number.
[[nodiscard]] inline std::string owner_of(const nlohmann::json& sequence) {
  const auto props = props_of(sequence);
  return props.is_object() && props.contains("owner") ? text(props["owner"], "v") : std::string{};
}

struct LabelSteps {
  std::vector<Step> added;    // In transactions of their own.
  std::vector<Step> renamed;
};

/// What leads an enum type from its labels in `old` to those in `doc`, by the name that `doc` has.
[[nodiscard]] LabelSteps enum_labels(const nlohmann::json& old, const nlohmann::json& doc);

/// ddl_shape.sql with what stands for {touched} and {whole} there.
[[nodiscard]] std::string shape_sql(std::string_view touched, std::string_view whole);

/// A template with %s for names, and %% for a percent sign.
[[nodiscard]] inline std::string filled(const std::string& pattern, std::vector<std::string> names) {
  std::string result;
  auto next = names.begin();
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      result += pattern[i];
    } else if (pattern[++i] == '%') {
      result += '%';
    } else if (next != names.end()) {
      result += *next++;
    }
  }
  return result;
}

}  // namespace pgjanus::ddl
