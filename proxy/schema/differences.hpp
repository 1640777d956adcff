#pragma once
// What differs between source and target on purpose: names, columns of one side only, partitions of one
// side only. Settled by `prepare`, stored on both sides (pgjanus.state.extra), the same for the life of
// the migration.

#include <boost/asio/awaitable.hpp>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/table.hpp"
#include "router/names.hpp"

namespace pgjanus {

/// As one side needs it. Tables by the source's names.
struct Differences {
  Side side = Side::source;  // Whose.
  NameMap names;             // Tables of [[rename]], and the sequences that their columns own.
  std::map<QualifiedName, std::set<std::string>> own_columns;  // Of the target, which the source lacks.
  std::set<QualifiedName> partitioned;                         // On the target only.
  std::map<QualifiedName, std::vector<std::string>> keys;      // The source's, where the target would choose another.

  [[nodiscard]] bool any() const noexcept {
    return !names.empty() || !own_columns.empty() || !partitioned.empty() || !keys.empty();
  }
  /// A table as its side's catalog shows it: gets the source's name, and loses columns of its own.
  void apply(TableInfo& table) const;
  /// What the target has for itself. Nothing on the source.
  [[nodiscard]] bool own(const QualifiedName& table, const std::string& column) const;
};

[[nodiscard]] nlohmann::json to_json(const Differences& differences);
[[nodiscard]] Differences differences_from(const nlohmann::json& document, Side side);

/// What a side has stored; nothing where it was not prepared. Throws pg::Error.
boost::asio::awaitable<Differences> read_differences(pg::Connection& connection);
/// The same from its text (empty: nothing), as it was read together with something else.
boost::asio::awaitable<Differences> differences_of(pg::Connection& connection, std::string document, Side side);
/// In the transaction that `connection` is in.
boost::asio::awaitable<void> store_differences(pg::Connection& connection,
                                               const Differences& differences);

}  // namespace pgjanus
