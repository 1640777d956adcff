// mirroring SOURCE TARGET [WORKERS]: the mirror loop and a load between two prepared databases,
// without a proxy. Prints one JSON object a line: progress, then loaded or failed; then it mirrors
// until it is ended. For the integration tests of both.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "proxy/load/loader.hpp"
#include "proxy/mirror/loop.hpp"

using namespace pgjanus;

namespace {

void print(const nlohmann::json& line) { std::cout << line.dump() << std::endl; }

void show(const LoadProgress& progress) {
  nlohmann::json tables = nlohmann::json::object();
  for (const auto& table : progress.tables) {
    tables[table.name] = {{"state", to_string(table.state)},
                          {"rows", table.rows_done},
                          {"bytes", table.bytes_done},
                          {"bytes_total", table.bytes_total.value_or(-1)}};
  }
  print({{"event", "progress"},
         {"rows_done", progress.rows_done},
         {"rows_read", progress.rows_read},
         {"step", progress.step},
         {"waiting", progress.waiting},
         {"warnings", progress.warnings},
         {"tables", tables}});
}

boost::asio::awaitable<void> run_load(Loader& loader) {
  std::string failure, sqlstate;
  try {
    co_await loader.run({});
  } catch (const pg::Error& error) {
    failure = error.what();
    sqlstate = error.sqlstate;
  }
  if (failure.empty()) {
    show(loader.progress());
    print({{"event", "loaded"}});
  } else {
    print({{"event", "failed"}, {"error", failure}, {"sqlstate", sqlstate}});
  }
}

boost::asio::awaitable<Epoch> epoch_of(const Databases& databases) {
  const auto connection = co_await databases.open(Side::source, "start");
  const auto rows = co_await connection->run("SELECT epoch FROM pgjanus.state");
  co_return Epoch{static_cast<std::uint64_t>(rows.integer(0, 0))};
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::cerr << "mirroring SOURCE TARGET [WORKERS]\n";
    return 1;
  }
  configure_log(LogLevel::debug, LogFormat::text);
  const Databases databases{{UrlSource::literal(arguments[1]), UrlSource::literal(arguments[2])}};
  const auto workers = count > 3 ? static_cast<unsigned>(std::stoi(arguments[3])) : 3U;
  boost::asio::io_context context;
  Epoch epoch;
  boost::asio::co_spawn(context, epoch_of(databases), [&](std::exception_ptr error, Epoch found) {
    rethrow(error);
    epoch = found;
  });
  context.run();
  context.restart();

  Tickets tickets;
  LoopSettings settings;
  settings.epoch = epoch;
  Bell bell{context.get_executor()};
  MirrorLoop loop{context.get_executor(), databases, settings, tickets, bell, [] {}, [] {}};
  Loader::Guide guide;
  guide.limits = [workers] { return load::Limits{.workers = workers}; };
  Loader loader{databases, loop, Side::source, std::move(guide), show};
  boost::asio::co_spawn(context, loop.run(), rethrow);
  boost::asio::co_spawn(context, run_load(loader), rethrow);
  boost::asio::signal_set signals{context, SIGTERM, SIGINT};
  signals.async_wait([&](boost::system::error_code, int) {
    loader.stop();
    context.stop();
  });
  context.run();
  return 0;
}
