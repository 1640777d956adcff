#include "proxy/run.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "metrics/http_server.hpp"
#include "proxy/admin/console.hpp"
#include "proxy/admin/socket.hpp"
#include "proxy/check/check.hpp"
#include "proxy/engine/engine.hpp"
#include "proxy/http/endpoints.hpp"
#include "proxy/log.hpp"
#include "proxy/session/workers.hpp"

namespace pgjanus {
namespace {

namespace asio = boost::asio;

/// The parts in the order of their making; each uses only earlier ones, so that the reverse order
/// of destruction is right. The control thread is the one that calls run().
class Program {
 public:
  Program(Settings settings, Flags flags)
      : settings_{std::move(settings)},
        flags_{std::move(flags)},
        claim_{admin::socket_path(settings_.admin_directory, settings_.listen.port)},
        sessions_{std::make_unique<Workers>(settings_, tickets_)},
        operations_{std::make_unique<Engine>(io_.get_executor(), settings_, *sessions_, tickets_)},
        console_{io_, admin_parts()} {
    if (settings_.http) {
      http_ = std::make_unique<metrics::HttpServer>(settings_.http->host, settings_.http->port,
                                                    http::endpoints(io_, http_source()));
    }
    console_.listen(claim_.path());
    sessions_->start();
  }
  ~Program() { sessions_->stop(); }  // Also when run() throws: the engine goes before the workers.
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  int run() {
    log_event(LogLevel::info, "started",
              {{"version", PGJANUS_VERSION},
               {"database", settings_.database},
               {"listen", to_string(settings_.listen)},
               {"admin", claim_.path()},
               {"http", settings_.http ? to_string(*settings_.http) : "off"}});
    wait_for_signal();
    asio::co_spawn(io_, operations_->run(), [this](std::exception_ptr failure) {
      engine_ended(failure);
    });
    io_.run();
    // Before the engine goes, whom their commits ring.
    sessions_->stop();
    log_event(LogLevel::info, "stopped", {{"code", exit_code_}});
    return exit_code_;
  }

 private:
  admin::Parts admin_parts() {
    return {*operations_, sessions_.get(), settings_, [this] { return reload(); },
            [this] { begin_drain("SHUTDOWN"); }};
  }
  http::Source http_source() {
    return {[this] { return operations_->status(); }, [this] { return sessions_->totals(); },
            [this] { return draining_; }};
  }
  void wait_for_signal();
  void begin_drain(std::string_view why);
  asio::awaitable<void> drain();
  void engine_ended(const std::exception_ptr& failure);
  Outcome reload();

  Settings settings_;
  const Flags flags_;
  asio::io_context io_{1};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGHUP};
  admin::SocketClaim claim_;
  Tickets tickets_;
  std::unique_ptr<Workers> sessions_;
  std::unique_ptr<Engine> operations_;
  bool engine_over_ = false;
  admin::Console console_;
  std::unique_ptr<metrics::HttpServer> http_;
  bool draining_ = false;
  int exit_code_ = 0;
};

void Program::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      static_cast<void>(reload());
    } else if (draining_) {
      log_event(LogLevel::warn, "stopped_at_once");
      io_.stop();
      return;
    } else {
      begin_drain(number == SIGTERM ? "SIGTERM" : "SIGINT");
    }
    wait_for_signal();
  });
}

void Program::begin_drain(std::string_view why) {
  if (draining_) return;
  draining_ = true;
  log_event(LogLevel::info, "draining", {{"why", why}, {"limit", to_string(settings_.drain)}});
  asio::co_spawn(io_, drain(), [this](std::exception_ptr failure) {
    if (failure) log_event(LogLevel::error, "drain_failed");
    io_.stop();
  });
}

asio::awaitable<void> Program::drain() {
  // Sessions first, while the engine still mirrors what they commit; then the engine; then the
  // operators' door.
  co_await sessions_->begin_drain(settings_.drain);
  operations_->stop();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (!engine_over_ && std::chrono::steady_clock::now() < deadline) {
    co_await pause_for(std::chrono::milliseconds{5});
  }
  console_.stop();
}

// The engine ends by itself only when it must not serve: another proxy leads, or the pair of
// databases does not belong together.
void Program::engine_ended(const std::exception_ptr& failure) {
  engine_over_ = true;
  if (!failure) return;
  std::string why;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    why = error.what();
  }
  log_event(LogLevel::error, "refused", {{"why", why}});
  exit_code_ = 1;
  io_.stop();
}

/// Reads the settings again. What can change while clients are connected changes; the rest is named.
Outcome Program::reload() {
  Outcome outcome;
  try {
    const auto wanted = load_settings(flags_, process_environment(), Needs::databases);
    auto comparable = wanted;
    comparable.admin_directory = settings_.admin_directory;  // Resolved once, at the start.
    std::string later;
    for (const auto& name : need_restart(settings_, comparable)) {
      later += (later.empty() ? "" : ", ") + name;
    }
    sessions_->use(wanted);
    settings_.users = wanted.users;
    settings_.access = wanted.access;
    settings_.certificate = wanted.certificate;
    settings_.key = wanted.key;
    settings_.log_level = wanted.log_level;
    settings_.log_format = wanted.log_format;
    configure_log(wanted.log_level, wanted.log_format);
    outcome.message = "settings read again";
    if (!later.empty()) outcome.message += "; at the next start: " + later;
    log_event(LogLevel::info, "reloaded", {{"at_next_start", later}});
  } catch (const SettingsError& error) {
    outcome.ended = Ended::error;
    outcome.message = std::string{"the settings stay as they were: "} + error.what();
    log_event(LogLevel::error, "reload_failed", {{"error", error.what()}});
  }
  return outcome;
}

}  // namespace

Outcome check_alone(const Settings& settings, const Progress& progress) {
  asio::io_context io{1};
  const Databases databases{settings.url};
  Outcome outcome;
  asio::co_spawn(io, run_check(databases, settings, progress),
                 [&](std::exception_ptr failure, Outcome ended) {
                   outcome = std::move(ended);
                   io.stop();
                   if (failure) std::rethrow_exception(failure);
                 });
  io.run();
  return outcome;
}

int run(Settings settings, const Flags& flags) {
  settings.admin_directory =
      admin::choose_directory(settings.admin_directory, process_environment());
  Program program{std::move(settings), flags};
  return program.run();
}

}  // namespace pgjanus
