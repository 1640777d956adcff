#pragma once
// Tables and sequences that one side has and the other has not.

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "proxy/schema/table.hpp"
#include "proxy/verify/findings.hpp"

namespace pgjanus::verify {

/// The table with this id in a list that stored_tables() gave, which is in their order; nullptr
/// without one. Pure.
[[nodiscard]] const TableInfo* listed_with_id(const std::vector<TableInfo>& tables, int id);

/// Listed tables that are gone on one side, tables of the primary that nobody mirrors, sequences
/// that only one side has. Their values are compared by the flip, which copies them.
boost::asio::awaitable<std::vector<Difference>> compare_objects(
    pg::Connection& primary, pg::Connection& mirror, const std::vector<TableInfo>& on_primary,
    const std::vector<TableInfo>& on_mirror, const std::vector<std::string>& exclude);

}  // namespace pgjanus::verify
