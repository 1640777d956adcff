// Many small parts at once.

#include <map>

#include "proxy/verify/both.hpp"
#include "proxy/verify/compare.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

// The same for plain tables, many at once: those that stand.
const char* const plain_files_sql =
    "SELECT w.n - 1 FROM unnest($1::oid[]) WITH ORDINALITY w (oid, n) JOIN pg_class c "
    "ON c.oid = w.oid WHERE c.relkind = 'r' AND c.relfilenode = pg_relation_filenode(c.oid)";

}  // namespace

asio::awaitable<std::vector<std::optional<std::int64_t>>> look_at_many(
    TwinSnapshots& twins, std::vector<PartOfTable> parts, Hashing hashing) {
  std::vector<std::optional<std::int64_t>> rows(parts.size());
  std::string here, there, oids_here = "{", oids_there = "{";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [table, part] = parts[i];
    const auto compared = pair_columns(*table).compared;
    const auto begin = (i > 0 ? " UNION ALL SELECT " : "SELECT ") + std::to_string(i) + ", q.* FROM (";
    here += begin + sum_sql(table->primary, compared, condition_of(table->primary, *part), hashing) +
            ") q";
    there += begin + sum_sql(table->mirror, compared, condition_of(table->mirror, *part), hashing) +
             ") q";
    oids_here += (i > 0 ? "," : "") + std::to_string(table->primary.oid);
    oids_there += (i > 0 ? "," : "") + std::to_string(table->mirror.oid);
  }
  const auto both = co_await run_both(twins, std::move(here), std::move(there));
  const auto stand_here = co_await twins.primary->run(plain_files_sql, pg::params(oids_here + "}"));
  const auto stand_there = co_await twins.mirror->run(plain_files_sql, pg::params(oids_there + "}"));
  std::map<std::int64_t, int> standing;
  for (int row = 0; row < stand_here.size(); ++row) ++standing[stand_here.integer(row, 0)];
  for (int row = 0; row < stand_there.size(); ++row) ++standing[stand_there.integer(row, 0)];
  std::map<std::int64_t, std::pair<std::int64_t, std::string>> on_mirror;
  for (int row = 0; row < both.mirror.size(); ++row) {
    on_mirror[both.mirror.integer(row, 0)] = {both.mirror.integer(row, 1), both.mirror.str(row, 2)};
  }
  for (int row = 0; row < both.primary.size(); ++row) {
    const auto number = both.primary.integer(row, 0);
    const std::pair<std::int64_t, std::string> sum{both.primary.integer(row, 1),
                                                   both.primary.str(row, 2)};
    if (standing[number] == 2 && on_mirror[number] == sum) {
      rows[static_cast<std::size_t>(number)] = sum.first;
    }
  }
  co_return rows;
}

}  // namespace pgjanus::verify
