#pragma once
// What changed in the catalog since the last look, relation by relation (README.md, "Only what changed").

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "proxy/ddl/shape.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus::ddl {

/// A text for each relation of the app's, its name and what is another one when anything about it in the catalog is, triggers of ours
/// included; one for all that belongs to no relation; and which relations belong together.
struct Marks {
  std::map<std::int64_t, std::string> relations;
  std::string rest;
  std::set<std::pair<std::int64_t, std::int64_t>> links;  // To a parent, or from a sequence to its table.
  [[nodiscard]] bool empty() const noexcept { return rest.empty(); }
  void clear() noexcept { *this = {}; }
  friend bool operator==(const Marks&, const Marks&) = default;
};

/// Far cheaper than read_shape().
boost::asio::awaitable<Marks> read_marks(pg::Connection& connection);

/// The relations that came, went or changed between two, with all that belong together with one of them at either time;
/// none: anything may have changed, a name among it, which others are described with, or so much that reading the whole
/// catalog is cheaper. Pure.
[[nodiscard]] std::optional<std::set<std::int64_t>> changed_between(const Marks& before, const Marks& now);

/// `known` with what `relations` are by now; none: one of them has another name, which stands in other objects' statements,
/// too, or the sides differ on purpose: then only the whole will do.
boost::asio::awaitable<std::optional<Shape>> read_changed(pg::Connection& connection, const Shape& known,
                                                          std::set<std::int64_t> relations);

/// Whether a table is, or has, one of these relations. Pure.
[[nodiscard]] bool has_one_of(const TableInfo& table, const std::set<std::int64_t>& relations);

}  // namespace pgjanus::ddl
