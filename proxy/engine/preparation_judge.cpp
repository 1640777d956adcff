// What stands in the way of prepare(), found before anything is changed.

#include <algorithm>
#include <set>

#include "proxy/engine/preparation.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

Outcome not_ready(std::string message, std::string hint) {
  return {Ended::not_ready, std::move(message), std::move(hint), nullptr};
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < 5; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 5) text += " and " + std::to_string(names.size() - 5) + " more";
  return text;
}

}  // namespace

Preparation::Refusal Preparation::judge_states() const {
  if ((source_state_ && source_state_->side != Side::source) ||
      (target_state_ && target_state_->side != Side::target)) {
    return Outcome{Ended::error,
                   "source and target are swapped: the databases remember which is which",
                   "exchange the two URLs", nullptr};
  }
  if (source_state_ && !target_state_) {
    return Outcome{Ended::error, "the source is prepared, but this target knows of no migration",
                   "give the URL of the target that was prepared, or run `abort` and prepare again",
                   nullptr};
  }
  if (source_state_ && source_state_->migration != target_state_->migration) {
    return Outcome{Ended::error, "source and target belong to different migrations",
                   "give the pair of URLs that was prepared together", nullptr};
  }
  if (source_state_ && source_state_->phase == "finished") {
    return not_ready("the migration is finished", "`finish --unfence` clears the old side");
  }
  if (source_state_ && source_state_->role != Role::primary) {
    return not_ready("the target is the primary: tables are prepared from the source only",
                     "roll back first, or create new tables on both sides by hand");
  }
  return std::nullopt;
}

/// What the source must grant, before anything is changed anywhere.
boost::asio::awaitable<Preparation::Refusal> Preparation::judge_source() {
  std::vector<TableInfo> all;
  if (!settings_.exclude.empty()) all = co_await discover_tables(*source_, {});
  std::vector<std::string> excluded_names;
  std::set<std::pair<std::string, std::string>> wanted;
  for (const auto& table : tables_) wanted.emplace(table.schema, table.name);
  for (const auto& table : all) {
    if (wanted.contains({table.schema, table.name})) continue;
    for (const auto& relation : table.relations) {
      excluded_names.push_back(relation.schema + "." + relation.name);
    }
  }
  std::vector<std::optional<std::string_view>> excluded{excluded_names.begin(),
                                                        excluded_names.end()};
  pg::Parameters parameters{pg::array_literal(excluded)};
  const pg::Rows lacking =
      co_await source_->run(std::string{sql::source_rights}, std::move(parameters));
  if (!lacking.empty()) {
    co_return not_ready(
        "the source's role lacks rights: " + lacking.str(0, 0) + ": " + lacking.str(0, 1),
        lacking.str(0, 2) + "; `check` lists them all");
  }
  const pg::Rows foreign = co_await source_->run(std::string{sql::foreign_partitions});
  for (int row = 0; row < foreign.size(); ++row) {
    const bool ours = std::any_of(tables_.begin(), tables_.end(), [&](const TableInfo& table) {
      return table.display() == foreign.text(row, 0);
    });
    if (!ours) continue;
    co_return not_ready(
        "table " + foreign.str(row, 0) +
            " has foreign tables as partitions: " + foreign.str(row, 1),
        "detach them, or --exclude the table: a trigger there fails the app's writes");
  }
  co_return std::nullopt;
}

/// The target before its first change.
boost::asio::awaitable<Preparation::Refusal> Preparation::judge_new_ground() {
  const auto there = co_await discover_tables(*target_, {});
  if (there.empty()) co_return std::nullopt;
  std::vector<std::string> names;
  for (const auto& table : there) names.push_back(table.display());
  co_return not_ready(
      "the target is not empty: it has " + some_of(names),
      "give an empty database, or --no-schema when its tables are the source's schema");
}

/// Tables that are about to be listed: there, with our columns, and empty.
boost::asio::awaitable<Preparation::Refusal> Preparation::judge_tables_on_target() {
  const auto there = co_await discover_tables(*target_, {});
  std::map<std::string, const TableInfo*> by_name;
  for (const auto& table : there) by_name[table.sql_name()] = &table;
  std::vector<std::string> absent, different, filled;
  const auto& judged = source_state_ ? fresh_ : tables_;
  for (const auto& table : judged) {
    const auto found = by_name.find(table.sql_name());
    if (found == by_name.end()) {
      absent.push_back(table.display());
      continue;
    }
    const auto names = [](const TableInfo& t) {
      std::set<std::string> set;
      for (const auto& column : t.columns) set.insert(column.name + " " + column.type);
      return set;
    };
    if (names(table) != names(*found->second)) {
      different.push_back(table.display());
      continue;
    }
    const pg::Rows rows =
        co_await target_->run("SELECT EXISTS (SELECT FROM " + found->second->sql_rows() + ")");
    if (rows.boolean(0, 0)) filled.push_back(table.display());
  }
  if (!absent.empty()) {
    co_return not_ready("the target lacks " + some_of(absent),
                        "create them there, or run `prepare` without --no-schema");
  }
  if (!different.empty()) {
    co_return not_ready("other columns on the target than on the source: " + some_of(different),
                        "make names and types equal on both sides");
  }
  if (!filled.empty()) {
    co_return not_ready("the target already holds rows, in " + some_of(filled),
                        "give an empty database: what is there cannot be told from what we bring");
  }
  co_return std::nullopt;
}

boost::asio::awaitable<Preparation::Refusal> Preparation::judge_target(bool with_schema) {
  const bool complete = target_state_ && fresh_.empty();
  Refusal refusal;
  if (!target_state_ && with_schema) {
    refusal = co_await judge_new_ground();
  } else if ((!with_schema || complete) && !(complete && source_state_)) {
    refusal = co_await judge_tables_on_target();
  }
  co_return refusal;
}

}  // namespace pgjanus
