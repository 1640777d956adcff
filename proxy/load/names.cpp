// What differs between the sides on purpose, as the load meets it.

#include "proxy/capture/capture.hpp"
#include "proxy/load/impl.hpp"
#include "router/rewrite.hpp"

namespace pgjanus {

using namespace load;

namespace load {

namespace {

// The function answers from the catalog as it is now, like COPY's own names, and not as the snapshot shows it.
constexpr const char* columns_now_sql =
    "SELECT coalesce(array_agg(c.attrelid::bigint), '{}'), coalesce(array_agg(c.attnum), '{}'), coalesce(array_agg(a.object_names[3]), '{}') "
    "FROM pg_attribute c, LATERAL pg_identify_object_as_address('pg_class'::regclass, c.attrelid, c.attnum) a "
    "WHERE c.attrelid = ANY ($1::oid[]) AND c.attnum > 0 AND NOT c.attisdropped AND a.object_names[3] IS NOT NULL";
// Names first: of those that have come the list may say another one only for that. OFFSET keeps the planner, which knows nothing of the
// list yet, from reading all of it for a few tables.
constexpr const char* columns_known_sql =
    "SELECT n.oid, n.name, k.name <> n.name FROM unnest($1::bigint[], $2::bigint[], $3::text[]) n (oid, sub, name) "
    "CROSS JOIN LATERAL (SELECT doc FROM pgjanus.shape WHERE kind = 'column' AND oid = n.oid AND sub = n.sub OFFSET 0) s, "
    "LATERAL (SELECT s.doc ->> 'name') k (name) "
    "WHERE k.name <> n.name OR (coalesce(s.doc #>> '{props,generated,v}', '') = '' AND NOT EXISTS ("
    "SELECT FROM unnest($4::bigint[], $5::text[]) c (oid, name) WHERE c.oid = n.oid AND c.name = k.name)) ORDER BY 3 DESC LIMIT 1";

// Labels of enums by their names, attributes of row types by their places: values travel by these. What was another in between has
// been written since, though it is the same again. Of tables and views only those whose row type is held by a column, or by a type.
constexpr const char* row_types_sql =
    "(SELECT oid FROM pg_class WHERE relkind = 'c' AND oid >= 16384 UNION SELECT coalesce(nullif(t.typrelid, 0), e.typrelid) "
    "FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid LEFT JOIN pg_type e ON e.oid = t.typelem "
    "WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n' "
    "AND (d.classid = 'pg_type'::regclass OR (d.classid = 'pg_class'::regclass AND d.objsubid > 0)))";
constexpr const char* written_sql =
    "(SELECT coalesce(array_agg(l), '{}') FROM (SELECT oid || ':' || xmin FROM pg_enum WHERE oid >= 16384 UNION ALL "
    "SELECT a.attrelid || ':' || a.attnum || ':' || a.xmin FROM {types} c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0) w (l))";
constexpr const char* labels_now_sql =
    "COMMIT; SELECT e.oids, e.labels, a.oids, a.numbers, {since}::text[] <@ {written} FROM "
    "(SELECT coalesce(array_agg(oid::bigint), '{}'), coalesce(array_agg(enumlabel::text), '{}') FROM pg_enum WHERE oid >= 16384) e (oids, labels), "
    "(SELECT coalesce(array_agg(a.attrelid::bigint), '{}'), coalesce(array_agg(a.attnum), '{}') FROM {types} c JOIN pg_attribute a "
    "ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) a (oids, numbers)";
constexpr const char* attributes_known_sql =
    "SELECT s.oid FROM (SELECT DISTINCT o FROM unnest($1::bigint[]) o) n CROSS JOIN LATERAL ("
    "SELECT oid, sub FROM pgjanus.shape WHERE kind = 'column' AND oid = n.o OFFSET 0) s "
    "WHERE NOT EXISTS (SELECT FROM unnest($1::bigint[], $2::bigint[]) a (oid, sub) WHERE a.oid = s.oid AND a.sub = s.sub) LIMIT 1";
constexpr const char* labels_known_sql =
    "SELECT k.label FROM unnest($1::bigint[], $2::text[]) n (oid, label) JOIN ("
    "SELECT (l ->> 0)::bigint, l ->> 1 FROM pgjanus.shape, jsonb_array_elements(CASE jsonb_typeof(doc -> 'labels') WHEN 'array' THEN doc -> 'labels' END) l "
    "WHERE kind = 'type') k (oid, label) ON k.oid = n.oid AND k.label <> n.label LIMIT 1";

std::string replaced(std::string text, std::string_view word, std::string_view by) {
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size())) text.replace(at, word.size(), by);
  return text;
}

pg::Error not_followed_yet(const std::string& what) {
  pg::Error error{what + " has another name on the mirror, which has not followed the app's DDL yet"};
  error.message = error.what();
  error.sqlstate = "40001";
  return error;
}

}  // namespace

pg::Error behind(const std::string& why) {
  pg::Error error{why + ": the app has made, dropped or renamed tables meanwhile"};
  error.message = error.what();
  error.sqlstate = table_left_behind;
  return error;
}

asio::awaitable<void> require_names(pg::Connection& side, std::vector<const TableInfo*> tables) {
  std::vector<std::string> names;
  std::string oids;
  for (const auto* table : tables) {
    if (table->oid == 0) continue;
    names.push_back(table->sql_name());
    oids += (oids.empty() ? "{" : ",") + std::to_string(table->oid);
  }
  if (names.empty()) co_return;
  const std::vector<std::optional<std::string_view>> views{names.begin(), names.end()};
  const auto others = co_await side.run(
      "SELECT w.name FROM unnest($1::text[], $2::oid[]) w (name, oid) WHERE to_regclass(w.name) <> w.oid LIMIT 1",
      pg::params(pg::array_literal(views), oids + "}"));
  if (!others.empty()) throw behind("another table has the name " + others.str(0, 0));
}

asio::awaitable<void> require_name(pg::Connection& side, const TableInfo& table) {
  std::vector<const TableInfo*> one(1, &table);
  co_await require_names(side, std::move(one));
}

asio::awaitable<void> refuse_mistaken(pg::Connection& primary, const std::vector<TableInfo>& tables) {
  const auto mistaken = co_await capture::mistaken(primary, tables);
  for (const auto& table : tables)
    if (mistaken.contains(table.id)) throw behind("the list is not right for " + table.display());
}

asio::awaitable<std::vector<TableInfo>> hold_listed(pg::Connection& mirror, std::vector<int> ids) {
  std::string list;
  for (const int id : ids) list += (list.empty() ? "{" : ",") + std::to_string(id);
  const auto held = ids.size();
  co_await mirror.run("SELECT FROM pgjanus.tables WHERE id = ANY ($1::int[]) ORDER BY id FOR SHARE", pg::params(list + "}"), attach_limit);
  co_await mirror.run("SET LOCAL random_page_cost = 0.1");  // Of thousands in the catalog, which is in memory, a few are described.
  auto tables = co_await stored_tables(mirror, std::move(ids));
  std::erase_if(tables, [](const TableInfo& table) { return table.oid == 0; });
  if (tables.size() < held) throw behind("a table is not on the mirror any more");
  co_return tables;
}

asio::awaitable<pg::Rows> columns_now(pg::Connection& primary, const std::vector<const TableInfo*>& tables) {
  std::string oids;
  for (const auto* table : tables) oids += (oids.empty() ? "{" : ",") + std::to_string(table->oid);
  if (oids.empty()) oids = "{";
  auto now = co_await primary.run(columns_now_sql, pg::params(oids + "}"));
  co_return now;
}

asio::awaitable<void> require_columns(pg::Connection& mirror, const std::vector<const TableInfo*>& tables, pg::Rows now) {
  std::string of;
  std::vector<std::optional<std::string_view>> copied;
  for (const auto* table : tables) {
    const auto oid = std::to_string(table->oid);
    for (const auto& column : table->columns) {
      of += (of.empty() ? "{" : ",") + oid;
      copied.emplace_back(column.name);
    }
  }
  if (of.empty()) of = "{";
  auto values = pg::params(now.str(0, 0), now.str(0, 1), now.str(0, 2), of + "}", pg::array_literal(copied));
  const auto other = co_await mirror.run(columns_known_sql, std::move(values));
  if (other.empty()) co_return;
  if (!other.boolean(0, 2)) throw FileChanged{};
  throw not_followed_yet("column " + other.str(0, 1) + " of relation " + other.str(0, 0));
}

asio::awaitable<std::string> begin_copy(pg::Connection& primary) {
  auto sql = std::string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "} + lock_limit + "; SELECT " + replaced(written_sql, "{types}", row_types_sql);
  const auto labels = co_await primary.run(std::move(sql));
  co_return labels.str(0, 0);
}

asio::awaitable<void> require_labels(Pair& pair, std::string since) {
  auto sql = replaced(replaced(labels_now_sql, "{written}", written_sql), "{types}", row_types_sql);
  sql = replaced(std::move(sql), "{since}", pg::quote_literal(since));
  const auto now = co_await pair.primary->run(std::move(sql));
  if (!now.boolean(0, 4)) throw not_followed_yet("a label of an enum, or an attribute of a type,");
  if (now.text(0, 0) != "{}") {
    const auto other = co_await pair.mirror->run(labels_known_sql, pg::params(now.str(0, 0), now.str(0, 1)));
    if (!other.empty()) throw not_followed_yet("label " + other.str(0, 0) + " of an enum");
  }
  if (now.text(0, 2) == "{}") co_return;
  const auto gone = co_await pair.mirror->run(attributes_known_sql, pg::params(now.str(0, 2), now.str(0, 3)));
  if (!gone.empty()) throw not_followed_yet("an attribute of type " + gone.str(0, 0));
}

}  // namespace load

// Ends the primary's transaction, with the mirror's locks still held: what went by names is held against those that the mirror has come to.
asio::awaitable<void> Loader::Impl::end_copy(Pair& pair, const std::vector<const TableInfo*>& copied, std::string labels) {
  if (!shape_kept) {  // DDL is not followed then.
    co_await pair.primary->run("COMMIT");
    co_return;
  }
  auto columns = co_await columns_now(*pair.primary, copied);
  co_await require_labels(pair, std::move(labels));
  co_await require_columns(*pair.mirror, copied, std::move(columns));
}

// Triggers are put by name. A table of the list keeps its name while its row is held; partitions may get others until the triggers' own
// locks are held, so behind these it is looked at once more. Else a table might be handed over without capture, and another have its.
asio::awaitable<void> Loader::Impl::put_capture(pg::Connection& mirror, int id) {
  std::string relation;
  std::optional<pg::Error> failure;
  try {
    co_await mirror.run("BEGIN; SET LOCAL synchronous_commit = on");
    std::vector<int> ids(1, id);
    const auto infos = co_await hold_listed(mirror, std::move(ids));
    co_await capture::create_functions(mirror, infos);
    const auto steps = co_await capture::capture_steps(mirror, infos);
    for (const auto& step : steps) {
      relation = step.relation;
      co_await mirror.run(step.sql);
    }
    const auto missing = co_await capture::capture_steps(mirror, infos);
    if (!missing.empty()) throw not_followed_yet("a relation of " + missing.front().relation);
    co_await mirror.run("COMMIT");
  } catch (const pg::Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  if (failure->lost || relation.empty() || !mirror.usable()) throw *failure;
  co_await mirror.run("ROLLBACK");
  if (failure->is("42P01") || failure->is("3F000")) failure->sqlstate = "40001";  // A partition, since the look.
  if (!failure->is("55P03")) throw *failure;
  const auto holder = co_await capture::holder_of(mirror, relation);
  pg::Error waits{"no lock on " + relation + "; held by " + holder};
  waits.message = waits.what();
  waits.sqlstate = failure->sqlstate;
  throw waits;
}

asio::awaitable<void> Loader::Impl::read_names(Pair& pair) {
  differences = co_await read_differences(*pair.primary);
  own_partitions.clear();
}

QualifiedName Loader::Impl::there(const QualifiedName& on_primary) const {
  return differences.names.on(other(primary_side), differences.names.of(primary_side, on_primary));
}

/// Whether what belongs to the table may be refused by its counterpart.
bool Loader::Impl::differs(const QualifiedName& on_primary) const {
  const auto name = differences.names.of(primary_side, on_primary);
  return differences.own_columns.contains(name) || differences.partitioned.contains(name);
}

/// Unique constraints that do not fit its partitions, keys that refer to what is not unique there, indexes
/// on columns that are not there: the counterpart was made so, and is left so.
bool Loader::Impl::tolerates(const Entry& entry, const pg::Error& failure) const {
  if (entry.type == "EVENT TRIGGER") return failure.is("42501");
  const auto owned = owners.find({entry.schema, entry.name});
  if (owned == owners.end() || !differs(owned->second.table)) return false;
  return failure.is("0A000") || failure.is("42703") || failure.is("42830") || failure.is("42P17");
}

/// Behind the statement of an entry, with its locks: they go by names of when pg_dump ran.
asio::awaitable<void> Loader::Impl::require_owner(pg::Connection& mirror, std::size_t index) const {
  const auto& entry = entries.at(index);
  const bool by_kind = entry.type == "STATISTICS" || entry.type == "POLICY";
  const auto owned = owners.find({entry.schema, by_kind ? entry.type + " " + entry.name : entry.name});
  if (owned == owners.end()) co_return;
  for (const auto& table : tables) {
    if (table.info.oid != owned->second.relation) continue;
    co_await require_name(mirror, table.there);
    break;
  }
  std::set<std::uint32_t> of;
  of.insert(owned->second.relation);
  co_await require_entry_columns(mirror, std::move(of));
}

/// The columns of all tables, by number: entries go by their names. Of those, too, that are mirrored already: what was made for them since
/// comes in the load's last step.
asio::awaitable<pg::Rows> Loader::Impl::columns_of_tables(pg::Connection& primary) const {
  auto rows = co_await primary.run(
      "SELECT a.attrelid::bigint, a.attnum, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus') "
      "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2");
  co_return rows;
}

/// Behind entries, with their locks: columns that have exchanged their names since the dump was read would have got each other's index.
asio::awaitable<void> Loader::Impl::require_entry_columns(pg::Connection& mirror, std::set<std::uint32_t> relations) const {
  if (!shape_kept) co_return;
  std::vector<std::string> oids;
  std::vector<std::optional<std::string_view>> numbers, names, of;
  for (const auto relation : relations) {
    const auto known = entries_columns.find(relation);
    if (known == entries_columns.end()) continue;
    for (const auto& [number, name] : known->second) {
      oids.push_back(std::to_string(relation));
      numbers.emplace_back(number);
      names.emplace_back(name);
    }
  }
  if (oids.empty()) co_return;
  for (const auto& oid : oids) of.emplace_back(oid);
  const auto other = co_await mirror.run(
      "SELECT n.name FROM unnest($1::bigint[], $2::bigint[], $3::text[]) n (oid, sub, name) CROSS JOIN LATERAL ("
      "SELECT doc FROM pgjanus.shape WHERE kind = 'column' AND oid = n.oid AND sub = n.sub OFFSET 0) s WHERE s.doc ->> 'name' <> n.name LIMIT 1",
      pg::params(pg::array_literal(of), pg::array_literal(numbers), pg::array_literal(names)));
  if (!other.empty()) throw behind("column " + other.str(0, 0) + " has another name than when its table's indexes were described");
}

/// The renamed tables, from the primary's name to the mirror's.
std::vector<Rewriter::Entry> Loader::Impl::renamed_tables() const {
  std::vector<Rewriter::Entry> names;
  const bool forward = primary_side == Side::source;
  for (const auto& rename : differences.names.renames())
    names.push_back({forward ? rename.source : rename.target, forward ? rename.target : rename.source});
  return names;
}

Rewriter Loader::Impl::catalog_rewriter() const { return Rewriter{renamed_tables()}; }

/// A constraint of the primary as the mirror has it.
void Loader::Impl::adapt(std::string& schema, std::string& table, std::string& definition,
                         const Rewriter& rewriter) const {
  const auto local = there({schema, table});
  schema = local.schema;
  table = local.name;
  auto other = rewriter.rewrite(definition, TextOf::catalog);
  if (other) definition = std::move(*other);
}

/// Texts and tags of the primary in the mirror's names; without what is the primary's own.
void Loader::Impl::adapt_entries() {
  if (!differences.any()) return;
  std::erase_if(entries, [&](const Entry& entry) {
    const auto owned = owners.find({entry.schema, entry.name});
    return owned != owners.end() && own_partitions.contains(owned->second.relation);
  });
  auto names = renamed_tables();
  if (names.empty()) return;
  for (const auto& [tag, owned] : owners) {
    const auto moved = there(owned.table);
    // Indexes, by themselves or behind a constraint, stand in their table's schema.
    if (moved == owned.table) continue;
    const auto name = tag.second.starts_with(owned.table.name + " ")
                          ? tag.second.substr(owned.table.name.size() + 1) : tag.second;
    if (moved.schema != tag.first) names.push_back({{tag.first, name}, {moved.schema, name}});
  }
  const Rewriter rewriter{std::move(names)};
  const auto rewrite = [&](std::string& sql) {
    auto other = rewriter.rewrite(sql, TextOf::catalog);
    if (other) sql = std::move(*other);
  };
  for (auto& entry : entries) {
    rewrite(entry.sql);
    const auto owned = owners.find({entry.schema, entry.name});
    if (owned == owners.end()) continue;
    const auto moved = there(owned->second.table);
    if (moved == owned->second.table) continue;
    entry.there_schema = moved.schema;
    entry.there_name = entry.name.starts_with(owned->second.table.name + " ")
                           ? moved.name + entry.name.substr(owned->second.table.name.size()) : entry.name;
  }
  for (auto& [tag, owned] : owners) {
    rewrite(owned.index_sql);
    rewrite(owned.using_sql);
  }
}

}  // namespace pgjanus
