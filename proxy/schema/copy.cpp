#include "proxy/schema/copy.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>
#include <tuple>

#include "proxy/log.hpp"
#include "proxy/pg/subprocess.hpp"
#include "router/rewrite.hpp"
#include "sql_texts.hpp"

namespace pgjanus::schema {
namespace {

constexpr pg::Duration restore_limit{60'000};  // It only turns an archive in memory into text.

// Types of pg_restore's list with more than one word; all others are one.
constexpr std::array<std::string_view, 24> long_types{
    "ACCESS METHOD", "CHECK CONSTRAINT", "DATABASE PROPERTIES", "DEFAULT ACL", "EVENT TRIGGER",
    "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN SERVER", "FOREIGN TABLE", "INDEX ATTACH",
    "MATERIALIZED VIEW DATA", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE",
    "PUBLICATION TABLE", "ROW SECURITY", "SECURITY LABEL", "SEQUENCE OWNED BY", "SEQUENCE SET", "SHELL TYPE",
    "TABLE ATTACH", "TEXT SEARCH", "USER MAPPING"};

[[noreturn]] void fail(std::string message, std::string hint = {}, std::string sqlstate = {}) {
  pg::Error error{message};
  error.message = std::move(message);
  error.hint = std::move(hint);
  error.sqlstate = std::move(sqlstate);
  throw error;
}

/// Whether pg_dump gave way to the app: its time for a lock was over, or it met in a deadlock.
bool met_a_lock(std::string_view words) {
  return words.find("LOCK TABLE") != std::string_view::npos &&
         (words.find("timeout") != std::string_view::npos ||
          words.find("deadlock") != std::string_view::npos);
}

/// Whether what it had seen was dropped or renamed before it could be locked or described.
bool met_ddl(std::string_view words) {
  constexpr std::array<std::string_view, 3> gone{"does not exist", "cache lookup failed", "could not open relation"};
  return words.find("query failed") != std::string_view::npos &&
         std::any_of(gone.begin(), gone.end(), [&](auto said) { return words.find(said) != std::string_view::npos; });
}

std::string_view take_word(std::string_view& text) {
  const auto end = std::min(text.find(' '), text.size());
  const auto word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

/// A file that is gone when its name is no longer needed. Holds no secrets: a table of contents.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view text) {
    const char* directory = std::getenv("TMPDIR");
    path_ = std::string{directory != nullptr ? directory : "/tmp"} + "/pgjanus-XXXXXX";
    const int fd = ::mkstemp(path_.data());
    if (fd < 0) fail("cannot make a temporary file in " + path_.substr(0, path_.rfind('/')));
    while (!text.empty()) {
      const auto size = ::write(fd, text.data(), text.size());
      if (size <= 0) break;
      text.remove_prefix(static_cast<std::size_t>(size));
    }
    ::close(fd);
    if (!text.empty()) {
      ::unlink(path_.c_str());
      fail("cannot write to " + path_);
    }
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// pg_dump of August 2025 and later brackets its text with \restrict TOKEN and \unrestrict TOKEN,
/// which only psql understands (CVE-2025-8714).
void remove_psql_commands(std::string& script) {
  constexpr std::string_view command = "\n\\restrict ";
  const auto first = script.find(command);
  if (first == std::string::npos || first > 400) return;  // Only ever in the header.
  const auto start = first + command.size();
  const auto token = script.substr(start, script.find('\n', start) - start);
  script.erase(first + 1, command.size() - 1 + token.size());
  const std::string last = "\n\\unrestrict " + token;
  const auto at = script.rfind(last);
  if (at != std::string::npos) script.erase(at + 1, last.size() - 1);
}

/// The word under which schema_objects.sql lists what such an entry makes; empty for entries that
/// only change an object.
std::string_view kind_of(std::string_view type) {
  if (type == "SCHEMA" || type == "EXTENSION" || type == "COLLATION") return type;
  if (type == "PROCEDURAL LANGUAGE") return "LANGUAGE";
  if (type == "TABLE" || type == "SEQUENCE" || type == "VIEW" || type == "MATERIALIZED VIEW" ||
      type == "FOREIGN TABLE") {
    return "RELATION";
  }
  if (type == "TYPE" || type == "DOMAIN" || type == "SHELL TYPE") return "TYPE";
  if (type == "FUNCTION" || type == "PROCEDURE" || type == "AGGREGATE") return "FUNCTION";
  return {};
}

using Objects = std::set<std::tuple<std::string, std::string, std::string>>;  // Kind, schema, name.

/// What the target has, asked by the source's names.
struct There {
  Objects objects;
  const NameMap& names;
};

bool has(const There& there, std::string_view kind, const TocEntry& entry,
         std::string_view name) {
  if (kind == "FUNCTION") name = name.substr(0, name.find('('));
  const QualifiedName of_source{entry.schema, std::string{name}};
  const auto local = kind == "RELATION" ? there.names.on(Side::target, of_source) : of_source;
  return there.objects.contains({std::string{kind}, local.schema, local.name});
}

/// Whether the target lacks the relation that an entry belongs to ("DEFAULT public t id"), so that
/// the entry goes with it; empty when it belongs to none.
std::optional<bool> relation_is_missing(const TocEntry& entry, const There& there) {
  std::string_view name = entry.name;
  if (entry.type == "DEFAULT") {
    name = name.substr(0, name.rfind(' '));
  } else if (entry.type == "COMMENT") {
    const auto what = take_word(name);
    if (what == "COLUMN") name = name.substr(0, name.find('.'));
    if (what != "TABLE" && what != "COLUMN" && what != "SEQUENCE" && what != "VIEW") return {};
  } else if (entry.type != "SEQUENCE OWNED BY" && entry.type != "TABLE ATTACH") {
    return {};
  }
  return !has(there, "RELATION", entry, name);
}

bool is_missing(const TocEntry& entry, const There& there, Ground ground) {
  const auto kind = kind_of(entry.type);
  if (!kind.empty()) return !has(there, kind, entry, entry.name);
  const auto with_relation = relation_is_missing(entry, there);
  if (with_relation) return *with_relation;
  if (ground == Ground::populated) return false;
  if (entry.type == "COMMENT") {
    std::string_view name = entry.name;
    const auto what = take_word(name);
    // Only their owners may comment on them, and nobody misses it.
    if (what == "EXTENSION" || (what == "SCHEMA" && has(there, "SCHEMA", entry, name)))
      return false;
  }
  return true;
}

}  // namespace

TocEntry parse_toc_line(std::string_view line, const BlankNames& names) {
  TocEntry entry;
  const auto semicolon = line.find(';');
  if (line.empty() || semicolon == 0 || semicolon == std::string_view::npos) return entry;
  entry.line = line;
  auto rest = line.substr(std::min(semicolon + 2, line.size()));
  take_word(rest);  // Catalog's oid.
  take_word(rest);  // Object's oid.
  const auto known = std::find_if(long_types.begin(), long_types.end(), [&](std::string_view type) {
    return rest.starts_with(type) && rest.size() > type.size() && rest[type.size()] == ' ';
  });
  if (known != long_types.end()) {
    entry.type = *known;
    rest.remove_prefix(known->size() + 1);
  } else {
    entry.type = take_word(rest);
  }
  std::size_t schema = rest.find(' '), owner = 0;
  for (const auto& name : names.schemas) {
    if (rest.starts_with(name + " ") && (schema == std::string_view::npos || name.size() > schema)) schema = name.size();
  }
  schema = std::min(schema, rest.size());
  entry.schema = rest.substr(0, schema);
  rest.remove_prefix(std::min(schema + 1, rest.size()));
  for (const auto& name : names.owners) {  // The owner stands last.
    if (rest.ends_with(" " + name)) owner = std::max(owner, name.size() + 1);
  }
  entry.name = owner > 0 ? rest.substr(0, rest.size() - owner) : rest.substr(0, rest.rfind(' '));
  return entry;
}

boost::asio::awaitable<BlankNames> blank_names(pg::Connection& source) {
  const auto rows = co_await source.run(
      "SELECT true, nspname FROM pg_namespace WHERE nspname LIKE '% %' "
      "UNION ALL SELECT false, rolname FROM pg_roles WHERE rolname LIKE '% %'");
  BlankNames names;
  for (int row = 0; row < rows.size(); ++row) {
    (rows.boolean(row, 0) ? names.schemas : names.owners).push_back(rows.str(row, 1));
  }
  co_return names;
}

boost::asio::awaitable<Archive> dump_schema(ConnectionParameters parameters, std::string section,
                                            std::string snapshot, BlankNames names, pg::Duration limit) {
  auto access = pg::for_program(parameters);
  std::vector<std::string> dump{"pg_dump",
                                "--format=custom",
                                "--schema-only",
                                "--section=" + section,
                                "--exclude-schema=pgjanus",
                                "--no-owner",
                                "--no-privileges",
                                "--no-publications",
                                "--no-subscriptions",
                                "--no-tablespaces",
                                "--no-security-labels",
                                // Below deadlock_timeout (1 s): pg_dump holds locks while it waits
                                // for others, and must be the one who gives way, not the app.
                                "--lock-wait-timeout=500",
                                "--no-password",
                                "--dbname=" + access.dbname};
  if (!snapshot.empty()) dump.push_back("--snapshot=" + snapshot);
  auto dumped = co_await pg::run_program(std::move(dump), access.environment, {}, limit);
  if (!dumped.ok()) {
    if (met_a_lock(dumped.err)) fail(dumped.describe("pg_dump"), "end the transaction that holds the lock", "55P03");
    if (met_ddl(dumped.err)) fail(dumped.describe("pg_dump"), "the schema changed meanwhile; run the command again", "40001");
    const bool old = dumped.err.find("server version mismatch") != std::string::npos;
    fail(dumped.describe("pg_dump"), old ? "install the client package of the newer server's "
                                           "version (postgresql-client), first on PATH"
                                         : "pg_dump runs with the same URL as pgjanus");
  }
  Archive archive;
  archive.bytes = std::move(dumped.out);
  std::vector<std::string> list{"pg_restore", "--list"};
  const auto listed = co_await pg::run_program(std::move(list), {}, archive.bytes, restore_limit);
  if (!listed.ok()) fail(listed.describe("pg_restore"));
  for (const auto line : lines_of(listed.out)) {
    auto entry = parse_toc_line(line, names);
    if (!entry.type.empty()) archive.contents.push_back(std::move(entry));
  }
  co_return archive;
}

boost::asio::awaitable<std::string> restore_script(const Archive& archive,
                                                   std::vector<TocEntry> chosen) {
  if (chosen.empty()) co_return std::string{};
  std::string list;
  for (const auto& entry : chosen) list += entry.line + "\n";
  const TemporaryFile file{list};
  std::vector<std::string> restore{"pg_restore",
                                   "--no-owner",
                                   "--no-privileges",
                                   "--no-tablespaces",
                                   "--no-publications",
                                   "--no-subscriptions",
                                   "--no-security-labels",
                                   "--use-list=" + file.path(),
                                   "--file=-"};
  auto restored = co_await pg::run_program(std::move(restore), {}, archive.bytes, restore_limit);
  if (!restored.ok()) fail(restored.describe("pg_restore"));
  remove_psql_commands(restored.out);
  co_return std::move(restored.out);
}

std::vector<ScriptPiece> split_script(std::string_view script) {
  constexpr std::string_view border = "\n--\n-- Name: ";
  std::vector<ScriptPiece> pieces;
  std::size_t start = 0;
  for (;;) {
    const auto next = script.find(border, start + 1);
    ScriptPiece piece;
    piece.sql = script.substr(start, next - start);
    if (piece.sql.starts_with(border)) {
      const auto header = std::string_view{piece.sql}.substr(
          border.size(), piece.sql.find('\n', border.size()) - border.size());
      const auto type = header.find("; Type: "), in = header.find("; Schema: ");
      const auto owner = header.find("; Owner: ");
      if (type != std::string_view::npos && in != std::string_view::npos && in > type) {
        const auto schema = std::string{header.substr(in + 10, owner - in - 10)};
        piece.object = std::string{header.substr(type + 8, in - type - 8)} + " " +
                       (schema == "-" ? "" : schema + ".") + std::string{header.substr(0, type)};
      }
    }
    pieces.push_back(std::move(piece));
    if (next == std::string_view::npos) return pieces;
    start = next;
  }
}

boost::asio::awaitable<void> run_script(pg::Connection& connection, std::string script, Ground ground,
                                        pg::Duration limit) {
  if (script.empty()) co_return;
  co_await connection.run("SAVEPOINT schema_script");
  std::optional<pg::Error> failure;
  try {
    co_await connection.run(script, limit);
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  if (failure->lost) throw *failure;
  // Which object was it? Again, one by one.
  co_await connection.run("ROLLBACK TO SAVEPOINT schema_script");
  for (const auto& piece : split_script(script)) {
    std::optional<pg::Error> again;
    co_await connection.run("SAVEPOINT schema_script");
    try {
      co_await connection.run(piece.sql, limit);
    } catch (const pg::Error& error) {
      again = error;
    }
    if (!again) {
      co_await connection.run("RELEASE SAVEPOINT schema_script");
      continue;
    }
    const auto what = (piece.object.empty() ? std::string{"schema"} : piece.object) + ": " + again->message;
    if (ground == Ground::populated && again->sqlstate.starts_with("42") && !again->is("42501")) {
      co_await connection.run("ROLLBACK TO SAVEPOINT schema_script");
      log_event(LogLevel::info, "schema_left_to_replaying", {{"what", what}});
      continue;
    }
    fail(what, again->hint, again->sqlstate);
  }
}

boost::asio::awaitable<std::vector<TocEntry>> missing_entries(pg::Connection& target,
                                                              const Archive& archive,
                                                              Ground ground, const NameMap& names) {
  const pg::Rows rows = co_await target.run(std::string{sql::schema_objects});
  There there{{}, names};
  for (int row = 0; row < rows.size(); ++row) {
    there.objects.emplace(rows.str(row, 0), rows.str(row, 1), rows.str(row, 2));
  }
  std::vector<TocEntry> missing;
  for (const auto& entry : archive.contents) {
    if (is_missing(entry, there, ground)) missing.push_back(entry);
  }
  co_return missing;
}

bool belongs_to(const TocEntry& entry, const TableInfo& table) {
  auto name = std::string_view{entry.name};
  if (entry.type == "DEFAULT") name = name.substr(0, name.rfind(' '));
  if (entry.type == "COMMENT") {
    take_word(name);
    name = name.substr(0, name.find('.'));
  } else if (entry.type != "TABLE" && entry.type != "TABLE ATTACH" && entry.type != "DEFAULT") {
    return false;
  }
  return std::any_of(table.relations.begin(), table.relations.end(), [&](const RelationInfo& relation) {
    return relation.oid != table.oid && relation.schema == entry.schema && relation.name == name;
  });
}

std::string renamed_script(std::string_view script, const NameMap& names) {
  if (names.empty() || script.empty()) return std::string{script};
  std::vector<Rewriter::Entry> entries;
  std::set<std::string> schemas;
  for (const auto& rename : names.renames()) {
    entries.push_back({rename.source, rename.target});
    schemas.insert(rename.target.schema);
  }
  const Rewriter rewriter{std::move(entries)};
  // Behind the settings at its top, and the schemas that it makes itself.
  std::string before, rest;
  for (const auto& piece : split_script(script)) {
    auto& out = piece.object.empty() || piece.object.starts_with("SCHEMA ") ? before : rest;
    out += rewriter.rewrite(piece.sql, TextOf::catalog).value_or(piece.sql);
  }
  for (const auto& schema : schemas) before += "\nCREATE SCHEMA IF NOT EXISTS " + sql_word(schema) + ";\n";
  return before + rest;
}

}  // namespace pgjanus::schema
