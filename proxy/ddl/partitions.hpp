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

/// Roots of tables that may have been another's children in between, and of what may have been their parents: what was
/// written through these then is noted as theirs. To have been a child leaves columns whose catalog rows were written
/// although nothing in them changed; a parent that is known has no others than such as were written in the child, one that
/// came and went unseen is taken to have had all of them. Not those that came `back`. Pure.
struct Passed {
  std::set<std::int64_t> children, parents;
};
[[nodiscard]] Passed passed_through(const Shape& before, const Shape& now, const Rejoined& back);

/// Takes out what would empty trees that are not mirrored: their rows are the mirror's own, nobody would bring them again.
/// Throws pg::Error.
boost::asio::awaitable<void> leave_others_rows(pg::Connection& primary, std::vector<Step>& steps);

/// Writes into the primary's journal what they hold: they had their tree's triggers all the time, but what a batch made of
/// their rows while they were away, or who wrote them as part of another tree, is not known. Each in a transaction of its
/// own; may be run again. Throws pg::Error.
boost::asio::awaitable<void> note_rejoined(pg::Connection& primary, Rejoined partitions);

}  // namespace pgjanus::ddl
