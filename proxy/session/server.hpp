#pragma once
// One server connection of one session: how it is opened, and what is known of it.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/session/name_filter.hpp"
#include "proxy/session/buffer.hpp"
#include "proxy/session/stream.hpp"
#include "proxy/session/tls.hpp"
#include "proxy/settings/settings.hpp"
#include "router/exchange.hpp"
#include "router/prepared.hpp"
#include "router/words.hpp"
#include "wire/framer.hpp"
#include "wire/message.hpp"
#include "wire/startup.hpp"

namespace pgjanus {

/// What a login to a server needs. Holds a password.
struct ServerLogin {
  ConnectionParameters parameters;  // Of the side's URL, read just now, user and password final.
  std::vector<std::pair<std::string, std::string>> startup;  // The client's own, without user etc.
  std::chrono::milliseconds limit{10'000};
};

/// Result sets of the proxy's own queries on a session's server.
struct Answer {
  using Row = std::vector<std::optional<std::string>>;
  std::vector<std::vector<Row>> results;     // One a statement that returned rows, in order.
  std::vector<wire::ErrorFields> errors;     // In the order they came.
  bool lost = false;                         // The connection went, or the limit passed.
};

class Session;
struct PoolGroup;
struct PoolIdentity;
struct SessionState;

/// ParameterStatus values by name. Copies share one map until one of them changes, and so do equal
/// ones once ServerPool::intern() has seen them: a thousand clients of one pool know the same values.
class Reported {
 public:
  using Map = std::map<std::string, std::string, std::less<>>;
  void set(std::string_view name, std::string_view value);
  /// Empty when it was never reported.
  [[nodiscard]] std::string_view get(std::string_view name) const noexcept;
  [[nodiscard]] const Map& all() const noexcept { return *map_; }
  /// Cheap, and true only when nothing differs.
  [[nodiscard]] bool shares(const Reported& with) const noexcept { return map_ == with.map_; }

 private:
  friend class ServerPool;
  static const std::shared_ptr<Map>& nothing();
  std::shared_ptr<Map> map_ = nothing();
  bool interned_ = false;
};

/// How a server of a pool is told from others: its settings are those of a login with these
/// start-up parameters, and it has been asked for what its last session made of them.
struct PoolPlace {
  PoolGroup* group = nullptr;  // Null: not of a pool; it ends with its session.
  std::shared_ptr<const PoolIdentity> identity;  // Sessions of the same one can use it.
  std::shared_ptr<const SessionState> state;  // What is established on it. Null: as it logged in.
  std::uint64_t unnamed = 0;      // Whose unnamed statement is there (Session::unnamed_id_); 0: nobody's.
  std::uint64_t last_client = 0;  // Who used it last,
  bool tainted = false;           // and may have left what no catalog shows.
  std::chrono::steady_clock::time_point opened_at{}, idle_since{};
};

/// A lease of one backend for one session. Owned by the session, or by the pool between leases;
/// one thread.
class Server : public std::enable_shared_from_this<Server> {
 public:
  Server(const asio::any_io_executor& executor, BufferPool& pool, Side on)
      : side{on}, in{pool}, answered{executor}, executor_{executor} {}

  /// Connects and logs in. Nothing on success; otherwise what to tell the client: the server's own
  /// error, or one of ours with class 08 or 57P03.
  asio::awaitable<std::optional<wire::ErrorFields>> open(ServerLogin login, ServerTls& tls);

  /// Asks the server to cancel what runs, over a connection of its own; returns when the server
  /// has closed that, so that the signal is no longer on its way.
  asio::awaitable<void> cancel(ServerTls& tls);

  void close() noexcept {
    if (stream) stream->close();
  }
  [[nodiscard]] bool usable() const noexcept { return stream && stream->is_open() && !dying; }

  const Side side;
  std::unique_ptr<Stream> stream;
  Buffer in;                            // What it sent and we have not passed on.
  wire::Framer framer{buffer_bytes};
  NameFilter names;                     // On what goes to it.
  Exchange exchange;
  Reported reported;                    // ParameterStatus, latest values.
  std::vector<wire::Bytes> notices;     // NoticeResponses of the login, whole messages.
  wire::BackendKeyData key;
  std::string login_user;
  bool dying = false;                   // It sent FATAL: nothing follows.
  Session* session = nullptr;            // Whose lease it is; null between leases.
  PoolPlace place;
  ServerStatements statements;          // By names of ours; transaction pooling only.
  wire::Bytes kept_batch;               // The batch that runs, while it may be sent again; the same.
  unsigned cancels = 0;                 // Cancel requests under way: until then nobody else's.

  // The proxy's own queries: while `answer` is set, replies are collected and not relayed.
  Answer* answer = nullptr;
  std::size_t answer_ready_owed = 0;
  wire::Bytes partial;                  // Of the message being collected.
  Alarm answered;

 private:
  using Failure = std::optional<wire::ErrorFields>;
  asio::awaitable<Failure> reach(const ServerLogin& login, ServerTls& tls, SslMode mode);
  asio::awaitable<Failure> attempt(const ServerLogin& login, ServerTls& tls, bool encrypted);
  asio::awaitable<Failure> dial(const ConnectionParameters& parameters);
  asio::awaitable<Failure> encrypt(const ConnectionParameters& parameters, ServerTls& tls,
                                   SslMode mode);
  asio::awaitable<Failure> authenticate(const ServerLogin& login, ServerTls& tls);
  asio::awaitable<Failure> authenticate_sasl(const ConnectionParameters& parameters, ServerTls& tls,
                                             std::vector<std::string> mechanisms);
  asio::awaitable<Failure> settle();
  struct Message {
    std::uint8_t type = 0;
    wire::Bytes body;
  };
  asio::awaitable<std::optional<Message>> receive(std::int32_t length_max);

  asio::any_io_executor executor_;
  ConnectionParameters where_;  // For cancel: the same place, the same encryption.
  bool encrypted_ = false;
  bool tls_failed_ = false;  // The server agreed to TLS, and then the handshake failed.
  bool late_ = false;  // The limit of open() passed.
};

/// Start-up parameters of the client that its servers get too.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> passed_on(
    const wire::StartupMessage& startup);

/// Printable random text without comma, for SCRAM; and random bytes. From the system's generator.
[[nodiscard]] std::string random_nonce();
void random_bytes(std::span<std::uint8_t> out);

}  // namespace pgjanus
