#include "proxy/verify/verifier.hpp"

#include <algorithm>

#include "proxy/verify/run.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using verify::differences_text;
using verify::Pass;
using verify::plural;
using verify::Scope;

namespace {

constexpr pg::Duration rest_limit{60'000};  // For the mirror loop to stand between two batches.
constexpr pg::Duration catch_up_limit{120'000};
// Beyond this share of a table it is read anew as a whole instead of key by key.
constexpr std::int64_t repair_keys_max = 100'000;

/// Marks the rows that a pass found different as changed, and waits for the mirror.
asio::awaitable<void> repair(MirrorControl& mirror, Pass& pass, const Progress& progress) {
  std::vector<int> whole;
  for (const auto& work : pass.work) {
    const auto& table = work.table.primary;
    const auto found = pass.findings.rows_by_table().find(table.id);
    if (found == pass.findings.rows_by_table().end()) continue;
    const auto count = found->second;
    // Without a key the journal holds counts, and a correction of counts would be wrong if the
    // table was emptied or read anew since our snapshot: such a table is read anew as well.
    if (!table.keyed() || (count > repair_keys_max && count > work.rows().value_or(0) / 2)) {
      whole.push_back(table.id);
      continue;
    }
    co_await pass.primary->run(
        "INSERT INTO pgjanus.journal (xid, table_id, key) "
        "SELECT pg_current_xact_id(), d.table_id, ARRAY(SELECT d.key ->> k.name "
        "FROM unnest(t.key_columns) WITH ORDINALITY AS k(name, n) ORDER BY k.n) "
        "FROM pgjanus.differences d JOIN pgjanus.tables t ON t.id = d.table_id "
        "WHERE d.table_id = $1 AND d.key <> '{}'",
        pg::params(std::to_string(table.id)), 600'000ms);
    if (progress) progress(table.display() + ": " + plural(count, "key") + " marked as changed");
  }
  if (!whole.empty()) {
    if (progress) progress(plural(static_cast<std::int64_t>(whole.size()), "table") + " read anew");
    co_await mirror.reload(whole, rest_limit);
  }
  co_await mirror.catch_up(catch_up_limit);
}

}  // namespace

asio::awaitable<std::optional<std::vector<std::string>>> unfinished_verification(
    pg::Connection& primary) {
  const auto stored = co_await verify::unfinished_scope(primary);
  if (!stored) co_return std::nullopt;
  const auto asked = nlohmann::json::parse(*stored);
  co_return asked.at("tables").get<std::vector<std::string>>();
}

asio::awaitable<VerifyResult> run_verification(const Databases& databases, MirrorControl& mirror,
                                               VerifyRequest request) {
  Scope scope{request.tables, request.exclude, std::nullopt};
  Pass first, second;
  VerifyResult result;
  auto& outcome = result.outcome;
  verify::Run run{databases, mirror, request, first};
  co_await run.compare(scope, verify::Kept::stored);
  if (!first.unknown.empty()) {
    result.whole_database = false;
    outcome = {Ended::error, "no mirrored table is called " + first.unknown.front(),
               "SHOW TABLES lists them", nullptr};
    co_return result;
  }
  const auto found = first.findings.total();
  std::int64_t repaired = 0;
  Pass* last = &first;
  if (request.repair && !first.findings.rows_by_table().empty()) {
    scope.only.emplace();
    for (const auto& [id, count] : first.findings.rows_by_table()) {
      scope.only->insert(id);
      repaired += count;
    }
    co_await repair(mirror, first, request.progress);
    verify::Run again{databases, mirror, request, second};
    co_await again.compare(scope, verify::Kept::once);
    last = &second;
  }
  // A table that could not be compared again after its repair was left out just as well.
  const auto left_out = std::max(first.left_out(), last->left_out());
  result.whole_database = request.tables.empty() && left_out == 0 && !first.work.empty();
  result.tables = static_cast<std::int64_t>(first.compared());
  result.differences = last->findings.total();
  result.rows = static_cast<std::uint64_t>(first.rows_compared + second.rows_compared);

  outcome.document = last->document();
  outcome.document["tables"] = first.tables(last == &first ? nullptr : last);
  outcome.document["repaired"] = repaired;
  outcome.document["resumed"] = first.resumed;
  outcome.document["complete"] = result.whole_database;
  for (const auto& table : outcome.document["tables"]) {
    if (table["differences"].is_null()) continue;
    result.by_table[table["name"].get<std::string>()] = table["differences"].get<std::int64_t>();
  }
  outcome.message = first.summary(found);
  if (repaired > 0) {
    outcome.message += "; repaired and compared again: " + differences_text(result.differences);
  }
  outcome.message += last->what_was_left_out();
  if (result.differences > 0) {
    outcome.ended = Ended::differences;
    outcome.hint = "SHOW DIFFERENCES lists them; REPAIR heals those of rows";
  } else if (left_out > 0) {
    outcome.ended = first.failed() || last->failed() ? Ended::error : Ended::not_ready;
  } else if (first.work.empty()) {
    outcome.ended = Ended::not_ready;
    outcome.hint = "PREPARE and LOAD come first";
  }
  co_return result;
}

}  // namespace pgjanus
