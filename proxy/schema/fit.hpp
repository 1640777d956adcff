#pragma once
// Whether what stands on the target already fits the source's tables, and what differs on purpose.

#include <boost/asio/awaitable.hpp>
#include <set>
#include <string>
#include <vector>

#include "proxy/pg/connection.hpp"
#include "proxy/schema/differences.hpp"
#include "proxy/schema/table.hpp"

namespace pgjanus::schema {

struct Misfit {
  std::string table, what, remedy;  // By the source's name; of the target alone: by its own.
};

struct Fit {
  Differences differences;          // As the target needs it; of the tables judged.
  std::set<QualifiedName> taken;    // Tables that stand on the target and are taken as they are.
  std::vector<std::string> absent;  // Tables that it lacks.
  std::vector<Misfit> misfits;      // Nothing can be mirrored with these.
  std::vector<Misfit> notes;        // What the operator should know.
};

/// What tables of the target mean that the source does not have.
enum class TargetOnly : std::uint8_t { misfit, ignored };

/// Looks at both sides and changes nothing. `tables` are those of the source that are to be mirrored,
/// `judged` those of them that are not on the target's list yet. A table that is there fits when it is
/// empty, has every column of the source with the same type, can do without its other columns, and
/// fills by itself what the source fills. Throws pg::Error.
boost::asio::awaitable<Fit> judge_fit(pg::Connection& source, pg::Connection& target,
                                      std::vector<TableInfo> tables, std::vector<TableInfo> judged,
                                      NameMap renames, std::vector<std::string> exclude, TargetOnly others);

}  // namespace pgjanus::schema
