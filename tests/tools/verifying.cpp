// verifying SOURCE TARGET [--repair] [TABLE...]: the mirror loop and one run of the verifier
// between two databases that are loaded, without a proxy. Prints the outcome as one JSON object;
// the exit status is that of the outcome. For the integration tests of the verifier.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proxy/mirror/loop.hpp"
#include "proxy/schema/state.hpp"
#include "proxy/verify/verifier.hpp"

using namespace pgjanus;

namespace {

boost::asio::awaitable<Recovery> find_primary(const Databases& databases) {
  PerSide<SideReport> reports;
  for (const auto side : {Side::source, Side::target}) {
    const auto connection = co_await databases.open(side, "start");
    reports[side].state = co_await read_state(*connection);
    reports[side].reachable = true;
  }
  co_return recover(reports);
}

boost::asio::awaitable<Outcome> verify(const Databases& databases, MirrorControl& mirror,
                                       VerifyRequest request) {
  request.progress = [](const std::string& line) { std::cerr << line << std::endl; };
  auto result = co_await run_verification(databases, mirror, std::move(request));
  co_return result.outcome;
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::cerr << "verifying SOURCE TARGET [--repair] [TABLE...]\n";
    return 1;
  }
  configure_log(LogLevel::debug, LogFormat::text);
  const Databases databases{{UrlSource::literal(arguments[1]), UrlSource::literal(arguments[2])}};
  VerifyRequest request;
  for (int i = 3; i < count; ++i) {
    if (std::string_view{arguments[i]} == "--repair") {
      request.repair = true;
    } else {
      request.tables.emplace_back(arguments[i]);
    }
  }
  boost::asio::io_context context;
  Recovery found;
  boost::asio::co_spawn(context, find_primary(databases),
                        [&](std::exception_ptr error, Recovery recovery) {
                          rethrow(error);
                          found = std::move(recovery);
                        });
  context.run();
  context.restart();
  if (!found.primary) {
    std::cerr << found.why << '\n';
    return 1;
  }
  Tickets tickets;
  Bell bell{context.get_executor()};
  LoopSettings settings;
  settings.primary = *found.primary;
  settings.epoch = found.epoch;
  MirrorLoop loop{context.get_executor(), databases, settings, tickets, bell, [] {}, [] {}};
  request.primary = *found.primary;
  boost::asio::co_spawn(context, loop.run(), rethrow);
  int status = 1;
  boost::asio::co_spawn(context, verify(databases, loop, std::move(request)),
                        [&](std::exception_ptr error, const Outcome& outcome) {
                          nlohmann::json answer;
                          try {
                            rethrow(error);
                            answer = {{"message", outcome.message},
                                      {"hint", outcome.hint},
                                      {"document", outcome.document}};
                            status = static_cast<int>(outcome.ended);
                          } catch (const pg::Error& failure) {
                            answer = {{"error", failure.what()}, {"sqlstate", failure.sqlstate}};
                          }
                          std::cout << answer.dump() << std::endl;
                          context.stop();
                        });
  context.run();
  return status;
}
