// Many clients for tests/bench/scale, and a server that carries them.
//
//   scale server LISTEN REAL PASSWORD
//                                 A server that says as little as a client needs, after SCRAM with
//                                 this password for any user. Connections of pgjanus' own (application_name "pgjanus ...") go on to REAL, a
//                                 Postgres; so that a proxy starts with a process for each of those
//                                 only. Both are host:port.
//   scale clients URL COUNT ABREAST
//                                 Opens COUNT connections, ABREAST at a time, and says how long each
//                                 took. Then commands on stdin: "ask" runs a query on each,
//                                 "transaction" opens and ends one on each; end of input ends all.

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <iostream>

#include "proxy/descriptors.hpp"
#include "proxy/session/server.hpp"
#include "wire/message.hpp"
#include "wire/scram.hpp"
#include "wire/startup.hpp"

namespace pgjanus {
namespace {

using tcp = asio::ip::tcp;
using Seconds = std::chrono::duration<double>;

void log_failure(const std::exception_ptr& failure) {
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    std::cerr << "failed: " << error.what() << '\n';
  }
}

tcp::endpoint endpoint_of(const std::string& text) {
  const auto address = parse_address(text);
  if (!address) throw std::runtime_error{text + " is no host:port"};
  return {asio::ip::make_address(address->host), address->port};
}

// The server.

asio::awaitable<void> copy(std::shared_ptr<tcp::socket> from, std::shared_ptr<tcp::socket> to) {
  std::array<char, 16384> bytes;
  for (;;) {
    const auto read = co_await from->async_read_some(asio::buffer(bytes), awaiting);
    if (std::get<0>(read)) break;
    const auto chunk = asio::buffer(bytes, std::get<1>(read));
    const auto written = co_await asio::async_write(*to, chunk, awaiting);
    if (std::get<0>(written)) break;
  }
  boost::system::error_code ignored;
  to->shutdown(tcp::socket::shutdown_both, ignored);
  from->shutdown(tcp::socket::shutdown_both, ignored);
}

asio::awaitable<bool> read_whole(tcp::socket& socket, wire::Bytes& bytes, std::size_t from) {
  const auto into = asio::buffer(bytes) + from;
  const auto read = co_await asio::async_read(socket, into, awaiting);
  co_return !std::get<0>(read);
}

/// As a server that keeps this password's verifier, which never changes. False: it did not fit.
asio::awaitable<bool> authenticate(tcp::socket& client, const std::string& password) {
  static const auto verifier = wire::make_verifier(password, "sixteen bytes...", 4096);
  wire::ScramServer scram{verifier, true, random_nonce()};
  wire::Bytes out;
  wire::encode_authentication_sasl(out, {"SCRAM-SHA-256"});
  for (int step = 0; step < 2; ++step) {
    const auto chunk = asio::buffer(out);
    const auto written = co_await asio::async_write(client, chunk, awaiting);
    if (std::get<0>(written)) co_return false;
    wire::Bytes message(5);
    bool open = co_await read_whole(client, message, 0);
    wire::FieldReader fields{wire::ByteView{message}.subspan(1)};
    message.resize(open ? static_cast<std::size_t>(fields.int32()) + 1 : 5);
    if (open) open = co_await read_whole(client, message, 5);
    if (!open) co_return false;
    out.clear();
    const auto body = wire::ByteView{message}.subspan(5);
    if (step == 0) {
      const auto first = wire::decode_sasl_initial_response(body);
      if (!first) co_return false;
      const auto challenge = scram.challenge(first->mechanism, first->data);
      if (!challenge) co_return false;
      wire::encode_authentication_sasl_continue(out, *challenge);
    } else {
      const auto last = scram.finish(wire::as_text(body));
      if (!last) co_return false;
      wire::encode_authentication_sasl_final(out, *last);
    }
  }
  const auto chunk = asio::buffer(out);
  const auto written = co_await asio::async_write(client, chunk, awaiting);
  co_return !std::get<0>(written);
}

wire::Bytes greeting() {
  static std::int32_t number = 1000;
  wire::Bytes out;
  wire::encode_authentication_ok(out);
  // What Postgres 15 reports.
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"application_name", ""}, {"client_encoding", "UTF8"}, {"DateStyle", "ISO, MDY"},
           {"default_transaction_read_only", "off"}, {"in_hot_standby", "off"},
           {"integer_datetimes", "on"}, {"IntervalStyle", "postgres"}, {"is_superuser", "off"},
           {"server_encoding", "UTF8"}, {"server_version", "15.0"}, {"session_authorization", "app"},
           {"standard_conforming_strings", "on"}, {"TimeZone", "Etc/UTC"}})
    wire::encode_parameter_status(out, name, value);
  wire::encode_backend_key_data(out, {++number, number * 7});
  wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
  return out;
}

/// Answers simple queries: any text is done, BEGIN and COMMIT change the status.
asio::awaitable<void> play(std::shared_ptr<tcp::socket> client) {
  auto out = greeting();
  auto status = wire::TransactionStatus::idle;
  for (;;) {
    const auto chunk = asio::buffer(out);
    const auto written = co_await asio::async_write(*client, chunk, awaiting);
    if (std::get<0>(written)) co_return;
    wire::Bytes message(5);
    bool open = co_await read_whole(*client, message, 0);
    if (!open || message[0] == 'X') co_return;
    wire::FieldReader fields{wire::ByteView{message}.subspan(1)};
    message.resize(static_cast<std::size_t>(fields.int32()) + 1);
    open = co_await read_whole(*client, message, 5);
    if (!open) co_return;
    out.clear();
    if (message[0] != 'Q') continue;
    const std::string text{message.begin() + 5, message.end() - 1};
    if (text == "BEGIN") status = wire::TransactionStatus::in_transaction;
    if (text == "COMMIT") status = wire::TransactionStatus::idle;
    wire::encode_command_complete(out, text.starts_with("SELECT") ? "SELECT 0" : text);
    wire::encode_ready_for_query(out, status);
  }
}

asio::awaitable<void> welcome(std::shared_ptr<tcp::socket> client, tcp::endpoint real,
                              std::string password) {
  client->set_option(tcp::no_delay{true});
  for (;;) {
    wire::Bytes packet(4);
    bool open = co_await read_whole(*client, packet, 0);
    if (!open) co_return;
    wire::FieldReader fields{packet};
    packet.resize(static_cast<std::size_t>(fields.int32()));
    open = co_await read_whole(*client, packet, 4);
    const auto decoded = wire::decode_startup(packet);
    if (!open || !decoded) co_return;
    if (const auto* startup = std::get_if<wire::StartupMessage>(&*decoded)) {
      const auto name = startup->parameter("application_name").value_or("");
      if (!name.starts_with("pgjanus")) {
        const bool in = co_await authenticate(*client, password);
        if (in) co_await play(client);
        co_return;
      }
    } else if (!std::holds_alternative<wire::CancelRequest>(*decoded)) {
      const auto no = asio::buffer("N", 1);
      const auto written = co_await asio::async_write(*client, no, awaiting);
      static_cast<void>(written);
      continue;
    }
    const auto executor = co_await asio::this_coro::executor;
    const auto behind = std::make_shared<tcp::socket>(executor);
    const auto connected = co_await behind->async_connect(real, awaiting);
    if (std::get<0>(connected)) co_return;
    const auto first = asio::buffer(packet);
    const auto written = co_await asio::async_write(*behind, first, awaiting);
    static_cast<void>(written);
    asio::co_spawn(executor, copy(behind, client), log_failure);
    co_await copy(client, behind);
    co_return;
  }
}

asio::awaitable<void> serve(tcp::endpoint listen, tcp::endpoint real, std::string password) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::acceptor acceptor{executor, listen};
  std::cout << "ok" << std::endl;
  for (;;) {
    auto accepted = co_await acceptor.async_accept(awaiting);
    if (std::get<0>(accepted)) throw boost::system::system_error{std::get<0>(accepted)};
    const auto client = std::make_shared<tcp::socket>(std::move(std::get<1>(accepted)));
    asio::co_spawn(executor, welcome(client, real, password), log_failure);
  }
}

// The clients.

class Clients {
 public:
  Clients(asio::io_context& io, const std::string& url) : io_{io} {
    login_.parameters = UrlSource::literal(url).read();
    login_.limit = std::chrono::minutes{1};
  }

  void connect(std::size_t count, std::size_t abreast) {
    wanted_ = count;
    const auto start = Clock::now();
    for (std::size_t i = 0; i < abreast; ++i) asio::co_spawn(io_, connect_some(), log_failure);
    run();
    report("connected", Seconds{Clock::now() - start}.count());
  }

  void ask(std::vector<std::string> texts) {
    took_.clear();
    failed_ = 0;
    const auto start = Clock::now();
    for (const auto& client : clients_) asio::co_spawn(io_, ask_one(client, texts), log_failure);
    run();
    report("asked", Seconds{Clock::now() - start}.count());
  }

 private:
  void run() {
    io_.restart();
    io_.run();
  }

  void report(const char* what, double seconds) {
    std::sort(took_.begin(), took_.end());
    const auto at = [&](double share) {
      return took_.empty() ? 0 : took_[static_cast<std::size_t>(share * static_cast<double>(took_.size() - 1))] * 1e3;
    };
    std::printf("{\"%s\": %zu, \"failed\": %zu, \"seconds\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
                "\"max_ms\": %.3f}\n", what, took_.size(), failed_, seconds, at(0.5), at(0.99), at(1));
    std::fflush(stdout);
  }

  asio::awaitable<void> connect_some() {
    while (begun_ < wanted_) {
      ++begun_;
      const auto start = Clock::now();
      const auto client = std::make_shared<Server>(io_.get_executor(), pool_, Side::source);
      auto login = login_;
      const auto failure = co_await client->open(std::move(login), tls_);
      if (failure) {
        if (++failed_ == 1) std::cerr << "refused: " << failure->message() << '\n';
        continue;
      }
      took_.push_back(Seconds{Clock::now() - start}.count());
      clients_.push_back(client);
    }
  }

  asio::awaitable<void> ask_one(std::shared_ptr<Server> client, std::vector<std::string> texts) {
    const auto start = Clock::now();
    for (const auto& text : texts) {
      wire::Bytes out;
      wire::encode_query(out, text);
      bool open = co_await client->stream->write_all(out);
      std::uint8_t type = 0;
      while (open && type != 'Z') {
        wire::Bytes message(5);
        open = co_await client->stream->read_exactly(message);
        type = message[0];
        wire::FieldReader fields{wire::ByteView{message}.subspan(1)};
        message.resize(open ? static_cast<std::size_t>(fields.int32()) - 4 : 0);
        if (open) open = co_await client->stream->read_exactly(message);
      }
      if (!open) {
        ++failed_;
        co_return;
      }
    }
    took_.push_back(Seconds{Clock::now() - start}.count());
  }

  asio::io_context& io_;
  BufferPool pool_;
  ServerTls tls_;
  ServerLogin login_;
  std::size_t wanted_ = 0, begun_ = 0, failed_ = 0;
  std::vector<std::shared_ptr<Server>> clients_;
  std::vector<double> took_;
};

int run(int argc, char** argv) {
  const std::vector<std::string> words{argv + 1, argv + argc};
  asio::io_context io{1};
  static_cast<void>(raise_descriptor_limit());
  if (words.size() == 4 && words[0] == "server") {
    asio::co_spawn(io, serve(endpoint_of(words[1]), endpoint_of(words[2]), words[3]), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
    io.run();
    return 0;
  }
  if (words.size() != 4 || words[0] != "clients") {
    std::cerr << "usage: scale server LISTEN REAL PASSWORD | scale clients URL COUNT ABREAST\n";
    return 1;
  }
  Clients clients{io, words[1]};
  clients.connect(std::stoul(words[2]), std::stoul(words[3]));
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "ask") clients.ask({"SELECT 1"});
    if (line == "transaction") clients.ask({"BEGIN", "SELECT 1", "COMMIT"});
  }
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
