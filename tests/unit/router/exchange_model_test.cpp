// Random legal exchanges between a client and a small model of postgres.c, with delays in both
// directions. The model knows the truth; Exchange only sees the types pass by.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "router/exchange.hpp"

using namespace pgjanus;

namespace {

enum class Does : std::uint8_t {
  command,
  rows,
  suspend,
  empty,
  fail,
  begin,
  end,
  copy_in,
  copy_out
};

struct Statement {
  Does does = Does::command;
  int copy_fails_after = -1;  // Messages that COPY IN reads before it fails; -1: it does not.
};

struct Message {
  char type = 'S';
  std::vector<Statement> statements = {};  // Of Query; of Execute exactly one.
  bool fails = false;                      // Of the other extended messages.
  bool of_statement = false;               // Describe.
};

struct Reply {
  char type;
  char status = 'I';
};

/// The main loop of postgres.c (PostgreSQL 15), as far as the message flow goes.
class Server {
 public:
  std::deque<Message> input;
  std::deque<Reply> output;

  [[nodiscard]] bool between_transactions() const {
    return !copying_ && !skipping_ && !batch_open_ && statements_.empty() && status_ == 'I';
  }
  [[nodiscard]] bool can_step() const {
    return !input.empty() || (!statements_.empty() && !copying_);
  }

  void step() {
    if (copying_) return read_copy();
    if (!statements_.empty()) return run_statement();
    const auto message = input.front();
    input.pop_front();
    if (message.type == 'S') {
      skipping_ = batch_open_ = false;
      return ready();
    }
    if (skipping_) return;
    extended_ = std::string_view{"PBDEC"}.find(message.type) != std::string_view::npos;
    switch (message.type) {
      case 'P': answer(message, "1"); break;
      case 'B': answer(message, "2"); break;
      case 'C': answer(message, "3"); break;
      case 'D': answer(message, message.of_statement ? "tT" : "n"); break;
      case 'E':
      case 'Q': statements_.assign(message.statements.begin(), message.statements.end()); break;
      case 'F':
        if (message.fails) return error();
        reply("V");
        ready();
        break;
      default: break;  // H, d, c, f: nothing.
    }
    batch_open_ = extended_ || (batch_open_ && message.type != 'F');
  }

 private:
  void reply(std::string_view types) {
    for (const char type : types) output.push_back({type});
  }
  void ready() {
    batch_open_ = false;
    output.push_back({'Z', status_});
  }
  void answer(const Message& message, std::string_view types) {
    if (message.fails) return error();
    reply(types);
  }
  void error() {
    reply("E");
    statements_.clear();
    copying_ = false;
    if (status_ == 'T') status_ = 'E';
    if (extended_) {
      skipping_ = true;
    } else {
      ready();
    }
  }
  void done(std::string_view types) {
    reply(types);
    statements_.pop_front();
    if (statements_.empty() && !extended_) ready();
  }
  void run_statement() {
    const auto statement = statements_.front();
    if (status_ == 'E' && statement.does != Does::end) return error();
    switch (statement.does) {
      case Does::command: return done("C");
      case Does::rows: return done(extended_ ? "DDC" : "TDDC");
      case Does::suspend: return done(extended_ ? "Ds" : "C");
      case Does::empty: return done("I");
      case Does::fail: return error();
      case Does::begin: status_ = 'T'; return done("C");
      case Does::end: status_ = 'I'; return done("C");
      case Does::copy_out: return done("HddcC");
      case Does::copy_in:
        reply("G");
        copying_ = true;
        to_read_ = statement.copy_fails_after;
        if (to_read_ == 0) error();
        return;
    }
  }
  void read_copy() {
    const auto type = input.front().type;
    input.pop_front();
    if (to_read_ > 0 && --to_read_ == 0) return error();
    if (type == 'f') return error();
    if (type != 'c') return;  // d, and S and H, which are eaten.
    copying_ = false;
    done("C");
  }

  std::deque<Statement> statements_;
  char status_ = 'I';
  bool skipping_ = false, extended_ = false, batch_open_ = false, copying_ = false;
  int to_read_ = 0;
};

class World {
 public:
  explicit World(unsigned seed) : random_{seed} {}

  void run() {
    for (int unit = 0; unit < 12; ++unit) {
      one_of(4) == 0 ? simple() : one_of(8) == 0 ? call() : batch();
      if (one_of(2) == 0) drain();
    }
    // Whatever went before, this leads every session back.
    send({.type = 'S'});
    send({.type = 'Q', .statements = {{Does::end}}});
    drain();
    CHECK(exchange_.quiescent());
    CHECK(exchange_.ready_owed() == 0);
    CHECK_FALSE(exchange_.surplus_possible());
  }

 private:
  unsigned one_of(unsigned count) { return static_cast<unsigned>(random_() % count); }

  Statement statement() {
    const auto does = static_cast<Does>(one_of(9));
    return {does, one_of(3) == 0 ? static_cast<int>(one_of(5)) : -1};
  }

  void send(const Message& message) {
    log_ += message.type;
    exchange_.from_client(static_cast<wire::Frontend>(message.type));
    server_.input.push_back(message);
    while (one_of(3) == 0 && turn()) {
    }
    check();
  }

  /// Something happens elsewhere; false when nothing is left to happen.
  bool turn() {
    const bool server = server_.can_step(), reply = !server_.output.empty();
    if (!server && !reply) return false;
    if (server && (!reply || one_of(2) == 0)) {
      if (one_of(6) == 0) server_.output.push_back({"NSA"[one_of(3)]});
      server_.step();
    } else {
      deliver();
    }
    return true;
  }

  void deliver() {
    const auto reply = server_.output.front();
    server_.output.pop_front();
    log_ += '<';
    log_ += reply.type;
    if (reply.type == 'G') asked_for_copy_ = true;
    if (reply.type == 'E' || reply.type == 'C') asked_for_copy_ = false;
    exchange_.from_server(static_cast<wire::Backend>(reply.type),
                          reply.type == 'Z'
                              ? std::optional{static_cast<wire::TransactionStatus>(reply.status)}
                              : std::nullopt);
    check();
  }

  void drain() {
    while (turn()) {
    }
    CAPTURE(log_);
    REQUIRE(exchange_.quiescent() == server_.between_transactions());
  }

  /// Quiescent means: even when everything under way has arrived, no reply comes and nothing is
  /// open. The one case that types cannot tell is announced by surplus_possible().
  void check() {
    if (!exchange_.quiescent() || exchange_.surplus_possible()) return;
    CAPTURE(log_);
    auto future = server_;
    while (future.can_step()) future.step();
    REQUIRE(future.between_transactions());
    for (const auto& reply : future.output) {
      REQUIRE(std::string_view{"NSA"}.find(reply.type) != std::string_view::npos);
    }
  }

  /// CopyData until the end, with the manual's liberties; blindly or after the server's answer.
  void copy(bool extended) {
    if (one_of(2) == 0) {
      while (!asked_for_copy_ && turn()) {
      }
      if (!asked_for_copy_ && one_of(2) == 0) return;  // Refused: the client need not send.
    }
    for (auto left = one_of(5); left > 0; --left) {
      send({.type = "ddddHS"[one_of(extended ? 5 : 6)]});
      if (!asked_for_copy_ && one_of(3) == 0) break;
    }
    send({.type = "cccf"[one_of(4)]});
  }

  void simple() {
    Message query{.type = 'Q'};
    for (auto count = one_of(3) + 1; count > 0; --count) query.statements.push_back(statement());
    send(query);
    for (const auto& part : query.statements) {
      if (part.does == Does::copy_in) copy(false);
    }
    drain();
  }

  void call() { send({.type = 'F', .fails = one_of(4) == 0}); }

  void batch() {
    for (auto count = one_of(8); count > 0; --count) {
      Message message{.type = "PBDECEHSQ"[one_of(9)]};
      message.fails = one_of(8) == 0;
      message.of_statement = one_of(2) == 0;
      if (message.type == 'E') message.statements = {statement()};
      if (message.type == 'Q') message.statements = {{Does::command}, {Does::rows}};
      send(message);
      if (message.type == 'E' && message.statements[0].does == Does::copy_in) {
        if (one_of(2) == 0) send({.type = 'S'});
        copy(true);
        send({.type = 'S'});
        drain();
      }
    }
    if (one_of(6) != 0) send({.type = 'S'});
  }

  std::mt19937 random_;
  Exchange exchange_;
  Server server_;
  bool asked_for_copy_ = false;
  std::string log_;
};

}  // namespace

TEST_CASE("Exchange agrees with a model of the server on random exchanges", "[router][exchange]") {
  if (const char* seed = std::getenv("PGJANUS_SEED"); seed != nullptr) {
    World{static_cast<unsigned>(std::strtoul(seed, nullptr, 10))}.run();
    return;
  }
  for (unsigned seed = 1; seed <= 20'000; ++seed) {
    INFO("replay with PGJANUS_SEED=" << seed);
    World{seed}.run();
  }
}
