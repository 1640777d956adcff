#include "proxy/verify/findings.hpp"

#include <algorithm>

namespace pgjanus::verify {

namespace asio = boost::asio;

namespace {

constexpr std::size_t written_at_once = 1000;

// Bytes that are no UTF-8 (an SQL_ASCII database) must not end the run.
std::string dumped(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const char* const insert_sql =
    "INSERT INTO pgjanus.differences (table_id, kind, key, columns, weight) "
    "SELECT d.t, d.k, d.key, ARRAY(SELECT jsonb_array_elements_text(d.c)), nullif(d.w, 0) "
    "FROM unnest($1::int[], $2::text[], $3::jsonb[], $4::jsonb[], $5::bigint[]) AS d(t, k, key, c, "
    "w)";

}  // namespace

asio::awaitable<void> Findings::begin() {
  co_await primary_.run("DELETE FROM pgjanus.differences");
}

asio::awaitable<void> Findings::add(Difference difference) {
  ++total_;
  ++(difference.key.empty() ? objects_ : rows_)[difference.table_id];
  if (shown_.size() < shown_max) shown_.push_back(difference);
  // A key of a sequence says which one, since it has no table.
  if (difference.table_id == 0) difference.key = {{"object", difference.table}};
  unwritten_.push_back(std::move(difference));
  if (unwritten_.size() >= written_at_once) co_await flush();
}

asio::awaitable<void> Findings::flush() {
  if (unwritten_.empty()) co_return;
  std::vector<std::string> texts[5];
  for (const auto& difference : unwritten_) {
    texts[0].push_back(std::to_string(difference.table_id));
    texts[1].push_back(difference.kind);
    texts[2].push_back(dumped(difference.key));
    texts[3].push_back(dumped(nlohmann::json(difference.columns)));
    texts[4].push_back(std::to_string(difference.weight));
  }
  pg::Parameters parameters;
  for (const auto& column : texts) {
    const std::vector<std::optional<std::string_view>> values(column.begin(), column.end());
    parameters.emplace_back(pg::array_literal(values));
  }
  unwritten_.clear();
  co_await primary_.run(insert_sql, std::move(parameters));
}

asio::awaitable<void> Findings::forget_rows(int table_id) {
  const auto found = rows_.find(table_id);
  if (found == rows_.end()) co_return;
  total_ -= found->second;
  rows_.erase(found);
  const auto of_its_rows = [table_id](const Difference& difference) {
    return difference.table_id == table_id && !difference.key.empty();
  };
  std::erase_if(shown_, of_its_rows);
  std::erase_if(unwritten_, of_its_rows);
  co_await primary_.run("DELETE FROM pgjanus.differences WHERE table_id = $1 AND key <> '{}'",
                        pg::params(std::to_string(table_id)));
}

std::int64_t Findings::of_table(int table_id) const {
  const auto count = [table_id](const std::map<int, std::int64_t>& counts) {
    const auto found = counts.find(table_id);
    return found == counts.end() ? 0 : found->second;
  };
  return count(rows_) + count(objects_);
}

nlohmann::json Findings::document() const {
  auto list = nlohmann::json::array();
  for (const auto& difference : shown_) {
    nlohmann::json entry{{"table", difference.table},
                         {"key", difference.key},
                         {"kind", difference.kind},
                         {"columns", difference.columns}};
    if (difference.weight != 0) entry["rows"] = std::abs(difference.weight);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace pgjanus::verify
