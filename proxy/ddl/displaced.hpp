#pragma once

#include <boost/asio/awaitable.hpp>
#include <set>
#include <utility>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// Whether rows that were read by `now` and put on a mirror that is as `before` may lie wrong there: columns that have other names,
/// or are not generated any more, functions that generate them, partitions that left or have other bounds. Types: relabelled(). Pure.
[[nodiscard]] bool displaces(const Shape& before, const Shape& now);

/// Whether labels of an enum have other names: rows travel by these. Pure.
[[nodiscard]] bool relabels(const Shape& before, const Shape& now);

/// Enums whose labels have, or had in between, other names; row types that have or had other columns: values travel and are noted by these. Pure.
[[nodiscard]] std::set<std::int64_t> relabelled(const Shape& before, const Shape& now);

/// Columns, each with its relation, that hold values of one of these types, however deep.
boost::asio::awaitable<std::set<std::pair<std::int64_t, std::string>>> columns_of(pg::Connection& connection, std::set<std::int64_t> types);

/// Whether a column of the table has another name since before the boundary, which was overlooked: whole rows of a table without a key went
/// by the one of before. Pure.
[[nodiscard]] bool renamed_late(const Shape& before, const Shape& now, std::int64_t table, const std::optional<Snapshot>& boundary);

}  // namespace pgjanus::ddl
