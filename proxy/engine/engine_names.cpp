// What sessions' texts become on each side.

#include "proxy/engine/engine.hpp"
#include "proxy/log.hpp"
#include "proxy/schema/differences.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

// Relations that share a name with a renamed one, that one left out: which of them a name without a schema
// means is the search_path's business. `$1`, `$2`: schemas and names that are ours.
const char* const others_sql = R"(
SELECT DISTINCT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($2::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) o (schema, name)
                  WHERE o.schema = n.nspname AND o.name = c.relname))";

}  // namespace

asio::awaitable<void> Engine::read_names(pg::Connection& connection) {
  const auto differences = co_await read_differences(connection);
  if (differences.names.empty()) {
    names_.reset();
    co_return;
  }
  std::vector<std::optional<std::string_view>> schemas, names;
  for (const auto& rename : differences.names.renames()) {
    for (const auto* name : {&rename.source, &rename.target}) {
      schemas.emplace_back(name->schema);
      names.emplace_back(name->name);
    }
  }
  const auto rows = co_await connection.run(others_sql, pg::params(pg::array_literal(schemas), pg::array_literal(names)));
  std::set<std::string> unclear;
  for (int row = 0; row < rows.size(); ++row) unclear.insert(rows.str(row, 0));
  PerSide<std::vector<Rewriter::Entry>> entries;
  for (const auto& [source, target] : differences.names.renames()) {
    const auto alone = unclear.contains(source.name) ? Unqualified::unclear : Unqualified::is_ours;
    entries[Side::target].push_back({source, target, alone});
    // Statements that were prepared on the target come back in its names.
    entries[Side::source].push_back({target, source, Unqualified::stays});
  }
  PerSide<Rewriter> rewriters{Rewriter{std::move(entries[Side::source])}, Rewriter{std::move(entries[Side::target])}};
  if (names_ && *names_ == rewriters) co_return;
  for (const auto& name : unclear) {
    log_event(LogLevel::warn, "name_is_unclear",
              {{"name", name}, {"why", "[[rename]] has a table of this name, and another schema has one, too: "
                                       "statements have to give the schema"}});
  }
  names_ = std::make_shared<const PerSide<Rewriter>>(std::move(rewriters));
}

}  // namespace pgjanus
