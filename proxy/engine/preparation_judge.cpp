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

/// [[rename]] is settled with a table's first preparation.
boost::asio::awaitable<Preparation::Refusal> Preparation::judge_differences() {
  differences_ = co_await read_differences(*target_);
  differences_.side = Side::target;
  for (const auto& [name, listed] : listing_) {
    const QualifiedName table{name.first, name.second};
    const auto was = differences_.names.on(Side::target, table), is = settings_.renames.on(Side::target, table);
    if (was == is || (!source_state_ && target_state_)) continue;
    co_return not_ready("table " + to_string(table) + " was prepared as " + to_string(was) + " of the target, and is " +
                            to_string(is) + " by [[rename]] now",
                        "put [[rename]] back, or `abort` and prepare again");
  }
  co_return std::nullopt;
}

/// What stands on the target already, before its first change: it is taken as it is where it fits.
boost::asio::awaitable<Preparation::Refusal> Preparation::judge_target(bool with_schema) {
  if (target_state_ && fresh_.empty() && source_state_) co_return std::nullopt;
  if (target_state_ && fresh_.empty()) with_schema = false;  // What is there is only listed.
  const auto& judged = source_state_ ? fresh_ : tables_;
  const auto others = target_state_ ? schema::TargetOnly::ignored : schema::TargetOnly::misfit;
  fit_ = co_await schema::judge_fit(*source_, *target_, tables_, judged, settings_.renames,
                                    settings_.exclude, others);
  if (!with_schema && !fit_.absent.empty()) {
    co_return not_ready("the target lacks " + some_of(fit_.absent),
                        "create them there, or run `prepare` without --no-schema");
  }
  if (!fit_.misfits.empty()) {
    std::vector<std::string> reasons;
    for (const auto& misfit : fit_.misfits) reasons.push_back(misfit.table + " " + misfit.what);
    // What an earlier `prepare` made there, with rows of nobody's, before it died; the source has changed since.
    const bool left_over = target_state_ && !source_state_;
    co_return not_ready("the target does not fit: " + some_of(reasons),
                        left_over ? "an earlier `prepare` made the target's tables and did not reach the source, which has "
                                    "changed since: `abort`, drop them on the target, and prepare again"
                                  : fit_.misfits.front().remedy);
  }
  for (const auto& note : fit_.notes) {
    say("table " + note.table + " " + note.what + ": " + note.remedy);
    log_event(LogLevel::warn, "table_differs", {{"table", note.table}, {"how", note.what}});
  }
  for (const auto& name : fit_.taken) say("table " + to_string(name) + " is taken as it stands on the target");
  for (const auto& rename : fit_.differences.names.renames()) differences_.names.add(rename);
  differences_.own_columns.insert(fit_.differences.own_columns.begin(), fit_.differences.own_columns.end());
  differences_.keys.insert(fit_.differences.keys.begin(), fit_.differences.keys.end());
  differences_.partitioned.insert(fit_.differences.partitioned.begin(), fit_.differences.partitioned.end());
  co_return std::nullopt;
}

std::vector<TableInfo> Preparation::as_on_target(std::vector<TableInfo> tables) const {
  for (auto& table : tables) {
    auto local = differences_.names.on(Side::target, table.by_source());
    table.schema = std::move(local.schema);
    table.name = std::move(local.name);
  }
  return tables;
}

}  // namespace pgjanus
