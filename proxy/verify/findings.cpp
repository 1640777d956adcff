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

void Findings::add(Difference difference) {
  ++total_;
  ++objects_[difference.table_id];
  show(std::move(difference));
}

void Findings::count_rows(int table_id, std::int64_t rows) {
  if (rows == 0) return;
  total_ += rows;
  rows_[table_id] += rows;
}

void Findings::show(Difference difference) {
  if (shown_.size() < shown_max) shown_.push_back(std::move(difference));
}

void Findings::forget_rows(int table_id) {
  const auto found = rows_.find(table_id);
  if (found == rows_.end()) return;
  total_ -= found->second;
  rows_.erase(found);
  std::erase_if(shown_, [table_id](const Difference& difference) {
    return difference.table_id == table_id && !difference.key.empty();
  });
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

asio::awaitable<void> Record::add(Difference difference) {
  ++found_;
  if (shown_.size() < Findings::shown_max) shown_.push_back(difference);
  unwritten_.push_back(std::move(difference));
  if (unwritten_.size() >= written_at_once) co_await flush();
}

asio::awaitable<void> Record::open() {
  if (open_) co_return;
  // Between two parcels a part of a table is read, which may take long.
  co_await primary_.run("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '6h'");
  open_ = true;
}

asio::awaitable<void> Record::flush() {
  if (unwritten_.empty()) co_return;
  co_await open();
  if (!part_open_) co_await primary_.run("SAVEPOINT part");
  part_open_ = true;
  auto parcel = std::move(unwritten_);
  unwritten_.clear();
  co_await write_differences(primary_, std::move(parcel));
}

asio::awaitable<void> Record::keep_part() {
  co_await flush();
  if (part_open_) co_await primary_.run("RELEASE SAVEPOINT part");
  part_open_ = false;
  if (!shown_.empty()) {
    const auto table_id = shown_.front().table_id;
    findings_.count_rows(table_id, found_);
    for (auto& difference : shown_) findings_.show(std::move(difference));
  }
  shown_.clear();
  found_ = 0;
}

asio::awaitable<void> Record::drop_part() {
  unwritten_.clear();
  shown_.clear();
  found_ = 0;
  if (part_open_) co_await primary_.run("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part");
  part_open_ = false;
}

asio::awaitable<void> Record::commit(std::string note, pg::Parameters parameters) {
  co_await primary_.run(std::move(note), std::move(parameters));
  if (open_) co_await primary_.run("COMMIT");
  open_ = false;
}

asio::awaitable<void> write_differences(pg::Connection& primary,
                                        std::vector<Difference> differences) {
  if (differences.empty()) co_return;
  std::vector<std::string> texts[5];
  for (auto& difference : differences) {
    // A key of a sequence says which one, since it has no table.
    if (difference.table_id == 0) difference.key = {{"object", difference.table}};
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
  co_await primary.run(insert_sql, std::move(parameters));
}

}  // namespace pgjanus::verify
