#pragma once
// What a load asks both sides for ahead of its time (early.cpp).

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/pg/subprocess.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus::load {

/// By table, another text whenever a column of it is made, dropped, renamed or changed otherwise. Throws pg::Error.
using ColumnVersions = std::map<std::uint32_t, std::string>;
boost::asio::awaitable<ColumnVersions> versions_of_columns(pg::Connection& primary);
/// Whether columns of a table did that is there before and after. Pure.
[[nodiscard]] bool changed(const ColumnVersions& before, const ColumnVersions& after);

/// pg_dump's words. Control thread.
struct EarlyDump {
  bool over = false;
  std::string catalog;  // catalog_of_dump() before it,
  ColumnVersions columns;  // and versions_of_columns().
  std::optional<pg::SubprocessResult> dumped;  // None: it failed.
};

/// Both sides' tables as the list has them.
struct Described {
  std::vector<TableInfo> primary, mirror;
};

/// Another text whenever pg_dump's post-data section may be another one. Throws pg::Error.
boost::asio::awaitable<std::string> catalog_of_dump(pg::Connection& primary);
/// The post-data section. Throws nothing: failures are in the result.
boost::asio::awaitable<pg::SubprocessResult> dump_post_data(ConnectionParameters primary);

}  // namespace pgjanus::load
