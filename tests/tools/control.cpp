// control VERB SOURCE TARGET [EXCLUDE...]: runs one piece of control work without a proxy, for the
// integration tests of that piece. Prints one JSON object; the exit status is that of the outcome.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <exception>
#include <iostream>

#include "proxy/capture/capture.hpp"
#include "proxy/engine/prepare.hpp"
#include "proxy/engine/remove.hpp"
#include "proxy/schema/table.hpp"

using namespace pgjanus;

namespace {

boost::asio::awaitable<Outcome> lost_tables(const Databases& databases) {
  const auto connection = co_await databases.open(Side::source, "lost");
  const auto tables = co_await stored_tables(*connection);
  const auto ids = co_await capture::lost(*connection, tables);
  const auto footprint = co_await capture::footprint(*connection);
  Outcome outcome;
  outcome.document = {{"lost", ids}, {"footprint", footprint}};
  co_return outcome;
}

/// Brings the source's tables back to capture, as the mirror loop does before a reload.
boost::asio::awaitable<Outcome> recapture(const Databases& databases, capture::OnWaiting waiting) {
  const auto connection = co_await databases.open(Side::source, "recapture");
  const auto tables = co_await stored_tables(*connection);
  auto steps = co_await capture::capture_steps(*connection, tables);
  Outcome outcome;
  outcome.document = {{"steps", steps.size()}};
  co_await capture::run_steps(*connection, std::move(steps), pg::Duration{30'000},
                              std::move(waiting));
  co_return outcome;
}

boost::asio::awaitable<Outcome> tables_of(const Databases& databases) {
  const auto connection = co_await databases.open(Side::source, "tables");
  const auto tables = co_await discover_tables(*connection, {});
  Outcome outcome;
  outcome.document = nlohmann::json::array();
  for (const auto& table : tables) {
    nlohmann::json key = nlohmann::json::array(), relations = nlohmann::json::array();
    for (const auto& column : table.key) {
      key.push_back({{"name", column.name},
                     {"equals", column.equals},
                     {"collate", column.collate},
                     {"type", column.plain_type},
                     {"stable", column.text_depends == 0}});
    }
    for (const auto& relation : table.relations) relations.push_back(relation.name);
    outcome.document.push_back({{"name", table.display()},
                                {"key", key},
                                {"relations", relations},
                                {"inheritance", table.inheritance},
                                {"key_deferrable", table.key_deferrable},
                                {"other_unique", table.other_unique}});
  }
  co_return outcome;
}

boost::asio::awaitable<Outcome> perform(std::string verb, const Databases& databases,
                                        const Settings& settings) {
  const Progress progress = [](const std::string& line) { std::cerr << line << std::endl; };
  const capture::OnWaiting waiting = [](const std::string& relation, const std::string& holder) {
    std::cerr << "waiting for " << relation << ": " << holder << std::endl;
  };
  Outcome outcome;
  if (verb == "prepare" || verb == "prepare-no-schema") {
    outcome = co_await prepare(databases, settings, verb == "prepare", progress, waiting);
  } else if (verb == "abort") {
    outcome = co_await abort_migration(databases, progress, waiting);
  } else if (verb == "finish-source" || verb == "finish-target") {
    const Side primary = verb == "finish-source" ? Side::source : Side::target;
    outcome = co_await finish_migration(databases, primary, progress, waiting);
  } else if (verb == "unfence") {
    outcome = co_await unfence(databases, "this", progress, waiting);
  } else if (verb == "lost") {
    outcome = co_await lost_tables(databases);
  } else if (verb == "recapture") {
    outcome = co_await recapture(databases, waiting);
  } else if (verb == "tables") {
    outcome = co_await tables_of(databases);
  } else {
    outcome = {Ended::error, "no such verb: " + verb, "", nullptr};
  }
  co_return outcome;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::cerr << "control VERB SOURCE TARGET [EXCLUDE...]\n";
    return 1;
  }
  Settings settings;
  settings.url = {UrlSource::literal(arguments[2]), UrlSource::literal(arguments[3])};
  for (int i = 4; i < count; ++i) settings.exclude.emplace_back(arguments[i]);
  const Databases databases{settings.url};
  boost::asio::io_context context;
  int status = 1;
  boost::asio::co_spawn(
      context, perform(arguments[1], databases, settings),
      [&status](std::exception_ptr error, const Outcome& outcome) {
        nlohmann::json answer;
        try {
          if (error) std::rethrow_exception(error);
          answer = {
              {"message", outcome.message}, {"hint", outcome.hint}, {"document", outcome.document}};
          status = static_cast<int>(outcome.ended);
        } catch (const pg::Error& failure) {
          answer = {
              {"error", failure.what()}, {"sqlstate", failure.sqlstate}, {"hint", failure.hint}};
        } catch (const std::exception& failure) {
          answer = {{"error", failure.what()}};
        }
        std::cout << answer.dump() << std::endl;
      });
  context.run();
  return status;
}
