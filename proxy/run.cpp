#include "proxy/run.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "metrics/http_server.hpp"
#include "proxy/admin/console.hpp"
#include "proxy/admin/socket.hpp"
#include "proxy/check/check.hpp"
#include "proxy/descriptors.hpp"
#include "proxy/engine/engine.hpp"
#include "proxy/http/endpoints.hpp"
#include "proxy/log.hpp"
#include "proxy/service.hpp"
#include "proxy/session/workers.hpp"

namespace pgjanus {
namespace {

namespace asio = boost::asio;

std::int64_t monotonic_microseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();  // CLOCK_MONOTONIC here.
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// Settings say where we listen; inherited sockets say it better. One that is open to a network
/// counts before those on loopback: who may come in without a password goes by it.
Settings listening_on(const std::vector<int>& sockets, Settings settings) {
  std::optional<Address> chosen;
  for (const int socket : sockets) {
    const auto address = address_of(socket);
    if (!address) continue;
    const bool local = asio::ip::make_address(address->host).is_loopback();
    if (!chosen || !local) chosen = address;
  }
  if (chosen) settings.listen = *chosen;
  return settings;
}

/// The parts in the order of their making; each uses only earlier ones, so that the reverse order
/// of destruction is right. The control thread is the one that calls run().
class Program {
 public:
  Program(Settings settings, Flags flags, std::vector<int> sockets)
      : settings_{listening_on(sockets, std::move(settings))},
        inherited_{!sockets.empty()},
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
    sessions_->start(std::move(sockets), clients_max());
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
    // Ready is who listens: clients come in, and wait at most as long as they would for a database.
    tell_service_manager("READY=1\nSTATUS=serving " + settings_.database);
    asio::co_spawn(io_, operations_->run(), [this](std::exception_ptr failure) {
      engine_ended(failure);
    });
    io_.run();
    // Before the engine goes, whom their commits ring.
    sessions_->stop(at_once_ ? Haste::at_once : Haste::farewell);
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
  std::size_t clients_max() const;
  void wait_for_signal();
  void begin_drain(std::string_view why);
  asio::awaitable<void> drain();
  void engine_ended(const std::exception_ptr& failure);
  Outcome reload();

  Settings settings_;
  const bool inherited_;  // Listening sockets were handed to us.
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
  bool draining_ = false, at_once_ = false;
  int exit_code_ = 0;
};

std::size_t Program::clients_max() const {
  const auto descriptors = raise_descriptor_limit();
  const auto clients = clients_that_fit(descriptors, settings_);
  if (clients == 0)
    throw SettingsError{"a limit of " + std::to_string(descriptors) +
                        " open files leaves none for clients; raise it (LimitNOFILE, ulimit -n)"};
  // A thousand clients is what one expects of a proxy without looking.
  log_event(clients < 1000 ? LogLevel::warn : LogLevel::info, "descriptors",
            {{"limit", descriptors}, {"clients_max", clients}});
  return clients;
}

void Program::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      static_cast<void>(reload());
    } else if (draining_) {
      log_event(LogLevel::warn, "stopped_at_once");
      at_once_ = true;
      // Shells' way to say "ended by this signal": clients were cut off, which 0 must not hide.
      exit_code_ = 128 + number;
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
  sessions_->turn_away();  // Before /readyz can say that we drain.
  tell_service_manager("STOPPING=1\nSTATUS=draining");
  log_event(LogLevel::info, "draining", {{"why", why}, {"limit", to_string(settings_.drain)}});
  asio::co_spawn(io_, drain(), [this](std::exception_ptr failure) {
    if (failure) log_event(LogLevel::error, "drain_failed");
    io_.stop();
  });
}

asio::awaitable<void> Program::drain() {
  // Sessions first, while the engine still mirrors what they commit; then the engine; then the
  // operators' door. HTTP answers to the end: it goes with this object.
  co_await sessions_->drain(settings_.drain);
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
  tell_service_manager("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_microseconds()));
  try {
    const auto wanted = load_settings(flags_, process_environment(), Needs::databases);
    auto comparable = wanted;
    comparable.admin_directory = settings_.admin_directory;  // Resolved once, at the start.
    if (inherited_) comparable.listen = settings_.listen;
    sessions_->use(wanted);  // Throws before anything has changed.
    const auto reloaded = take_over(settings_, comparable);
    configure_log(settings_.log_level, settings_.log_format);
    operations_->settings_changed();
    const auto now = listed(reloaded.now), later = listed(reloaded.at_next_start);
    outcome.message = "settings read again";
    if (!now.empty()) outcome.message += "; changed: " + now;
    if (!later.empty()) outcome.message += "; at the next start: " + later;
    if (later.find("reads") != std::string::npos)
      outcome.message += " (reads are stored; change them with READS)";
    log_event(LogLevel::info, "reloaded", {{"changed", now}, {"at_next_start", later}});
  } catch (const SettingsError& error) {
    outcome.ended = Ended::error;
    outcome.message = std::string{"the settings stay as they were: "} + error.what();
    log_event(LogLevel::error, "reload_failed", {{"error", error.what()}});
  }
  tell_service_manager("READY=1");
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
  auto sockets = inherited_sockets();
  settings.admin_directory =
      admin::choose_directory(settings.admin_directory, process_environment());
  Program program{std::move(settings), flags, std::move(sockets)};
  return program.run();
}

}  // namespace pgjanus
