#include "proxy/ddl/named.hpp"

#include <algorithm>
#include <map>

#include "sql_texts.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;

namespace {

constexpr pg::Duration names_limit{60'000};

using Names = std::map<std::pair<std::int64_t, std::int64_t>, std::string>;  // By catalog and OID.

asio::awaitable<Names> read_names(pg::Connection& connection, pg::Parameters wanted) {
  const auto rows = co_await connection.kept(std::string{sql::ddl_names}, std::move(wanted), names_limit);
  Names names;
  for (int row = 0; row < rows.size(); ++row) names.emplace(std::pair{rows.integer(row, 0), rows.integer(row, 1)}, rows.str(row, 2));
  co_return names;
}

}  // namespace

asio::awaitable<bool> otherwise_named(pg::Connection& reader, pg::Connection& by_now, FullXid since) {
  auto written = pg::params(std::to_string(since.value % (1ULL << 32U)), "{}");
  const auto now = co_await read_names(by_now, std::move(written));
  if (now.empty()) co_return false;
  std::string list;
  for (const auto& one : now) list += (list.empty() ? "{" : ",") + std::to_string(one.first.second);
  auto same = pg::params(std::nullopt, list + "}");
  const auto seen = co_await read_names(reader, std::move(same));
  co_return std::any_of(seen.begin(), seen.end(), [&](const auto& one) {
    const auto found = now.find(one.first);
    return found != now.end() && found->second != one.second;
  });
}

}  // namespace pgjanus::ddl
