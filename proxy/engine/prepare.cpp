#include "proxy/engine/prepare.hpp"

#include <algorithm>
#include <array>

#include "proxy/engine/preparation.hpp"
#include "proxy/engine/renew.hpp"
#include "proxy/engine/side_by_side.hpp"
#include "proxy/engine/wakeup.hpp"
#include "proxy/schema/copy.hpp"
#include "proxy/schema/differences.hpp"
#include "proxy/schema/privileges.hpp"
#include "sql_texts.hpp"

namespace pgjanus {
namespace {

using nlohmann::json;

constexpr pg::Duration schema_limit{600'000};  // pg_dump, and its script on the target.
// A server process keeps the functions it has looked up in one list, searched from its front for each trigger.
constexpr std::size_t relations_a_session = 128;
constexpr pg::Duration lock_limit{600'000};    // For the lock on one relation, in tries of 300 ms.
constexpr pg::Duration patience{60'000};       // With the app's locks and DDL while its schema is read.
// Describing views takes locks, which stay until the transaction ends. Below deadlock_timeout (1 s): we give way.
constexpr const char* give_way = "SET lock_timeout = '300ms'";

/// Whether beginning again may help: the app's locks, or its DDL between two looks at the catalog.
bool passes(const pg::Error& error) {
  constexpr std::array<std::string_view, 3> states{"55P03", "40P01", "40001"};
  constexpr std::array<std::string_view, 3> said{"cache lookup failed", "could not open relation", "concurrently"};
  return !error.lost && (std::find(states.begin(), states.end(), error.sqlstate) != states.end() ||
                         (error.is("XX000") && std::any_of(said.begin(), said.end(), [&](auto words) {
                            return error.message.find(words) != std::string::npos;
                          })));
}

/// What stands in schema pgjanus, as statements.
std::string our_schema() {
  std::string statements{sql::schema};
  return statements.append(our_functions());
}

/// As the side of `differences` lists them.
std::string tables_json(const std::vector<TableInfo>& tables, const Differences& differences) {
  json list = json::array();
  for (const auto& table : tables) {
    json key = json::array(), columns = json::array();
    for (const auto& column : table.key) key.push_back(column.name);
    for (const auto& column : table.columns) columns.push_back(column.name);
    json one{{"id", table.id}, {"schema", table.schema}, {"name", table.name}, {"key", key}, {"columns", columns}};
    const auto local = differences.names.on(differences.side, table.by_source());
    if (local != table.by_source()) {
      one["local_schema"] = local.schema;
      one["local_name"] = local.name;
    }
    const auto own = differences.own_columns.find(table.by_source());
    if (differences.side == Side::target && own != differences.own_columns.end()) one["own"] = own->second;
    list.push_back(std::move(one));
  }
  return list.dump();
}

}  // namespace

boost::asio::awaitable<Preparation::Listing> Preparation::read_listing(pg::Connection& connection) {
  const pg::Rows rows =
      co_await connection.run("SELECT schema_name, table_name, id, state FROM pgjanus.tables");
  Listing listing;
  for (int row = 0; row < rows.size(); ++row) {
    listing[{rows.str(row, 0), rows.str(row, 1)}] = {static_cast<int>(rows.integer(row, 2)),
                                                     rows.str(row, 3)};
  }
  co_return listing;
}

boost::asio::awaitable<Preparation::Refusal> Preparation::connect() {
  source_ = co_await databases_.open(Side::source, "prepare");
  target_ = co_await databases_.open(Side::target, "prepare");
  co_await source_->run(give_way);
  const bool same = co_await same_database(*source_, *target_);
  if (same) {
    co_return Outcome{Ended::error, "source and target are the same database",
                      "the two URLs must lead to different databases", nullptr};
  }
  source_state_ = co_await read_state(*source_);
  target_state_ = co_await read_state(*target_);
  if (!target_state_) {
    observer_ = co_await databases_.open(Side::source, "prepare");
    co_await observer_->run(std::string{give_way} + "; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const pg::Rows exported = co_await observer_->run("SELECT pg_export_snapshot()");
    snapshot_ = exported.str(0, 0);
  }
  co_return judge_states();
}

boost::asio::awaitable<Preparation::Refusal> Preparation::plan() {
  if (target_state_) {
    migration_ = target_state_->migration;
    listing_ = co_await read_listing(*target_);
  }
  auto& reader = observer_ ? *observer_ : *source_;  // What is listed is what is copied.
  tables_ = co_await discover_tables(reader, settings_.exclude);
  blank_names_ = co_await schema::blank_names(reader);
  int last = 0;
  for (const auto& [name, listed] : listing_) last = std::max(last, listed.id);
  for (auto& table : tables_) {
    const auto listed = listing_.find({table.schema, table.name});
    table.id = listed == listing_.end() ? ++last : listed->second.id;
    if (listed == listing_.end()) fresh_.push_back(table);
  }
  Refusal refusal = co_await judge_differences();
  if (!refusal) refusal = co_await judge_source();
  co_return refusal;
}

/// What is copied, as pg_dump does under the same snapshot: whatever DDL comes after that is a change to be replayed.
/// Rolled back for its locks: the app's REFRESH would wait for them, and pg_dump, for which this transaction lives on, for that.
boost::asio::awaitable<void> Preparation::read_shape() {
  if (!observer_) co_return;
  co_await observer_->run("SAVEPOINT reading");
  shape_ = co_await ddl::read_shape(*observer_);
  co_await observer_->run("ROLLBACK TO SAVEPOINT reading");
}

boost::asio::awaitable<void> Preparation::read_schema() {
  say("reading the source's schema");
  auto parameters = databases_.parameters(Side::source);
  auto blanks = blank_names_;
  const auto archive =
      co_await schema::dump_schema(std::move(parameters), "pre-data", snapshot_, std::move(blanks), schema_limit);
  const auto ground = target_state_ ? schema::Ground::populated : schema::Ground::empty;
  auto missing = co_await schema::missing_entries(*target_, archive, ground, differences_.names);
  // Partitions of a table that is taken as it is are its own business.
  std::erase_if(missing, [&](const schema::TocEntry& entry) {
    return std::any_of(tables_.begin(), tables_.end(), [&](const TableInfo& table) {
      return fit_.taken.contains(table.by_source()) && schema::belongs_to(entry, table);
    });
  });
  const auto script = co_await schema::restore_script(archive, std::move(missing));
  script_ = schema::renamed_script(script, differences_.names);
}

/// Both transactions at the same time; the target's commits first (prepare.hpp).
boost::asio::awaitable<void> Preparation::write_both(bool with_schema) {
  std::function<void()> end_both = [this] {
    failed_ = true;
    source_->close();
    if (writer_) writer_->close();
  };
  auto target = prepare_target(with_schema);
  auto source = write_source();
  co_await side_by_side(std::move(target), std::move(source), std::move(end_both));
  writer_.reset();
  if (!refusal_) co_await commit_source();
  if (source_->in_transaction()) co_await source_->run("ROLLBACK");
}

boost::asio::awaitable<void> Preparation::prepare_target(bool with_schema) {
  const bool complete = target_state_ && fresh_.empty();
  if (complete && source_state_) co_return;
  if (with_schema && !complete) {
    auto schema = read_schema();
    auto shape = read_shape();
    std::function<void()> end_observer = [this] {
      if (observer_) observer_->close();
    };
    co_await side_by_side(std::move(schema), std::move(shape), std::move(end_observer));
    observer_.reset();
    say("creating the schema on the target");
    co_await write_target(std::move(script_));
  } else {
    co_await read_shape();
    observer_.reset();
    co_await write_target({});
  }
}

/// Schema, state, list and fence of the target: one transaction, on a connection of its own since
/// the script changes the session's settings.
boost::asio::awaitable<void> Preparation::write_target(std::string script) {
  writer_ = co_await databases_.open(Side::target, "prepare schema");
  auto* const connection = writer_.get();
  co_await connection->run("BEGIN");
  const auto ground = target_state_ ? schema::Ground::populated : schema::Ground::empty;
  co_await schema::run_script(*connection, std::move(script), ground, schema_limit);
  co_await connection->run("SET LOCAL search_path = pg_catalog, pg_temp");
  if (!target_state_) {
    co_await connection->run(our_schema());
    pg::Parameters state{std::nullopt, database_name(), "target", "mirror"};
    const pg::Rows row = co_await connection->run(std::string{sql::insert_state}, std::move(state));
    migration_ = row.str(0, 0);
    co_await note_functions(*connection);
    co_await connection->run(
        "ALTER TABLE pgjanus.journal ENABLE ALWAYS TRIGGER this_database_is_now_the_mirror");
    // Where replaying DDL begins: what was there before the schema was read.
    auto epoch = co_await connection->run("SELECT epoch FROM pgjanus.state");
    const auto shape = ddl::renamed(shape_, differences_, Side::target);
    co_await ddl::store_shape(*connection, ddl::Shape{}, shape,
                              static_cast<std::uint64_t>(epoch.integer(0, 0)));
  } else if (!source_state_) {
    // Left over from a try that never reached the source, which may have changed since.
    co_await connection->run("DELETE FROM pgjanus.tables");
  }
  co_await store_differences(*connection, differences_);
  pg::Parameters list{tables_json(tables_, differences_)};
  co_await connection->run(std::string{sql::insert_tables}, std::move(list));
  if (failed_) throw pg::Error{"the source's transaction failed"};  // Told is what failed there.
  co_await connection->run("COMMIT");
}

/// List and capture functions of the source, in a transaction that stays open: it needs no lock of
/// the app's, and lives as long as the target's.
boost::asio::awaitable<void> Preparation::write_source() {
  if (source_state_ && fresh_.empty()) {
    const auto listed = co_await read_listing(*source_);
    const bool all = std::all_of(tables_.begin(), tables_.end(), [&](const TableInfo& table) {
      return listed.contains({table.schema, table.name});
    });
    if (all) co_return;
  }
  say("creating schema pgjanus on the source");
  co_await source_->run("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '30min'");
  if (!source_state_) co_await source_->run(our_schema());
  const auto listed = co_await read_listing(*source_);
  Differences none;
  pg::Parameters list{tables_json(tables_, none)};
  co_await source_->run(std::string{sql::insert_tables}, std::move(list));
  std::vector<TableInfo> added;
  for (const auto& table : tables_) {
    if (!listed.contains({table.schema, table.name})) added.push_back(table);
  }
  co_await capture::create_functions(*source_, std::move(added));
}

boost::asio::awaitable<void> Preparation::commit_source() {
  if (!source_->in_transaction()) co_return;
  if (!source_state_) {
    pg::Parameters state{migration_, database_name(), "source", "primary"};
    co_await source_->run(std::string{sql::insert_state}, std::move(state));
    co_await note_functions(*source_);
  }
  co_await store_differences(*source_, differences_);
  co_await source_->run("COMMIT");
}

/// What the app's other roles may do there. The mirror loop follows from then on, and brings what is wanting here.
boost::asio::awaitable<void> Preparation::grant_privileges() {
  const auto state = co_await target_->run("SELECT epoch FROM pgjanus.state");
  const auto epoch = static_cast<std::uint64_t>(state.integer(0, 0));
  const auto brought = co_await schema::bring_privileges(*source_, *target_, differences_.names, Side::target, epoch, std::nullopt);
  if (brought.run > 0) say("granted the privileges of roles on the target: " + std::to_string(brought.run) + " statements");
  for (const auto& role : brought.absent) say("role " + role + " has privileges on the source, and is not on the target");
  schema::log_privileges(brought, Side::target);
}

boost::asio::awaitable<std::size_t> Preparation::install_triggers() {
  std::vector<TableInfo> untouched_tables;
  for (const auto& table : tables_) {
    if (untouched(table)) untouched_tables.push_back(table);
  }
  std::function<void()> end_both = [this] {
    failed_ = true;
    source_->close();
    target_->close();
    if (installer_) installer_->close();
  };
  const auto on_target = as_on_target(untouched_tables);
  auto guard = guard_target(on_target);
  auto capture = capture_source(untouched_tables);
  co_await side_by_side(std::move(guard), std::move(capture), std::move(end_both));
  co_return steps_;
}

/// Nobody works on the target yet: many relations a transaction.
boost::asio::awaitable<void> Preparation::guard_target(const std::vector<TableInfo>& tables) {
  auto steps = co_await capture::guard_steps(*target_, tables);
  if (steps.empty()) co_return;
  steps_ += steps.size();
  say("guarding " + std::to_string(steps.size()) + " relations of the target");
  co_await capture::run_steps_in_groups(*target_, std::move(steps), lock_limit, waiting_);
}

boost::asio::awaitable<void> Preparation::capture_source(const std::vector<TableInfo>& tables) {
  auto steps = co_await capture::capture_steps(*source_, tables);
  if (steps.empty()) co_return;
  steps_ += steps.size();
  say("installing capture on " + std::to_string(steps.size()) + " relations of the source");
  for (std::size_t begin = 0; begin < steps.size(); begin += relations_a_session) {
    const auto end = std::min(begin + relations_a_session, steps.size());
    std::vector<capture::Step> some{std::make_move_iterator(steps.begin() + static_cast<std::ptrdiff_t>(begin)),
                                    std::make_move_iterator(steps.begin() + static_cast<std::ptrdiff_t>(end))};
    installer_.reset();  // Connections are few.
    installer_ = co_await databases_.open(Side::source, "prepare");
    co_await installer_->run(give_way);
    if (failed_) throw pg::Error{"the target's part failed"};  // Told is what failed there.
    co_await capture::run_steps(*installer_, std::move(some), lock_limit, waiting_);
  }
  installer_.reset();
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

boost::asio::awaitable<Outcome> prepare(const Databases& databases, const Settings& settings,
                                        bool with_schema, Progress progress,
                                        capture::OnWaiting waiting) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    Preparation preparation{databases, settings, progress, waiting};
    std::optional<pg::Error> failure;
    try {
      auto outcome = co_await preparation.run(with_schema);
      co_return outcome;
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!passes(*failure) || std::chrono::steady_clock::now() > deadline) throw *failure;
    if (progress) progress("the app is in the way, trying again: " + failure->message);
    co_await pause_for(pg::Duration{250});
  }
}

}  // namespace pgjanus
