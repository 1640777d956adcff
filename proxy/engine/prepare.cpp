#include "proxy/engine/prepare.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "proxy/ddl/shape.hpp"
#include "proxy/log.hpp"
#include "proxy/schema/copy.hpp"
#include "proxy/schema/state.hpp"
#include "proxy/schema/table.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

using nlohmann::json;

constexpr pg::Duration schema_limit{600'000};  // pg_dump, and its script on the target.
constexpr pg::Duration lock_limit{600'000};    // For the lock on one relation, in tries of 300 ms.

Outcome not_ready(std::string message, std::string hint) {
  return {Ended::not_ready, std::move(message), std::move(hint), nullptr};
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < 5; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 5) text += " and " + std::to_string(names.size() - 5) + " more";
  return text;
}

struct Listed {
  int id = 0;
  std::string state;
};
using Listing = std::map<std::pair<std::string, std::string>, Listed>;

boost::asio::awaitable<Listing> read_listing(pg::Connection& connection) {
  const pg::Rows rows =
      co_await connection.run("SELECT schema_name, table_name, id, state FROM pgjanus.tables");
  Listing listing;
  for (int row = 0; row < rows.size(); ++row) {
    listing[{rows.str(row, 0), rows.str(row, 1)}] = {static_cast<int>(rows.integer(row, 2)),
                                                     rows.str(row, 3)};
  }
  co_return listing;
}

std::string tables_json(const std::vector<TableInfo>& tables) {
  json list = json::array();
  for (const auto& table : tables) {
    json key = json::array(), columns = json::array();
    for (const auto& column : table.key) key.push_back(column.name);
    for (const auto& column : table.columns) columns.push_back(column.name);
    list.push_back({{"id", table.id},
                    {"schema", table.schema},
                    {"name", table.name},
                    {"key", key},
                    {"columns", columns}});
  }
  return list.dump();
}

/// Both connections and what is known so far. Lives in the frame of prepare().
class Preparation {
 public:
  Preparation(const Databases& databases, const Settings& settings, Progress progress,
              capture::OnWaiting waiting)
      : databases_{databases},
        settings_{settings},
        progress_{std::move(progress)},
        waiting_{std::move(waiting)} {}

  using Refusal = std::optional<Outcome>;

  boost::asio::awaitable<Outcome> run(bool with_schema) {
    Refusal refusal = co_await connect();
    if (!refusal) refusal = co_await plan();
    if (!refusal) refusal = co_await prepare_target(with_schema);
    if (refusal) co_return *refusal;
    co_await prepare_source();
    const auto steps = co_await install_triggers();
    co_return done(steps);
  }

 private:
  boost::asio::awaitable<Refusal> connect();
  Refusal judge_states() const;
  boost::asio::awaitable<Refusal> plan();
  boost::asio::awaitable<Refusal> judge_source();
  boost::asio::awaitable<Refusal> judge_new_ground();
  boost::asio::awaitable<Refusal> judge_tables_on_target();
  boost::asio::awaitable<std::string> schema_script();
  boost::asio::awaitable<Refusal> prepare_target(bool with_schema);
  boost::asio::awaitable<void> write_target(std::string script);
  boost::asio::awaitable<void> prepare_source();
  boost::asio::awaitable<std::size_t> install_triggers();
  Outcome done(std::size_t steps) const;
  void say(const std::string& line) const {
    if (progress_) progress_(line);
  }
  std::optional<std::string> database_name() const {
    if (!settings_.database.empty()) return settings_.database;
    const auto name = databases_.parameters(Side::source).get("dbname");
    return name.empty() ? std::nullopt : std::optional{name};
  }
  /// Nothing was loaded yet from this table: its triggers may be set at will. (A table that lost
  /// its capture is the mirror loop's to take up again, with a reload: setting the trigger back
  /// here would hide what was missed.)
  bool untouched(const TableInfo& table) const {
    if (!source_state_ || source_state_->phase == "prepared") return true;
    const auto listed = listing_.find({table.schema, table.name});
    return listed == listing_.end() || listed->second.state == "new";
  }

  const Databases& databases_;
  const Settings& settings_;
  Progress progress_;
  capture::OnWaiting waiting_;
  pg::ConnectionPtr source_, target_;
  std::optional<StoredState> source_state_, target_state_;
  std::string migration_;
  ddl::Shape shape_;               // Of the source, before anything else is read of it.
  Listing listing_;                // Of the target.
  std::vector<TableInfo> tables_;  // Of the source, with ids.
  std::vector<TableInfo> fresh_;   // Those of them that the target's list lacks.
};

boost::asio::awaitable<Preparation::Refusal> Preparation::connect() {
  source_ = co_await databases_.open(Side::source, "prepare");
  target_ = co_await databases_.open(Side::target, "prepare");
  const bool same = co_await same_database(*source_, *target_);
  if (same) {
    co_return Outcome{Ended::error, "source and target are the same database",
                      "the two URLs must lead to different databases", nullptr};
  }
  source_state_ = co_await read_state(*source_);
  target_state_ = co_await read_state(*target_);
  if (!target_state_) shape_ = co_await ddl::read_shape(*source_);
  co_return judge_states();
}

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
  const auto all = co_await discover_tables(*source_, {});
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

boost::asio::awaitable<Preparation::Refusal> Preparation::plan() {
  if (target_state_) {
    migration_ = target_state_->migration;
    listing_ = co_await read_listing(*target_);
  }
  tables_ = co_await discover_tables(*source_, settings_.exclude);
  int last = 0;
  for (const auto& [name, listed] : listing_) last = std::max(last, listed.id);
  for (auto& table : tables_) {
    const auto listed = listing_.find({table.schema, table.name});
    table.id = listed == listing_.end() ? ++last : listed->second.id;
    if (listed == listing_.end()) fresh_.push_back(table);
  }
  Refusal refusal = co_await judge_source();
  co_return refusal;
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

boost::asio::awaitable<std::string> Preparation::schema_script() {
  say("reading the source's schema");
  auto parameters = databases_.parameters(Side::source);
  const auto archive =
      co_await schema::dump_schema(std::move(parameters), "pre-data", schema_limit);
  const auto ground = target_state_ ? schema::Ground::populated : schema::Ground::empty;
  auto missing = co_await schema::missing_entries(*target_, archive, ground);
  auto script = co_await schema::restore_script(archive, std::move(missing));
  co_return script;
}

boost::asio::awaitable<Preparation::Refusal> Preparation::prepare_target(bool with_schema) {
  if (!target_state_ && with_schema) {
    Refusal refusal = co_await judge_new_ground();
    if (refusal) co_return refusal;
  }
  if (target_state_ && fresh_.empty() && source_state_) co_return std::nullopt;
  if (!with_schema || (target_state_ && fresh_.empty())) {
    Refusal refusal = co_await judge_tables_on_target();
    if (refusal) co_return refusal;
    co_await write_target("");
    co_return std::nullopt;
  }
  auto script = co_await schema_script();
  say("creating the schema on the target");
  co_await write_target(std::move(script));
  if (target_state_) {
    Refusal refusal = co_await judge_tables_on_target();
    co_return refusal;
  }
  co_return std::nullopt;
}

/// Schema, state, list and fence of the target: one transaction, on a connection of its own since
/// the script changes the session's settings.
boost::asio::awaitable<void> Preparation::write_target(std::string script) {
  auto connection = co_await databases_.open(Side::target, "prepare schema");
  co_await connection->run("BEGIN");
  co_await schema::run_script(*connection, std::move(script), schema_limit);
  co_await connection->run("SET LOCAL search_path = pg_catalog, pg_temp");
  if (!target_state_) {
    co_await connection->run(std::string{sql::schema});
    pg::Parameters state{std::nullopt, database_name(), "target", "mirror"};
    const pg::Rows row = co_await connection->run(std::string{sql::insert_state}, std::move(state));
    migration_ = row.str(0, 0);
    co_await connection->run(
        "ALTER TABLE pgjanus.journal ENABLE ALWAYS TRIGGER this_database_is_now_the_mirror");
    // Where replaying DDL begins: what was there before the schema was read.
    auto epoch = co_await connection->run("SELECT epoch FROM pgjanus.state");
    co_await ddl::store_shape(*connection, ddl::Shape{}, shape_,
                              static_cast<std::uint64_t>(epoch.integer(0, 0)));
  } else if (!source_state_) {
    // Left over from a try that never reached the source, which may have changed since.
    co_await connection->run("DELETE FROM pgjanus.tables");
  }
  pg::Parameters list{tables_json(tables_)};
  co_await connection->run(std::string{sql::insert_tables}, std::move(list));
  co_await connection->run("COMMIT");
}

boost::asio::awaitable<void> Preparation::prepare_source() {
  if (source_state_ && fresh_.empty()) {
    const auto listed = co_await read_listing(*source_);
    const bool all = std::all_of(tables_.begin(), tables_.end(), [&](const TableInfo& table) {
      return listed.contains({table.schema, table.name});
    });
    if (all) co_return;
  }
  say("creating schema pgjanus on the source");
  co_await source_->run("BEGIN");
  if (!source_state_) {
    co_await source_->run(std::string{sql::schema});
    pg::Parameters state{migration_, database_name(), "source", "primary"};
    co_await source_->run(std::string{sql::insert_state}, std::move(state));
  }
  const auto listed = co_await read_listing(*source_);
  pg::Parameters list{tables_json(tables_)};
  co_await source_->run(std::string{sql::insert_tables}, std::move(list));
  for (const auto& table : tables_) {
    if (listed.contains({table.schema, table.name})) continue;
    co_await source_->run(capture::functions_sql(table));
  }
  co_await source_->run("COMMIT");
}

boost::asio::awaitable<std::size_t> Preparation::install_triggers() {
  std::vector<TableInfo> untouched_tables;
  for (const auto& table : tables_) {
    if (untouched(table)) untouched_tables.push_back(table);
  }
  auto guards = co_await capture::guard_steps(*target_, untouched_tables);
  auto captures = co_await capture::capture_steps(*source_, untouched_tables);
  const auto count = guards.size() + captures.size();
  if (!guards.empty()) {
    say("guarding " + std::to_string(guards.size()) + " relations of the target");
    co_await capture::run_steps(*target_, std::move(guards), lock_limit, waiting_);
  }
  if (!captures.empty()) {
    say("installing capture on " + std::to_string(captures.size()) + " relations of the source");
    co_await capture::run_steps(*source_, std::move(captures), lock_limit, waiting_);
  }
  co_return count;
}

Outcome Preparation::done(std::size_t steps) const {
  std::size_t keyless = 0;
  for (const auto& table : tables_) keyless += table.keyed() ? 0 : 1;
  const bool nothing_new = source_state_ && fresh_.empty() && steps == 0;
  Outcome outcome;
  outcome.message = (nothing_new ? "already prepared: " : "prepared: ") +
                    std::to_string(tables_.size()) + " tables captured on the source" +
                    (keyless ? ", " + std::to_string(keyless) + " of them without a key" : "");
  outcome.hint = "next: `load`";
  outcome.document = {{"message", outcome.message},
                      {"migration", migration_},
                      {"tables", tables_.size()},
                      {"without_key", keyless},
                      {"added", fresh_.size()}};
  return outcome;
}

}  // namespace

boost::asio::awaitable<Outcome> prepare(const Databases& databases, const Settings& settings,
                                        bool with_schema, Progress progress,
                                        capture::OnWaiting waiting) {
  Preparation preparation{databases, settings, std::move(progress), std::move(waiting)};
  auto outcome = co_await preparation.run(with_schema);
  co_return outcome;
}

}  // namespace pgjanus
