#include <map>
#include <set>

#include "proxy/ddl/document.hpp"
#include "proxy/pg/connection.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

// What is added comes ahead of the batch, while the old labels still have their names. So whichever label
// takes a name that another one had, be it new or renamed, goes by a name of its own until the batch gives way.
LabelSteps enum_labels(const json& old, const json& doc) {
  LabelSteps steps;
  constexpr std::size_t word = 5;  // "type " in front of the name.
  const auto alter_old = "ALTER TYPE " + text(old, "label").substr(word);
  const auto alter = "ALTER TYPE " + text(doc, "label").substr(word);
  std::map<std::int64_t, std::string> before;
  std::set<std::string> taken;
  for (const auto& one : old.value("labels", json{})) {  // NULL if it is no enum, or has none.
    before[one[0].get<std::int64_t>()] = one[1].get<std::string>();
    taken.insert(one[1].get<std::string>());
  }
  std::vector<Step> to_their_names;
  const auto rename = [&](std::vector<Step>& list, const std::string& from, const std::string& to) {
    list.push_back({Step::Kind::rename, text(doc, "label"),
                    alter + " RENAME VALUE " + pg::quote_literal(from) + " TO " + pg::quote_literal(to)});
  };
  std::string place;
  if (!before.empty()) place = " BEFORE " + pg::quote_literal(old["labels"][0][1].get<std::string>());
  for (const auto& one : doc.value("labels", json{})) {
    const auto label = one[0].get<std::int64_t>();
    const auto name = one[1].get<std::string>();
    const auto was = before.find(label);
    const bool known = was != before.end();
    auto start = known ? was->second : name;
    if (taken.contains(name) && !(known && start == name)) {
      const auto aside = "pgjanus_label_" + std::to_string(label);
      if (known) rename(steps.renamed, start, aside);
      rename(to_their_names, aside, name);
      if (!known) start = aside;
    } else if (start != name) {
      rename(to_their_names, start, name);
    }
    if (!known) {
      steps.added.push_back({Step::Kind::create, text(doc, "label"),
                             alter_old + " ADD VALUE IF NOT EXISTS " + pg::quote_literal(start) + place});
    }
    place = " AFTER " + pg::quote_literal(start);
  }
  for (auto& step : to_their_names) steps.renamed.push_back(std::move(step));
  return steps;
}

}  // namespace pgjanus::ddl
