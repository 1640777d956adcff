// Exchange against a model of the server's main loop (PostgresMain and CopyGetData of PostgreSQL
// 15). The input plays client, server and network: which message is sent next, when the server
// reads one and how it answers, when an answer arrives. Two promises are checked after each step:
//
//   safe: a session that claims to stand between transactions does, whatever is still under way;
//   live: with nothing under way and the server idle, it says so (else a flip waits for ever).

#include "router/exchange.hpp"

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "wire/assert.hpp"

using namespace pgjanus;
using wire::Backend;
using wire::Frontend;
using wire::TransactionStatus;

namespace {

struct Reply {
  Backend type;
  TransactionStatus status = TransactionStatus::idle;  // Of ReadyForQuery.
};

/// What the input decides next; zeros once it is used up.
class Choices {
 public:
  explicit Choices(wire::ByteView input) : rest_{input} {}
  bool done() const { return rest_.empty(); }
  unsigned below(unsigned bound) {
    if (rest_.empty()) return 0;
    const unsigned value = rest_[0];
    rest_ = rest_.subspan(1);
    return value % bound;
  }

 private:
  wire::ByteView rest_;
};

class Server {
 public:
  explicit Server(Choices& choices) : choices_{choices} {}

  bool dead() const { return dead_; }
  /// At the top of its loop, outside any transaction and batch.
  bool between() const {
    return !skipping_ && copy_ == Copy::none && !batch_ && status_ == TransactionStatus::idle;
  }

  void read(Frontend message, std::deque<Reply>& replies) {
    if (copy_ != Copy::none) {
      read_in_copy(message, replies);
      return;
    }
    if (message == Frontend::sync) skipping_ = false;
    if (skipping_) return;
    switch (message) {
      case Frontend::query: run_query(replies); break;
      case Frontend::function_call:
        batch_ = false;
        if (choices_.below(4) == 0) {
          fail(replies);
        } else {
          replies.push_back({Backend::function_call_response});
        }
        ready(replies);
        break;
      case Frontend::sync:
        batch_ = false;
        ready(replies);
        break;
      case Frontend::parse: step(Backend::parse_complete, replies); break;
      case Frontend::bind: step(Backend::bind_complete, replies); break;
      case Frontend::close: step(Backend::close_complete, replies); break;
      case Frontend::describe:
        if (choices_.below(2) == 0) replies.push_back({Backend::parameter_description});
        step(choices_.below(2) == 0 ? Backend::no_data : Backend::row_description, replies);
        break;
      case Frontend::execute: execute(replies); break;
      case Frontend::flush:
      case Frontend::copy_data:  // Left over from a COPY that failed: ignored.
      case Frontend::copy_done:
      case Frontend::copy_fail: break;
      case Frontend::password:
      case Frontend::terminate: dead_ = true; break;
    }
  }

 private:
  enum class Copy { none, of_query, of_execute };

  void fail(std::deque<Reply>& replies) {
    replies.push_back({Backend::error_response});
    if (status_ == TransactionStatus::in_transaction) status_ = TransactionStatus::failed;
  }
  void ready(std::deque<Reply>& replies) { replies.push_back({Backend::ready_for_query, status_}); }
  // A message of the extended protocol that either works or makes the rest be skipped.
  void step(Backend answer, std::deque<Reply>& replies) {
    batch_ = true;
    if (choices_.below(6) == 0) {
      fail(replies);
      skipping_ = true;
    } else {
      replies.push_back({answer});
    }
  }
  // What a command that worked may have been: BEGIN, COMMIT, ROLLBACK or another.
  void transact() {
    switch (choices_.below(4)) {
      case 0: status_ = TransactionStatus::in_transaction; break;
      case 1: status_ = TransactionStatus::idle; break;
      default:
        if (status_ == TransactionStatus::failed) status_ = TransactionStatus::idle;
    }
  }
  void rows(std::deque<Reply>& replies) {
    if (choices_.below(3) == 0) replies.push_back({Backend::data_row});
    if (choices_.below(8) == 0) {
      replies.push_back({Backend::copy_out_response});
      replies.push_back({Backend::copy_data});
      replies.push_back({Backend::copy_done});
    }
  }
  // The commands of one Query, from where it stands to its end or its next COPY IN.
  void run_query(std::deque<Reply>& replies) {
    batch_ = false;
    for (;;) {
      switch (choices_.below(6)) {
        case 0:
          fail(replies);
          ready(replies);
          return;
        case 1:
          replies.push_back({Backend::copy_in_response});
          copy_ = Copy::of_query;
          return;
        case 2:
          replies.push_back({Backend::empty_query_response});
          ready(replies);
          return;
        case 3:
          replies.push_back({Backend::row_description});
          rows(replies);
          replies.push_back({Backend::command_complete});
          transact();
          break;  // Another command follows.
        default:
          rows(replies);
          replies.push_back({Backend::command_complete});
          transact();
          ready(replies);
          return;
      }
      if (choices_.done()) {
        ready(replies);
        return;
      }
    }
  }
  void execute(std::deque<Reply>& replies) {
    batch_ = true;
    switch (choices_.below(6)) {
      case 0:
        fail(replies);
        skipping_ = true;
        break;
      case 1:
        replies.push_back({Backend::copy_in_response});
        copy_ = Copy::of_execute;
        break;
      case 2: replies.push_back({Backend::portal_suspended}); break;
      case 3: replies.push_back({Backend::empty_query_response}); break;
      default:
        rows(replies);
        replies.push_back({Backend::command_complete});
        transact();
    }
  }
  void read_in_copy(Frontend message, std::deque<Reply>& replies) {
    bool failed = message == Frontend::copy_fail;
    switch (message) {
      case Frontend::copy_data:
        if (choices_.below(6) != 0) return;
        failed = true;  // A row that cannot be taken.
        break;
      case Frontend::copy_done:
        failed = choices_.below(6) == 0;  // A deferred constraint, say.
        break;
      case Frontend::copy_fail: break;
      case Frontend::sync:
      case Frontend::flush: return;
      default:
        dead_ = true;  // "protocol synchronization was lost"
        return;
    }
    const bool of_query = copy_ == Copy::of_query;
    copy_ = Copy::none;
    if (failed) {
      fail(replies);
      if (of_query) {
        ready(replies);
      } else {
        skipping_ = true;
      }
      return;
    }
    replies.push_back({Backend::command_complete});
    if (!of_query) return;
    if (choices_.below(3) == 0) {
      run_query(replies);  // The next command of the string.
    } else {
      ready(replies);
    }
  }

  Choices& choices_;
  TransactionStatus status_ = TransactionStatus::idle;
  Copy copy_ = Copy::none;
  bool skipping_ = false;
  bool batch_ = false;  // Extended messages since the last Sync, Query or FunctionCall.
  bool dead_ = false;
};

constexpr Frontend sent_types[] = {
    Frontend::query,     Frontend::parse,         Frontend::bind,      Frontend::describe,
    Frontend::execute,   Frontend::execute,       Frontend::close,     Frontend::sync,
    Frontend::sync,      Frontend::flush,         Frontend::copy_data, Frontend::copy_done,
    Frontend::copy_fail, Frontend::function_call,
};
constexpr Backend asynchronous[] = {Backend::notice_response, Backend::parameter_status,
                                    Backend::notification_response};

// FUZZ_TRACE=1 shows the conversation of an input that failed.
void trace(const char* who, std::uint8_t type, std::optional<TransactionStatus> status) {
  static const bool wanted = std::getenv("FUZZ_TRACE") != nullptr;
  if (!wanted) return;
  const char letter = status ? static_cast<char>(*status) : ' ';
  std::fprintf(stderr, "%s %c %c\n", who, type, letter);
}

bool part_of_copy(Frontend message) {
  return message == Frontend::copy_data || message == Frontend::copy_done ||
         message == Frontend::copy_fail || message == Frontend::sync || message == Frontend::flush;
}

// Messages that the server will read without answering, when it stands between transactions.
bool owes_nothing(const std::deque<Frontend>& sent) {
  for (const auto message : sent) {
    if (message != Frontend::flush && message != Frontend::copy_data &&
        message != Frontend::copy_done && message != Frontend::copy_fail) {
      return false;
    }
  }
  return true;
}

void check(const Exchange& exchange, const Server& server, const std::deque<Frontend>& sent,
           const std::deque<Reply>& replies) {
  if (exchange.surplus_possible()) return;
  if (exchange.quiescent()) {
    PROXY_ASSERT(server.between());
    PROXY_ASSERT(owes_nothing(sent));
    PROXY_ASSERT(replies.empty());
  }
  if (server.between() && sent.empty() && replies.empty()) {
    PROXY_ASSERT(exchange.quiescent());
    PROXY_ASSERT(exchange.ready_owed() == 0);
    PROXY_ASSERT(!exchange.copying_in());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices{wire::ByteView{data, size}};
  Server server{choices};
  Exchange exchange;
  std::deque<Frontend> sent;
  std::deque<Reply> replies;
  bool sending_data = false;  // The client began CopyData, perhaps before it knew of a COPY.
  bool sync_follows = false;  // Since the last Execute.
  bool early_sync = false;    // A Sync stands before the end of a COPY.

  while (!choices.done()) {
    switch (choices.below(3)) {
      case 0: {
        const auto message = sent_types[choices.below(std::size(sent_types))];
        // Other messages before the end of the data are fatal to the connection. A client that
        // sends Sync early (the COPY eats it, unless it has failed before) does not send other
        // messages until it knows how that ended: nobody could tell whose answer comes next.
        const bool in_copy = sending_data || exchange.copying_in();
        if ((in_copy || early_sync || exchange.surplus_possible()) && !part_of_copy(message)) break;
        if (message == Frontend::execute) sync_follows = false;
        if (message == Frontend::sync) sync_follows = true;
        early_sync |= sync_follows && (in_copy || message == Frontend::copy_data);
        if (message == Frontend::copy_data) sending_data = true;
        if (message == Frontend::copy_done || message == Frontend::copy_fail) sending_data = false;
        trace("client sends", static_cast<std::uint8_t>(message), {});
        exchange.from_client(message);
        sent.push_back(message);
        break;
      }
      case 1:
        if (!sent.empty()) {
          const auto message = sent.front();
          sent.pop_front();
          trace("    server reads", static_cast<std::uint8_t>(message), {});
          server.read(message, replies);
          if (server.dead()) return 0;
        } else {
          exchange.from_server(asynchronous[choices.below(std::size(asynchronous))], {});
        }
        break;
      case 2:
        if (!replies.empty()) {
          const auto reply = replies.front();
          replies.pop_front();
          const auto status = reply.type == Backend::ready_for_query
                                  ? std::optional{reply.status}
                                  : std::optional<TransactionStatus>{};
          trace("        reply", static_cast<std::uint8_t>(reply.type), status);
          if (reply.type == Backend::error_response && exchange.copying_in()) sending_data = false;
          exchange.from_server(reply.type, status);
          early_sync &= exchange.running();
        }
        break;
    }
    check(exchange, server, sent, replies);
  }
  return 0;
}
