#include "proxy/verify/pass.hpp"

#include <algorithm>

namespace pgjanus::verify {

bool Scope::takes(const TableInfo& table) const {
  if (only && !only->contains(table.id)) return false;
  return patterns.empty() ||
         std::any_of(patterns.begin(), patterns.end(),
                     [&](const auto& pattern) { return table_matches(pattern, table); });
}

bool Work::done() const {
  return std::all_of(parts.begin(), parts.end(), [](const Part& part) { return part.done; });
}

std::optional<std::int64_t> Work::rows() const {
  std::optional<std::int64_t> sum;
  for (const auto& part : parts) {
    if (!part.done || !part.rows) return std::nullopt;
    sum = sum.value_or(0) + *part.rows;
  }
  return sum;
}

std::size_t Pass::left_out() const {
  return static_cast<std::size_t>(std::count_if(
      work.begin(), work.end(), [](const Work& item) { return !item.left_out.empty(); }));
}

std::int64_t Pass::rows() const {
  std::int64_t sum = 0;
  for (const auto& item : work) sum += item.rows().value_or(0);
  return sum;
}

bool Pass::failed() const {
  return std::any_of(work.begin(), work.end(), [](const Work& item) { return item.failed; });
}

std::string Pass::summary(std::int64_t differences) const {
  const auto earlier = plural(resumed, "part") + " of them before an interruption";
  return plural(static_cast<std::int64_t>(compared()), "table") + " and " + plural(rows(), "row") +
         " compared" + (resumed > 0 ? " (" + earlier + ")" : "") + ": " +
         differences_text(differences);
}

std::string Pass::what_was_left_out() const {
  std::string text;
  for (const auto& item : work) {
    if (item.left_out.empty()) continue;
    text += (text.empty() ? "; left out: " : ", ") + item.table.primary.display() + " (" +
            item.left_out + ")";
  }
  return text;
}

nlohmann::json Pass::tables(const Pass* later) const {
  auto list = nlohmann::json::array();
  for (const auto& item : work) {
    const auto id = item.table.primary.id;
    const auto again = [&](const Work& other) { return other.table.primary.id == id; };
    if (later != nullptr && std::any_of(later->work.begin(), later->work.end(), again)) continue;
    const auto rows = item.rows();
    nlohmann::json entry{{"name", item.table.primary.display()},
                         {"rows", rows ? nlohmann::json(*rows) : nlohmann::json()},
                         {"differences", nullptr}};
    if (item.left_out.empty()) entry["differences"] = findings.of_table(id);
    if (!item.left_out.empty()) entry["detail"] = item.left_out;
    list.push_back(std::move(entry));
  }
  if (later == nullptr) return list;
  for (auto& entry : later->tables(nullptr)) list.push_back(std::move(entry));
  return list;
}

nlohmann::json Pass::document() const {
  return {{"boundary", boundary.empty() ? nlohmann::json() : nlohmann::json(boundary)},
          {"tables", tables(nullptr)},
          {"differences", findings.document()},
          {"differences_total", findings.total()}};
}

std::string plural(std::int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string differences_text(std::int64_t count) {
  return count == 0 ? "no difference" : plural(count, "difference");
}

}  // namespace pgjanus::verify
