#pragma once
// Inside of prepare().

#include <map>
#include <optional>
#include <utility>

#include "proxy/ddl/shape.hpp"
#include "proxy/engine/prepare.hpp"
#include "proxy/schema/copy.hpp"
#include "proxy/schema/fit.hpp"
#include "proxy/schema/state.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus {

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
    if (!refusal) refusal = co_await judge_target(with_schema);
    if (refusal) co_return *refusal;
    co_await write_both(with_schema);
    if (refusal_) co_return *refusal_;
    co_await grant_privileges();
    const auto steps = co_await install_triggers();
    co_return done(steps);
  }

 private:
  /// A row of pgjanus.tables.
  struct Listed {
    int id = 0;
    std::string state;
  };
  using Listing = std::map<std::pair<std::string, std::string>, Listed>;

  static boost::asio::awaitable<Listing> read_listing(pg::Connection& connection);
  boost::asio::awaitable<Refusal> connect();
  Refusal judge_states() const;
  boost::asio::awaitable<Refusal> plan();
  boost::asio::awaitable<Refusal> judge_source();
  boost::asio::awaitable<Refusal> judge_differences();
  [[nodiscard]] std::vector<TableInfo> as_on_target(std::vector<TableInfo> tables) const;
  boost::asio::awaitable<void> read_shape();
  boost::asio::awaitable<void> read_schema();
  boost::asio::awaitable<Refusal> judge_target(bool with_schema);
  boost::asio::awaitable<void> write_both(bool with_schema);
  boost::asio::awaitable<void> prepare_target(bool with_schema);
  boost::asio::awaitable<void> write_target(std::string script);
  boost::asio::awaitable<void> write_source();
  boost::asio::awaitable<void> commit_source();
  boost::asio::awaitable<void> grant_privileges();
  boost::asio::awaitable<std::size_t> install_triggers();
  boost::asio::awaitable<void> guard_target(const std::vector<TableInfo>& tables);
  boost::asio::awaitable<void> capture_source(const std::vector<TableInfo>& tables);
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
  pg::ConnectionPtr observer_;     // Of the source; its snapshot is what is copied, and what replaying begins with.
  std::string snapshot_;           // Its name for pg_dump; empty without an observer.
  schema::BlankNames blank_names_;  // Of the source.
  std::string script_;             // What pg_dump says that the target lacks.
  pg::ConnectionPtr installer_;    // To the source, for some of the triggers.
  pg::ConnectionPtr writer_;       // To the target, for the schema's script alone.
  bool failed_ = false;            // The other side's transaction: this one must not commit.
  Refusal refusal_;                // Found by prepare_target() after its transaction.
  std::size_t steps_ = 0;          // Relations whose triggers were to be set.
  std::optional<StoredState> source_state_, target_state_;
  std::string migration_;
  ddl::Shape shape_;               // Of the source, as observer_ sees it.
  Listing listing_;                // Of the target.
  std::vector<TableInfo> tables_;  // Of the source, with ids.
  std::vector<TableInfo> fresh_;   // Those of them that the target's list lacks.
  Differences differences_;        // As the target needs it.
  schema::Fit fit_;                // Of the tables that are about to be listed.
};

}  // namespace pgjanus
