#include "proxy/verify/store.hpp"

#include <algorithm>

#include "sql_texts.hpp"

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

using Values = std::vector<std::optional<std::string>>;

std::string array_of(const Values& values) {
  std::vector<std::optional<std::string_view>> views;
  for (const auto& value : values) {
    views.push_back(value ? std::optional<std::string_view>{*value} : std::nullopt);
  }
  return pg::array_literal(views);
}

constexpr const char* goes_on_sql =
    "SELECT count(*) FROM pgjanus.verification v, pgjanus.state s WHERE v.scope = $1::jsonb "
    "AND v.epoch = s.epoch AND NOT v.ended AND v.progress_at > now() - interval '1 day'";

constexpr const char* begin_sql =
    "INSERT INTO pgjanus.verification (scope, epoch, ended) "
    "SELECT $1::jsonb, s.epoch, $2::boolean FROM pgjanus.state s "
    "ON CONFLICT (one) DO UPDATE SET scope = excluded.scope, epoch = excluded.epoch, "
    "progress_at = now(), ended = excluded.ended";

constexpr const char* store_sql =
    "INSERT INTO pgjanus.verified_parts (table_id, part, mark, low, high, bytes) "
    "SELECT * FROM unnest($1::int[], $2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[])";

// In one statement: lanes that end at once wait for each other only here.
constexpr const char* done_sql =
    "WITH w AS (SELECT * FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[]) "
    "w (id, part, rows, differences)), p AS (UPDATE pgjanus.verified_parts p SET done = true, "
    "rows = w.rows, differences = w.differences FROM w WHERE p.table_id = w.id AND p.part = w.part) "
    "UPDATE pgjanus.verification SET progress_at = now()";

constexpr std::size_t stored_at_once = 1000;

asio::awaitable<void> begin_anew(pg::Connection& primary, std::string scope, bool ended) {
  auto values = pg::params(std::move(scope), std::string{ended ? "t" : "f"});
  co_await primary.run("BEGIN; DELETE FROM pgjanus.differences; DELETE FROM pgjanus.verified_parts");
  co_await primary.run(begin_sql, std::move(values));
  co_await primary.run("COMMIT");
}

}  // namespace

asio::awaitable<bool> begin_run(pg::Connection& primary, std::string scope) {
  co_await primary.run(std::string{sql::verification});
  const auto rows = co_await primary.run(goes_on_sql, pg::params(scope));
  if (rows.integer(0, 0) == 0) {
    co_await begin_anew(primary, std::move(scope), false);
    co_return false;
  }
  // Objects are compared again from the beginning.
  co_await primary.run("DELETE FROM pgjanus.differences WHERE table_id = 0 OR key = '{}'");
  co_return true;
}

asio::awaitable<void> begin_unstored(pg::Connection& primary) {
  co_await primary.run(std::string{sql::verification});
  co_await begin_anew(primary, "null", true);
}

asio::awaitable<void> end_run(pg::Connection& primary) {
  co_await primary.run(
      "UPDATE pgjanus.verification SET ended = true; DELETE FROM pgjanus.verified_parts");
}

asio::awaitable<std::optional<std::string>> unfinished_scope(pg::Connection& primary) {
  const auto there = co_await primary.run("SELECT to_regclass('pgjanus.verification')");
  if (there.null(0, 0)) co_return std::nullopt;
  const auto rows = co_await primary.run(
      "SELECT v.scope::text FROM pgjanus.verification v, pgjanus.state s WHERE v.epoch = s.epoch "
      "AND NOT v.ended AND v.progress_at > now() - interval '1 day'");
  if (rows.empty()) co_return std::nullopt;
  co_return rows.str(0, 0);
}

asio::awaitable<void> take_up(pg::Connection& primary, Pass& pass) {
  const auto stored = co_await primary.run(
      "SELECT table_id, part, mark, low, high, bytes, done, rows, differences "
      "FROM pgjanus.verified_parts ORDER BY table_id, part");
  std::string kept = "{";
  for (int row = 0; row < stored.size(); ++row) {
    const auto id = static_cast<int>(stored.integer(row, 0));
    const auto work =
        std::find_if(pass.work.begin(), pass.work.end(),
                     [&](const Work& item) { return item.table.primary.id == id; });
    if (work == pass.work.end() || work->mark != stored.text(row, 2)) continue;
    if (!work->stored) {
      work->stored = true;
      work->parts.clear();
      kept += (kept.size() > 1 ? "," : "") + std::to_string(id);
    }
    Part part;
    part.number = static_cast<int>(stored.integer(row, 1));
    part.low = stored.value(row, 3);
    part.high = stored.value(row, 4);
    part.bytes = stored.integer(row, 5);
    part.done = stored.boolean(row, 6);
    if (!stored.null(row, 7)) part.rows = stored.integer(row, 7);
    part.differences = stored.integer(row, 8);
    if (part.done) {
      ++pass.resumed;
      pass.findings.count_rows(id, part.differences);
    }
    work->parts.push_back(std::move(part));
  }
  kept += "}";
  const auto forgotten =
      "DELETE FROM pgjanus.verified_parts WHERE table_id <> ALL ('" + kept +
      "'::int[]); DELETE FROM pgjanus.differences WHERE table_id <> ALL ('" + kept + "'::int[])";
  co_await primary.run(forgotten);
  const auto shown = co_await primary.run(
      "SELECT table_id, kind, key::text, array_to_json(columns)::text, coalesce(weight, 0) "
      "FROM pgjanus.differences LIMIT " + std::to_string(Findings::shown_max));
  for (int row = 0; row < shown.size(); ++row) {
    Difference difference;
    difference.table_id = static_cast<int>(shown.integer(row, 0));
    for (const auto& work : pass.work) {
      if (work.table.primary.id == difference.table_id) {
        difference.table = work.table.primary.display();
      }
    }
    difference.kind = shown.str(row, 1);
    difference.key = nlohmann::json::parse(shown.str(row, 2));
    difference.columns =
        nlohmann::json::parse(shown.str(row, 3)).get<std::vector<std::string>>();
    difference.weight = shown.integer(row, 4);
    pass.findings.show(std::move(difference));
  }
}

asio::awaitable<void> store_parts(pg::Connection& primary, Pass& pass) {
  std::vector<Piece> pieces;
  for (auto& work : pass.work) {
    if (work.stored) continue;
    work.stored = true;
    for (auto& part : work.parts) pieces.push_back({&work, &part});
  }
  for (std::size_t first = 0; first < pieces.size(); first += stored_at_once) {
    Values columns[6];
    for (auto i = first; i < std::min(first + stored_at_once, pieces.size()); ++i) {
      const auto& [work, part] = pieces[i];
      columns[0].push_back(std::to_string(work->table.primary.id));
      columns[1].push_back(std::to_string(part->number));
      columns[2].push_back(work->mark);
      columns[3].push_back(part->low);
      columns[4].push_back(part->high);
      columns[5].push_back(std::to_string(part->bytes));
    }
    pg::Parameters parameters;
    for (const auto& column : columns) parameters.emplace_back(array_of(column));
    co_await primary.run(store_sql, std::move(parameters));
  }
}

asio::awaitable<void> forget_table(pg::Connection& primary, int table_id) {
  const auto id = std::to_string(table_id);
  co_await primary.run("DELETE FROM pgjanus.differences WHERE table_id = " + id +
                       " AND key <> '{}'; DELETE FROM pgjanus.verified_parts WHERE table_id = " +
                       id);
}

Note done_note(const std::vector<Piece>& pieces) {
  Values columns[4];
  for (const auto& [work, part] : pieces) {
    columns[0].push_back(std::to_string(work->table.primary.id));
    columns[1].push_back(std::to_string(part->number));
    columns[2].push_back(part->rows ? std::optional{std::to_string(*part->rows)} : std::nullopt);
    columns[3].push_back(std::to_string(part->differences));
  }
  Note note;
  note.sql = done_sql;
  for (const auto& column : columns) note.parameters.emplace_back(array_of(column));
  return note;
}

}  // namespace pgjanus::verify
