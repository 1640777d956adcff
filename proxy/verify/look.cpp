// Many small parts at once.

#include "proxy/verify/both.hpp"
#include "proxy/verify/compare.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

// The same as for one table (compare.cpp) for plain ones, many at once: those that stand. A statement of its own for
// each table's sum: one UNION ALL of them all costs half as much again, in its planning.
const char* const plain_files_sql =
    "SELECT w.n - 1 FROM unnest($1::oid[]) WITH ORDINALITY w (oid, n) JOIN pg_class c "
    "ON c.oid = w.oid WHERE c.relkind = 'r' AND c.relfilenode = pg_relation_filenode(c.oid)";

}  // namespace

asio::awaitable<std::vector<std::optional<std::int64_t>>> look_at_many(
    TwinSnapshots& twins, std::vector<PartOfTable> parts, Hashing hashing) {
  const auto count = parts.size();
  std::vector<std::optional<std::int64_t>> rows(count);
  std::vector<pg::Statement> here(count + 1), there(count + 1);
  std::string oids_here = "{", oids_there = "{";
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [table, part] = parts[i];
    const auto compared = pair_columns(*table).compared;
    here[i].sql = sum_sql(table->primary, compared, condition_of(table->primary, *part), hashing);
    there[i].sql = sum_sql(table->mirror, compared, condition_of(table->mirror, *part), hashing);
    oids_here += (i > 0 ? "," : "") + std::to_string(table->primary.oid);
    oids_there += (i > 0 ? "," : "") + std::to_string(table->mirror.oid);
  }
  here[count] = {plain_files_sql, pg::params(oids_here + "}")};
  there[count] = {plain_files_sql, pg::params(oids_there + "}")};
  const auto both = co_await run_both(twins, std::move(here), std::move(there));
  std::vector<int> standing(count);
  for (const auto* files : {&both.primary[count], &both.mirror[count]}) {
    for (int row = 0; row < files->size(); ++row) {
      ++standing[static_cast<std::size_t>(files->integer(row, 0))];
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto &primary = both.primary[i], &mirror = both.mirror[i];
    const bool equal = primary.text(0, 0) == mirror.text(0, 0) && primary.text(0, 1) == mirror.text(0, 1);
    if (standing[i] == 2 && equal) rows[i] = primary.integer(0, 0);
  }
  co_return rows;
}

}  // namespace pgjanus::verify
