#pragma once
// Control connections: libpq, driven by Asio. The only place that knows libpq.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/settings/settings.hpp"

namespace pgjanus::pg {

namespace asio = boost::asio;
using Duration = std::chrono::milliseconds;

/// What the server said no with, or that the connection is gone. Control work is a sequence of
/// statements that any failure ends, so failures travel as exceptions to the edge of the
/// operation (proxy/README.md argues this against style.md section 4).
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
  std::string sqlstate;  // Empty: no answer of a server (could not connect, connection lost).
  std::string message, detail, hint, schema, table, column, constraint;
  bool lost = false;     // The connection is unusable; a COMMIT under way is in doubt.
  std::size_t statement = 0;  // Of a batch: index of the statement that failed.
  [[nodiscard]] bool is(std::string_view state) const noexcept { return sqlstate == state; }
};

/// Of a refused connection, from libpq's verbose words: the text without codes and places in
/// Postgres' source, and the code. Neither purpose nor `lost` is set.
[[nodiscard]] Error login_error(std::string text);

/// One result set, text format. Copies share the result; views live as long as any copy.
class Rows {
 public:
  Rows() = default;
  explicit Rows(std::shared_ptr<void> result) : result_{std::move(result)} {}
  [[nodiscard]] int size() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] int columns() const noexcept;
  /// attnum of the table's column that this one is, by the catalog with which the server read it; 0: none, but computed.
  [[nodiscard]] int number(int column) const noexcept;
  [[nodiscard]] bool null(int row, int column) const noexcept;
  [[nodiscard]] std::string_view text(int row, int column) const noexcept;  // Empty for NULL.
  [[nodiscard]] std::string str(int row, int column) const { return std::string{text(row, column)}; }
  [[nodiscard]] std::optional<std::string> value(int row, int column) const;
  [[nodiscard]] std::int64_t integer(int row, int column) const;  // Throws on no integer.
  [[nodiscard]] bool boolean(int row, int column) const noexcept { return text(row, column) == "t"; }
  [[nodiscard]] std::uint64_t affected() const noexcept;  // Of the command tag; 0 without.

 private:
  std::shared_ptr<void> result_;  // PGresult
};

using Parameters = std::vector<std::optional<std::string>>;

/// Parameters of the given texts: GCC 12 rejects braced lists inside a co_await expression.
template <class... Values>
[[nodiscard]] Parameters params(Values&&... values) {
  Parameters parameters;
  parameters.reserve(sizeof...(values));
  (parameters.emplace_back(std::forward<Values>(values)), ...);
  return parameters;
}

/// A statement of a pipeline. `keep` prepares it once a connection and reuses the plan; for texts
/// that come again and again.
struct Statement {
  std::string sql;
  Parameters parameters;
  bool keep = false;
};

/// Text literal of a Postgres array of the given values (array_in's format).
[[nodiscard]] std::string array_literal(const std::vector<std::optional<std::string_view>>& values);
/// Elements of a one-dimensional text array as array_out prints it. Throws on malformed input.
[[nodiscard]] std::vector<std::optional<std::string>> parse_array(std::string_view literal);
/// "name" quoted as an identifier; 'text' quoted as a literal (standard_conforming_strings on).
[[nodiscard]] std::string quote_name(std::string_view name);
[[nodiscard]] std::string quote_literal(std::string_view text);
[[nodiscard]] std::string qualified(std::string_view schema, std::string_view name);

/// One connection to one side. Owned by one coroutine at a time; lives on the control thread. All
/// waits have limits; past one the connection is closed and Error{lost} thrown. After connecting
/// it pins its session: search_path pg_catalog, UTF8 (SQL_ASCII servers: their own), DateStyle ISO,
/// IntervalStyle postgres, TimeZone UTC, extra_float_digits 3, bytea_output hex, lc_monetary C,
/// row_security off, statement_timeout 0, idle_in_transaction_session_timeout and
/// tcp_user_timeout short, so that a proxy that dies silently lets its locks go.
class Connection {
 public:
  /// Connects and pins the session. `purpose` becomes application_name "pgjanus <purpose>".
  static asio::awaitable<std::unique_ptr<Connection>> open(ConnectionParameters parameters,
                                                           std::string purpose, Duration limit);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Runs one or several statements (simple query) and returns the last result.
  asio::awaitable<Rows> run(std::string sql, Duration limit = default_limit);
  /// Runs one statement with text parameters.
  asio::awaitable<Rows> run(std::string sql, Parameters parameters, Duration limit = default_limit);
  /// The same, prepared once a connection: for texts whose planning costs as much as running them.
  asio::awaitable<Rows> kept(std::string sql, Parameters parameters, Duration limit = default_limit);
  /// Sends all statements before it waits (libpq pipeline mode, one Sync at the end: outside a
  /// transaction block they are one transaction). The first error ends the batch and is thrown.
  asio::awaitable<std::vector<Rows>> batch(std::vector<Statement> statements,
                                           Duration limit = default_limit);

  /// COPY … TO STDOUT: calls `sink` with parcels of whole rows (about 64 kB; line feeds included)
  /// and returns the row count. The sink may suspend: then we stop reading (backpressure).
  using Sink = std::function<asio::awaitable<void>(std::string_view)>;
  asio::awaitable<std::uint64_t> copy_out(std::string sql, Sink sink, Duration idle_limit);
  /// Messages of the present or last copy_out() so far: its rows (one more at the end of a binary one).
  [[nodiscard]] std::uint64_t copied_rows() const noexcept;
  /// COPY … FROM STDIN in three steps; put() suspends while the socket is full.
  asio::awaitable<void> copy_in_begin(std::string sql, Duration limit = default_limit);
  asio::awaitable<void> copy_in_put(std::string_view data, Duration idle_limit);
  /// Ends the COPY; with a reason it fails it on purpose. Returns the row count.
  asio::awaitable<std::uint64_t> copy_in_end(std::optional<std::string> failure = std::nullopt,
                                             Duration limit = default_limit);

  /// Closes the socket at once; an open transaction is rolled back by the server. Idempotent.
  void close() noexcept;
  /// Asks the server to cancel what runs, over another socket, in the background; nothing when lost.
  void cancel() noexcept;
  [[nodiscard]] bool usable() const noexcept;
  [[nodiscard]] bool in_transaction() const noexcept;
  [[nodiscard]] int process_id() const noexcept;
  [[nodiscard]] int server_version() const noexcept;  // 150018
  [[nodiscard]] const std::string& purpose() const noexcept;

  static constexpr Duration default_limit{30'000};

 private:
  struct Impl;
  explicit Connection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

using ConnectionPtr = std::unique_ptr<Connection>;

}  // namespace pgjanus::pg
