// A target that differs on purpose: what stands there already, and other names.

#include "proxy/check/findings.hpp"
#include "proxy/schema/fit.hpp"

namespace pgjanus::check {

namespace asio = boost::asio;

namespace {

// Functions of the app whose text has one of the words; BEGIN ATOMIC ones are no texts.
const char* const functions_sql = R"(
SELECT format('%I.%I', n.nspname, p.proname), min(w.word) FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN unnest($1::text[]) w (word)
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND p.prokind <> 'a' AND to_jsonb(p) ->> 'prosqlbody' IS NULL
  AND p.prosrc ~* ('\m' || regexp_replace(w.word, '([^[:alnum:]_])', '\\\1', 'g') || '\M')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY 1 ORDER BY 1)";

// Relations that have a name together with a renamed one.
const char* const namesakes_sql = R"(
SELECT format('%I.%I', n.nspname, c.relname), c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($2::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) o (schema, name)
                  WHERE o.schema = n.nspname AND o.name = c.relname)
ORDER BY 1)";

asio::awaitable<void> judge_names(pg::Connection& source, pg::Connection& target, const NameMap& names,
                                  Findings& findings) {
  std::vector<std::optional<std::string_view>> schemas, words;
  for (const auto& rename : names.renames()) {
    for (const auto* name : {&rename.source, &rename.target}) {
      schemas.emplace_back(name->schema);
      words.emplace_back(name->name);
    }
  }
  const auto list_of_schemas = pg::array_literal(schemas), list_of_words = pg::array_literal(words);
  const auto functions = co_await source.run(functions_sql, pg::params(list_of_words));
  for (int row = 0; row < functions.size(); ++row) {
    findings.warn("rename_in_function", "function " + functions.str(row, 0),
                  "its text has the word \"" + functions.str(row, 1) + "\", and may mean what [[rename]] calls otherwise",
                  "texts of functions are not rewritten: once the target is prepared, replace it there by one with "
                  "the target's names");
  }
  for (auto* side : {&source, &target}) {
    const auto namesakes = co_await side->run(namesakes_sql, pg::params(list_of_schemas, list_of_words));
    for (int row = 0; row < namesakes.size(); ++row) {
      findings.warn("rename_unclear", "relation " + namesakes.str(row, 0),
                    "has a name together with a table of [[rename]]: which of the two \"" + namesakes.str(row, 1) +
                        "\" means hangs on the search_path, so on the target statements that say it are refused (42P01)",
                    "let the app give the schema, or rename one of them");
    }
  }
  if (!findings.has("rename_in_function")) findings.pass("rename_in_function", "source", "no function's text has a renamed name");
  if (!findings.has("rename_unclear")) findings.pass("rename_unclear", "both", "renamed names are clear without their schema");
}

}  // namespace

asio::awaitable<void> look_at_differences(pg::Connection& source, pg::Connection& target,
                                          const Settings& settings, Findings& findings) {
  const auto tables = co_await discover_tables(source, settings.exclude);
  const auto fit = co_await schema::judge_fit(source, target, tables, tables, settings.renames,
                                              settings.exclude, schema::TargetOnly::misfit);
  for (const auto& misfit : fit.misfits)
    findings.fail("target_tables", "table " + misfit.table, misfit.what, misfit.remedy);
  for (const auto& note : fit.notes)
    findings.warn("target_tables", "table " + note.table, note.what, note.remedy);
  if (!findings.has("target_tables")) {
    findings.pass("target_tables", "target",
                  fit.taken.empty() ? "no tables of users"
                                    : std::to_string(fit.taken.size()) + " tables stand there already, empty, and fit");
  }
  if (!settings.renames.empty()) co_await judge_names(source, target, settings.renames, findings);
}

}  // namespace pgjanus::check
