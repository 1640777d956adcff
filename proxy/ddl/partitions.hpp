#pragma once
// Partitions that leave their tree and come back to it between two looks.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <string>

#include "proxy/ddl/shape.hpp"

namespace pgjanus::ddl {

/// The root of the partition tree that the relation is in; itself, where it is in none. Pure.
[[nodiscard]] std::int64_t root_of(const Shape& shape, std::int64_t relation);

/// Partitions that were in their tree before, by another link: oid, and who wrote the present one. Pure.
using Rejoined = std::map<std::int64_t, std::string>;
[[nodiscard]] Rejoined rejoined(const Shape& before, const Shape& now);

/// ADD COLUMN's default of the moment, for rows that are there; what the default is later is set later. A partitioned
/// table has no rows; its partitions tell. Pure.
[[nodiscard]] std::string missing_value(const Shape& now, const Key& key, const nlohmann::json& doc);

/// Which of these trees have tables with another file by now. Pure.
[[nodiscard]] std::set<std::int64_t> rewritten(const Shape& before, const Shape& now, const std::set<std::int64_t>& roots);

/// Roots of tables that may have been another's children in between: their columns were all written anew by one
/// transaction, and belong to the same parents. What was written through the other then is noted as the other's. Not those
/// that came `back`. Pure.
[[nodiscard]] std::set<std::int64_t> passed_through(const Shape& before, const Shape& now, const Rejoined& back);

/// Writes into the primary's journal what they hold: they had their tree's triggers all the time, but what a batch made of
/// their rows while they were away, or who wrote them as part of another tree, is not known. Each in a transaction of its
/// own; may be run again. Throws pg::Error.
boost::asio::awaitable<void> note_rejoined(pg::Connection& primary, Rejoined partitions);

}  // namespace pgjanus::ddl
