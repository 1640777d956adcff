// Sessions without an engine: a fixed view, changed by commands on stdin. For tests of gate, moves
// and tickets, and to measure the bare relay.
//
//   relay LISTEN SOURCE_URL TARGET_URL [key=value...]     certificate, key, threads
//
// Commands, one a line, each answered with one line that begins with "ok":
//   primary source|target   hold   release   mirroring on|off   wait on|off   sync on|off
//   patience MS   plain RELATION   loud RELATION   safe FUNCTION
//   reads POLICY   cover auto|off|all   quiesce MS [terminate]   warm SIDE   pinned   open
//   clients   totals   drain MS   quit

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <iostream>
#include <limits>
#include <sstream>

#include "proxy/log.hpp"
#include "proxy/session/workers.hpp"

namespace pgjanus {
namespace {

class Relay {
 public:
  Relay(asio::io_context& io, const Settings& settings) : io_{io}, workers_{settings, tickets_} {
    view_.primary = Side::source;
    view_.catalog_as_of = std::numeric_limits<std::uint64_t>::max();  // Nobody will read it again.
    auto catalog = std::make_shared<Catalog>();
    catalog->opaque_relations = {"t", "side", "s"};  // Known, and not to be read elsewhere.
    view_.catalog = std::move(catalog);
    tickets_.cover(0, Clock::time_point::max());  // The mirror is never behind.
    tickets_.on_draw([this] { asio::post(io_, [this] { cover(); }); });
    workers_.start();
  }

  asio::awaitable<void> run() {
    co_await publish();
    std::cout << "ok listening " << workers_.address() << std::endl;
    asio::posix::stream_descriptor input{io_, ::dup(0)};
    asio::streambuf lines;
    for (;;) {
      const auto read = co_await asio::async_read_until(input, lines, '\n', awaiting);
      if (std::get<0>(read)) break;
      std::istream stream{&lines};
      std::string line;
      std::getline(stream, line);
      const auto answer = co_await command(line);
      if (answer.empty()) break;
      std::cout << answer << std::endl;
    }
    io_.stop();
  }

 private:
  asio::awaitable<void> publish() {
    co_await workers_.publish(std::make_shared<const View>(view_));
  }

  void cover() {
    if (!covering_) return;
    tickets_.cover(tickets_.drawn(), Clock::time_point::max());
    workers_.release_tickets();
  }

  static std::string list(const std::vector<SessionReport>& reports) {
    auto text = "ok " + std::to_string(reports.size());
    for (const auto& report : reports) text += " | " + report.reason;
    return text;
  }

  bool set(const std::string& verb, const std::string& word) {
    const bool on = word == "on";
    if (verb == "primary") view_.primary = side_from(word);
    else if (verb == "hold") view_.held = Held::flip;
    else if (verb == "release") view_.held = Held::none;
    else if (verb == "mirroring") view_.mirroring = on;
    else if (verb == "wait") view_.wait_for_mirror = on;
    else if (verb == "patience") view_.acknowledge_wait = std::chrono::milliseconds{std::stoi(word)};
    else if (verb == "sync") view_.mirror_in_sync = on;
    else if (verb == "reads") view_.reads = parse_reads(word).value_or(ReadsPolicy{});
    else return false;
    return true;
  }

  asio::awaitable<std::string> command(std::string line) {
    std::istringstream words{line};
    std::string verb, first, second;
    words >> verb >> first >> second;
    const auto milliseconds = std::chrono::milliseconds{
        first.empty() || first.find_first_not_of("0123456789") != std::string::npos
            ? 5000
            : std::stoi(first)};
    if (verb == "quit") co_return "";
    if (verb == "quiesce") {
      const auto busy = co_await workers_.quiesce(milliseconds, second == "terminate");
      co_return list(busy);
    }
    if (verb == "pinned") {
      const auto pinned = co_await workers_.pinned(milliseconds);
      co_return list(pinned);
    }
    if (verb == "open") {
      const auto open = co_await workers_.open_transactions();
      co_return list(open);
    }
    if (verb == "warm") {
      co_await workers_.warm(side_from(first).value_or(Side::target), std::chrono::seconds{5});
      co_return "ok";
    }
    if (verb == "drain") {
      co_await workers_.drain(milliseconds);
      co_return "ok";
    }
    if (verb == "clients") {
      const auto clients = co_await workers_.clients();
      std::string text = "ok";
      for (const auto& client : clients) text += " " + client.state;
      co_return text;
    }
    if (verb == "pins") {
      const auto clients = co_await workers_.clients();
      std::string text = "ok";
      for (const auto& client : clients)
        text += (client.client == clients.front().client ? " " : ",") +
                (client.pinned.empty() ? std::string{"-"} : client.pinned);
      co_return text;
    }
    if (verb == "servers") {
      const auto servers = co_await workers_.servers();
      std::string text = "ok";
      for (const auto& server : servers.servers) text += " " + std::to_string(server.pid);
      co_return text;
    }
    if (verb == "totals") {
      const auto totals = workers_.totals();
      std::uint64_t reads[2] = {};
      for (const auto side : {Side::source, Side::target})
        for (const auto count : totals.queries[side]) reads[static_cast<int>(side)] += count;
      co_return "ok clients " + std::to_string(totals.clients) + " held " +
          std::to_string(totals.held_clients) + " source " + std::to_string(reads[0]) +
          " target " + std::to_string(reads[1]) + " unacknowledged " +
          std::to_string(totals.commits_unacknowledged) + " tickets " +
          std::to_string(tickets_.drawn());
    }
    if (verb == "cover") {
      covering_ = first == "auto";
      tickets_.cover(first == "off" ? 0 : tickets_.drawn(), Clock::time_point::max());
      workers_.release_tickets();
      co_return "ok";
    }
    if (verb == "plain" || verb == "safe" || verb == "loud") {
      auto catalog = std::make_shared<Catalog>(*view_.catalog);
      if (verb == "safe") catalog->safe_functions.insert(first);
      if (verb == "plain") catalog->plain_relations.insert(first);
      if (verb == "plain") catalog->opaque_relations.erase(first);
      if (verb == "loud") catalog->loud_relations.insert(first);
      view_.catalog = std::move(catalog);
    } else if (!set(verb, first)) {
      co_return "ok unknown command";
    }
    co_await publish();
    co_return "ok";
  }

  asio::io_context& io_;
  Tickets tickets_;
  Workers workers_;
  View view_;
  bool covering_ = true;
};

int run(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: relay LISTEN SOURCE_URL TARGET_URL [key=value...]\n";
    return 1;
  }
  Settings settings;
  const std::string listen = argv[1];
  const auto colon = listen.rfind(':');
  settings.listen = {listen.substr(0, colon),
                     static_cast<std::uint16_t>(std::stoi(listen.substr(colon + 1)))};
  settings.url[Side::source] = UrlSource::literal(argv[2]);
  settings.url[Side::target] = UrlSource::literal(argv[3]);
  for (int index = 4; index < argc; ++index) {
    const std::string word = argv[index];
    const auto equals = word.find('=');
    const auto key = word.substr(0, equals), value = word.substr(equals + 1);
    if (key == "certificate") settings.certificate = value;
    if (key == "key") settings.key = value;
    if (key == "threads") settings.threads = static_cast<unsigned>(std::stoi(value));
    if (key == "pool" && value == "transaction") settings.pool = PoolMode::transaction;
    if (key == "size") settings.pool_size = static_cast<unsigned>(std::stoi(value));
    if (key == "pool_wait") settings.pool_wait = std::chrono::milliseconds{std::stoi(value)};
    if (key == "pool_lifetime") settings.pool_lifetime = std::chrono::milliseconds{std::stoi(value)};
    if (key == "pool_idle") settings.pool_idle = std::chrono::milliseconds{std::stoi(value)};
    if (key == "log") configure_log(LogLevel::debug, LogFormat::text);
  }
  asio::io_context io{1};
  Relay relay{io, settings};
  asio::co_spawn(io, relay.run(), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
  return 0;
}

}  // namespace
}  // namespace pgjanus

int main(int argc, char** argv) {
  try {
    return pgjanus::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
