#pragma once
// What the program was told: flags over environment over TOML (contract.md, "Settings").

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/log.hpp"
#include "proxy/settings/access.hpp"
#include "router/names.hpp"
#include "router/reads.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// libpq keywords and values of one connection ("host", "port", "user", "password", "dbname",
/// "sslmode", ...). Holds a password: never log it; describe() is the form for people.
class ConnectionParameters {
 public:
  std::map<std::string, std::string> values;
  /// User and password that the file held before it changed. A secret and its database do not
  /// change in one moment: whoever is refused with the new one may try this.
  struct Former {
    std::string user, password;
  };
  std::optional<Former> former;
  [[nodiscard]] std::string get(std::string_view key, std::string_view otherwise = {}) const;
  /// "host:port/dbname as user", without the password.
  [[nodiscard]] std::string describe() const;
};

/// A database URL as it was given: literal, or the name of a file read again at every connect, so
/// that a rotated password needs no restart. Copies share what they remember of the file. Any
/// thread.
class UrlSource {
 public:
  static UrlSource literal(std::string text);
  static UrlSource file(std::string path);
  /// Parses a libpq URL, key=value string or Secrets Manager JSON. Throws SettingsError, never with
  /// the password in its text. A file that could be read before and can't be now (half written,
  /// unmounted) gives what it held, and the log says so.
  [[nodiscard]] ConnectionParameters read() const;
  [[nodiscard]] bool given() const noexcept { return !text_.empty(); }
  /// The file's name, or "the URL given".
  [[nodiscard]] std::string origin() const;

 private:
  struct Memory;
  [[nodiscard]] ConnectionParameters parse(const std::string& text) const;
  std::string text_;
  std::shared_ptr<Memory> memory_;  // Of files only.

 public:
  /// The same text or the same file, whatever it holds now.
  friend bool operator==(const UrlSource& left, const UrlSource& right) noexcept {
    return left.text_ == right.text_ && !left.memory_ == !right.memory_;
  }
};

/// A password as it was given: literal, or the name of a file that holds it (or Secrets Manager
/// JSON with a "password"), read again each time. As UrlSource otherwise.
class PasswordSource {
 public:
  static PasswordSource literal(std::string text);
  static PasswordSource file(std::string path);
  /// Throws SettingsError naming the file.
  [[nodiscard]] std::string read() const;
  /// What the file held before it changed to what it holds now; empty without such a change.
  [[nodiscard]] std::string former() const;
  [[nodiscard]] bool given() const noexcept { return !text_.empty(); }

 private:
  struct Memory;
  std::string text_;
  std::shared_ptr<Memory> memory_;  // Of files only.

 public:
  friend bool operator==(const PasswordSource& left, const PasswordSource& right) noexcept {
    return left.text_ == right.text_ && !left.memory_ == !right.memory_;
  }
};

/// One login of clients: [[user]] of the TOML file, or the source URL's user.
struct UserEntry {
  std::string name;
  PasswordSource password;  // Or, where only the proof of it is known:
  std::string verifier;     // "SCRAM-SHA-256$…", as in pg_authid; the sides then need their own.
  PerSide<std::optional<std::string>> server_user;  // Where they differ.
  PerSide<PasswordSource> server_password;
  friend bool operator==(const UserEntry&, const UserEntry&) = default;
};

enum class Acknowledge : std::uint8_t { both, primary };
/// How long a session keeps a server: for life, or for a transaction.
enum class PoolMode : std::uint8_t { session, transaction };

struct Address {
  std::string host;
  std::uint16_t port = 0;
};

struct Settings {
  std::string database;  // The name clients connect to; empty: the source's dbname.
  PerSide<UrlSource> url;
  std::vector<UserEntry> users;  // Empty: the source URL's user and password.
  AccessRules access;
  NameMap renames;       // [[rename]]: tables that the target calls otherwise.
  Address listen{"127.0.0.1", 6432};
  std::string certificate, key;  // PEM files; both or neither. Set: TLS is offered to clients.
  std::string admin_directory;   // Resolved: the directory that will be used.
  std::optional<Address> http = Address{"127.0.0.1", 9632};
  Acknowledge acknowledge = Acknowledge::both;
  std::chrono::milliseconds acknowledge_wait{1000};
  std::uint64_t journal_max_bytes = 10ULL << 30;
  std::vector<std::string> exclude;  // Patterns schema.table, * and ? allowed.
  ReadsPolicy reads;
  PoolMode pool = PoolMode::session;
  // Of transaction pooling only; session/README.md says why these.
  unsigned pool_size = 40;                           // Servers of one user on one side.
  std::chrono::milliseconds pool_wait{120'000};      // For a server, then an error.
  std::chrono::milliseconds pool_lifetime{3'600'000};  // Of a server.
  std::chrono::milliseconds pool_idle{600'000};      // Of a server that nobody uses.
  std::optional<Side> assumed_primary;  // --primary: only when neither side has state.
  unsigned threads = 0;                 // 0: number of cores.
  unsigned load_workers = 4;            // [load] workers
  std::uint64_t load_rows_per_second = 0, load_bytes_per_second = 0;  // 0: no limit.
  std::chrono::milliseconds verify_every{0};  // [verify] every; 0: only when asked.
  bool load_yield = true;               // The load goes slower while the app's queries do.
  std::chrono::milliseconds drain{25'000};
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;
  std::string config_file;
};

/// Wrong settings: says which key or flag, where (file and line), and what would be right.
struct SettingsError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What the command line said, already cut into names of settings ("listen", "source", …; the
/// column of flags in contract.md without dashes) and their values.
using Flags = std::map<std::string, std::string>;
/// Looks a variable of the environment up; a function, so that tests bring their own environment.
using Environment = std::function<std::optional<std::string>(std::string_view)>;
[[nodiscard]] Environment process_environment();

/// Everything that was said, flags over environment over TOML, checked. `needs_databases`: both
/// URLs must be there, readable, and not the same database. Throws SettingsError, which names the
/// flag, the variable, or the file and its line, and what would be right.
enum class Needs : std::uint8_t { databases, nothing };
[[nodiscard]] Settings load_settings(const Flags& flags, const Environment& environment,
                                     Needs needs);

/// What was said about the address of the admin socket, without looking at anything else: verbs
/// find the proxy by it. Throws SettingsError.
struct AdminAddress {
  std::optional<std::string> directory;
  std::optional<std::uint16_t> port;
};
[[nodiscard]] AdminAddress admin_address(const Flags& flags, const Environment& environment);

/// Names and values for SHOW CONFIG: what is in force, without passwords.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> describe_settings(
    const Settings& settings);

/// What a reload came to, by names of settings.
struct Reloaded {
  std::vector<std::string> now;            // Changed, and in force.
  std::vector<std::string> at_next_start;  // Differ, and stay as they were until then.
};
/// Puts into `running` what may change while clients are connected.
[[nodiscard]] Reloaded take_over(Settings& running, const Settings& wanted);

/// "host:port", "[::1]:6432"; nothing for anything else.
[[nodiscard]] std::optional<Address> parse_address(std::string_view text);
[[nodiscard]] std::string to_string(const Address& address);
[[nodiscard]] std::string to_string(std::chrono::milliseconds duration);

/// "1s", "250ms", "2m", "1h"; "10GB", "64kB" (powers of 1024, as Postgres takes them).
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace pgjanus
