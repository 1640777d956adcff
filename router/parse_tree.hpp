#pragma once
// What stands in a statement, taken from libpg_query's parse tree without judging it. Keeps the
// generated header (474 KB) in one file.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgjanus {

/// What the top of a statement is; coarser than the grammar, as fine as classify needs.
enum class StatementType : std::uint8_t {
  select,   // SELECT, VALUES, TABLE; WITH in front of them.
  change,   // INSERT, UPDATE, DELETE, MERGE, TRUNCATE, COPY FROM, COMMIT PREPARED.
  begin,    // BEGIN, START TRANSACTION.
  finish,   // COMMIT, ROLLBACK, PREPARE TRANSACTION.
  inside,   // SAVEPOINT and its kin, LOCK, FETCH, SET LOCAL, SET CONSTRAINTS, NOTIFY.
  set,      // SET, RESET, DISCARD, LISTEN, PREPARE, DECLARE, DO, CALL, LOAD, ...
  execute,  // EXECUTE of a statement that we have not seen.
  create,   // CREATE, ALTER, GRANT, ... everything that changes the schema but DROP.
  drop,     // DROP: perhaps of a temporary object.
  utility,  // SHOW, COPY TO, VACUUM, CHECKPOINT, ...: neither rows nor session.
};

struct RelationName {
  std::string schema, name;  // Schema empty when not given.
};

/// One statement of a text. Names are as the grammar folds them; qualified functions and
/// operators count by their last name.
struct StatementFacts {
  StatementType type = StatementType::utility;
  bool explain = false;           // EXPLAIN of `type`.
  bool calls = false;             // DO or CALL: anything may happen in it.
  bool analyze = false;           // EXPLAIN with an option ANALYZE: the statement runs.
  bool locks_rows = false;        // FOR UPDATE, FOR SHARE, ...
  bool creates_relation = false;  // INTO.
  bool changes_inside = false;    // INSERT, UPDATE, DELETE, MERGE somewhere, the top included.
  bool temporary = false;         // Names pg_temp or says TEMPORARY.
  bool own_server = false;        // Values that differ between servers: ctid, xmin, regclass, ...
  std::vector<std::string> functions, operators, common_tables;
  std::vector<RelationName> relations;
};

/// Statements of `text` in order; none for empty text or comments. Nothing when it does not
/// parse, or nests so deeply that 8 MB of stack might not do (parse_depth_max), or is too large.
/// Precondition: no zero byte. Any thread.
[[nodiscard]] std::optional<std::vector<StatementFacts>> parse_statements(std::string_view text);

/// Whether a run of operator characters makes the scanner slow (operator_run_max).
[[nodiscard]] bool long_operator_run(std::string_view text);
/// Whether libpg_query may be given the text: neither so deep nor so odd that it harms us.
[[nodiscard]] bool safe_to_parse(const std::string& text);

/// Levels of the parse tree that libpg_query may recurse into; it has no stack guard of its own in
/// this version. Measured (unit_router "[.measure]"): one level costs at most 1.9 KB of stack while
/// the tree is packed and unpacked, so 1000 levels stay within 2 MB.
inline constexpr std::size_t parse_depth_max = 1000;

/// The scanner reads a run of operator characters (comments included: /*/*/*) to its end again for
/// each token in it: 64 KB of `+` take 11 s. Longer runs are not parsed.
inline constexpr std::size_t operator_run_max = 256;

}  // namespace pgjanus
