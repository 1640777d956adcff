#pragma once
// What one statement text can do: read by libpg_query, judged against the catalog. Never trusted
// for correctness of the mirror (capture is in the database): a wrong guess costs a retry.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>

namespace pgjanus {

/// What we know of the database's names, to tell a read from a call that writes. Loaded by
/// proxy/catalog_names; immutable once published; any thread.
struct Catalog {
  /// Names of functions of which every overload is STABLE or IMMUTABLE.
  std::unordered_set<std::string> safe_functions;
  /// Names for which some relation is no plain or partitioned table, materialized view or system
  /// catalog without row security (views, foreign tables, sequences, RLS tables).
  std::unordered_set<std::string> opaque_relations;
  /// Names of relations that are safe everywhere: a table not in here is unknown.
  std::unordered_set<std::string> plain_relations;
  /// Names of operators of which some implementation is VOLATILE.
  std::unordered_set<std::string> volatile_operators;
  /// Names for which the use of some relation may change the session: by triggers, rules, or VOLATILE
  /// functions that the statement does not name. Of plain relations only writes do.
  std::unordered_set<std::string> loud_relations{};
};

/// The most dangerous thing that the statements of one text can do.
enum class StatementKind : std::uint8_t {
  read,         // Provably only reads: no lock, no volatile function, only plain relations.
  begin,        // BEGIN or START TRANSACTION, alone.
  finish,       // COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION and the like, alone.
  write,        // Plain INSERT, UPDATE, DELETE, MERGE: changes rows.
  session,      // May change the session: SET, RESET, DISCARD, LISTEN, PREPARE, DECLARE, DO, CALL, …
  ddl,          // Changes the schema.
  other,        // Everything else, and everything that we cannot or will not parse.
  empty,        // No statement at all.
};
inline constexpr std::size_t statement_kinds = 8;
[[nodiscard]] std::string_view to_string(StatementKind kind) noexcept;

/// What a text can do and whether it may touch the session's state (settings, prepared
/// statements, temporary tables): then a second server must be brought up to date before a read.
struct StatementClass {
  StatementKind kind = StatementKind::other;
  bool touches_session = true;
  bool several = false;  // More than one statement in the text.
  bool defines = true;   // May change the catalog, temporary objects apart.
  friend bool operator==(StatementClass, StatementClass) = default;
};

/// VOLATILE functions of Postgres and its extensions that leave the session's state as it is; sorted.
[[nodiscard]] std::span<const std::string_view> harmless_function_names() noexcept;

/// Longer text is `other`: parsing costs up to 1 µs a byte, on the thread that serves other clients.
inline constexpr std::size_t classify_bytes_max = 16 * 1024;

/// Classifies a whole query string. Same inputs, same answer; any thread, with at least 8 MB of
/// stack. `text` may be anything a client sent (no zero byte); not UTF-8 safe encodings and
/// standard_conforming_strings = off must be answered by the caller with `other`.
[[nodiscard]] StatementClass classify(std::string_view text, const Catalog& catalog);

/// Whether a text of which we read only the words, perhaps not all of them, may change the catalog. A
/// wrong yes costs a look at the catalog; what hides behind a wrong no is found a second later.
[[nodiscard]] bool may_define(std::string_view text) noexcept;

/// Whether statements of this kind may have written rows, so that their commit needs a ticket.
[[nodiscard]] constexpr bool may_write(StatementKind kind) noexcept {
  return kind != StatementKind::read && kind != StatementKind::begin &&
         kind != StatementKind::finish && kind != StatementKind::empty;
}

}  // namespace pgjanus
