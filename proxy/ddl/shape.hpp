#pragma once
// The app's catalog as a value, and what leads from one to the next (README.md).

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "router/words.hpp"

namespace pgjanus {
struct Differences;
}

namespace pgjanus::ddl {

/// An object's identity on the primary: kind, oid, and what sub means for the kind. A rename keeps it.
using Key = std::tuple<std::string, std::int64_t, std::int64_t>;
/// Objects with their documents (README.md, "Documents"), `props` of each folded into text: as objects
/// those of 2,000 tables take 100 MB. Equal documents have equal texts.
using Shape = std::map<Key, nlohmann::json>;
/// Documents in place of a shape's own; none: without that object.
using Amended = std::map<Key, std::optional<nlohmann::json>>;

/// A document with its `props` as text, and those of a document, whichever way they are there. Pure.
[[nodiscard]] nlohmann::json folded(nlohmann::json doc);
[[nodiscard]] nlohmann::json props_of(const nlohmann::json& doc);

/// The catalog under the connection's snapshot, in the other side's names once they are settled.
/// `search_path` must be pg_catalog. Throws pg::Error.
boost::asio::awaitable<Shape> read_shape(pg::Connection& connection);
/// The same in the side's own names; only what is `wanted`, if that is given, with names and statements, of tables just names.
boost::asio::awaitable<Shape> read_own_shape(pg::Connection& connection, bool (*wanted)(const Key&) = nullptr);
/// A shape in the names of side `to`, without what is the business of one side alone. Pure.
[[nodiscard]] Shape renamed(Shape shape, const Differences& differences, Side to);

/// What is stored on the mirror; empty when it is of another epoch, or was never stored.
boost::asio::awaitable<Shape> stored_shape(pg::Connection& mirror, std::uint64_t epoch);
/// Stores what differs (all of it when `before` is empty), in the caller's transaction if there is one.
boost::asio::awaitable<void> store_shape(pg::Connection& mirror, const Shape& before,
                                         const Shape& now, std::uint64_t epoch);

/// What takes an object's name from it where it cannot be dropped yet, and drops it then (aside.hpp). Both empty: nothing.
struct Aside {
  std::string set, drop;
  bool refuses_rows = false;  // Under whichever name: a key.
};

/// One statement for the mirror.
struct Step {
  /// `empty` deletes rows, so it runs ahead of the batch's own or not at all.
  enum class Kind : std::uint8_t { create, drop, rename, alter, fill, empty };
  Kind kind = Kind::alter;
  std::string label;  // Of the object, for people.
  std::string sql;
  std::string why = {};  // It was refused, last.
  std::string later = {};  // Of a drop: the same by the names of now, once it was refused by those of before.
  Aside aside = {};      // Of a drop.
  bool went_aside = false;
  // order.hpp fills these in.
  std::string takes = {}, vacates = {};    // Names, with where they have to be unique.
  std::string makes = {};                  // A table or schema that others need, or its name,
  std::vector<std::string> needs = {};     // as this one does.
  std::vector<std::string> later_needs = {};
  std::vector<std::int64_t> trees = {};    // Roots of tables whose rows may be others' until this has run.
};

/// Replaying goes on without the contents of materialized views, which only a flip needs: takes these steps out and logs them.
void go_on_unfilled(std::vector<Step>& steps);

/// What leads from one shape to the next.
struct Changes {
  std::vector<Step> apart;       // In transactions of their own, ahead of all (enum values).
  std::vector<Step> early;       // Before the rows of the batch,
  std::vector<Step> late;        // and after them: constraints, indexes, what depends on them.
  std::set<std::int64_t> anew;   // Roots of tables whose rows were rewritten: read all of them.
  std::set<std::int64_t> reshaped;  // Roots with columns added or retyped: whole rows noted before read otherwise.
  std::map<std::int64_t, std::string> rejoined;  // Partitions whose rows have to be noted before (partitions.hpp).
  /// Roots of trees in which `empty` steps delete rows, with the documents of the links these are for.
  std::multimap<std::int64_t, nlohmann::json> emptied;
  std::set<std::int64_t> relabelled;  // Types by whose labels or attributes of before keys and whole rows may have been noted.
  std::set<std::int64_t> uncounted;  // Roots that lost partitions, or may have had others in between: without a key their journal cannot be told apart from those'.
  std::set<std::int64_t> loose;  // Roots of tables that may lack unique indexes while rows come.
  std::vector<std::string> strange;  // What we do not replay.
  bool types_gone = false;       // Prepared statements may know types that are no more.
  [[nodiscard]] bool empty() const noexcept {
    return apart.empty() && early.empty() && late.empty() && anew.empty() && strange.empty() && relabelled.empty();
  }
};

/// `boundary` is the snapshot (its text) up to which rows have been mirrored: what changed in a table's
/// columns before it was overlooked, so its rows are read anew. `replica_role`: as for become_mirror().
[[nodiscard]] Changes compare(const Shape& before, const Shape& now, const std::string& boundary,
                              bool replica_role);

/// Whether a column's last change is visible at the boundary: its rows have passed without it. Pure.
[[nodiscard]] bool changed_before(const nlohmann::json& column, const std::optional<Snapshot>& boundary);

/// Whether a part of a table's key has the name that another column had before: keys noted until then, and
/// the mirror's rows, are by that one. Pure.
[[nodiscard]] bool key_moved(const Shape& before, const Shape& now, std::int64_t table, const std::vector<std::string>& key);

/// Whether `relation` was a partition of `parent` already. Pure.
[[nodiscard]] bool has_partition(const Shape& shape, std::int64_t relation);

}  // namespace pgjanus::ddl
