#include "proxy/schema/fit.hpp"

#include <algorithm>
#include <map>

#include "sql_texts.hpp"

namespace pgjanus::schema {

namespace asio = boost::asio;

namespace {

struct ColumnFacts {
  std::string name;
  bool not_null = false, filled = false, generated = false;  // filled: by a default or as identity
  QualifiedName sequence;                                    // That it owns; empty names: none.
};
using Facts = std::map<QualifiedName, std::vector<ColumnFacts>>;

asio::awaitable<Facts> read_facts(pg::Connection& side) {
  const pg::Rows rows = co_await side.run(std::string{sql::column_facts});
  Facts facts;
  for (int row = 0; row < rows.size(); ++row) {
    facts[{rows.str(row, 0), rows.str(row, 1)}].push_back(
        {rows.str(row, 2), rows.boolean(row, 3), rows.boolean(row, 4), rows.boolean(row, 5),
         {rows.str(row, 6), rows.str(row, 7)}});
  }
  co_return facts;
}

template <class List>
auto named(const List& list, const std::string& name) {
  return std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.name == name; });
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// One table of the source beside its counterpart.
class Pairing {
 public:
  Pairing(const TableInfo& source, const TableInfo& target, const std::vector<ColumnFacts>& of_source,
          const std::vector<ColumnFacts>& of_target, Fit& fit)
      : source_{source}, target_{target}, of_source_{of_source}, of_target_{of_target}, fit_{fit} {}

  void judge() {
    const auto before = fit_.misfits.size();
    if (source_.kind == 'p' && target_.kind != 'p')
      misfit("is partitioned on the source only", "partition it on the target, too");
    if (source_.unlogged != target_.unlogged || source_.inheritance != target_.inheritance)
      misfit("is unlogged, or in an inheritance tree, on one side only", "make it alike on both sides");
    judge_columns();
    judge_own();
    if (fit_.misfits.size() != before) return;
    auto ours = keys(source_), theirs = keys(target_);
    std::sort(ours.begin(), ours.end());
    std::sort(theirs.begin(), theirs.end());
    if (ours != theirs) fit_.differences.keys[source_.by_source()] = keys(source_);
    if (source_.kind != 'p' && target_.kind == 'p') fit_.differences.partitioned.insert(source_.by_source());
    fit_.taken.insert(source_.by_source());
    // A plain table without a key gets the source's with the load.
    if (source_.keyed() && !enforced() && (target_.kind == 'p' || target_.keyed()))
      note("no unique index of the target is over just its key (" + joined(keys(source_)) + ")",
           "while the target is the primary, two rows with one key would stop the mirror; write the key "
           "with care, or make it unique there");
  }

 private:
  void misfit(std::string what, std::string remedy) {
    fit_.misfits.push_back({source_.display(), std::move(what), std::move(remedy)});
  }
  void note(std::string what, std::string remedy) {
    fit_.notes.push_back({source_.display(), std::move(what), std::move(remedy)});
  }
  static std::vector<std::string> keys(const TableInfo& table) {
    std::vector<std::string> names;
    for (const auto& key : table.key) names.push_back(key.name);
    return names;
  }
  /// Its own choice of a key is the narrowest unique index: one over just ours would be that, or equal.
  bool enforced() const {
    auto ours = keys(source_), theirs = keys(target_);
    std::sort(ours.begin(), ours.end());
    std::sort(theirs.begin(), theirs.end());
    return std::includes(ours.begin(), ours.end(), theirs.begin(), theirs.end()) && !theirs.empty();
  }

  void judge_columns() {
    std::vector<std::string> lacking, retyped, unfilled, strict;
    for (const auto& column : source_.columns) {
      const auto there = named(target_.columns, column.name);
      if (there == target_.columns.end()) {
        lacking.push_back(column.name);
        continue;
      }
      if (there->type != column.type)
        retyped.push_back(column.name + " (" + column.type + ", there " + there->type + ")");
      const auto ours = named(of_source_, column.name), theirs = named(of_target_, column.name);
      if (ours == of_source_.end() || theirs == of_target_.end()) continue;
      if (ours->filled && !theirs->filled) unfilled.push_back(column.name);
      if (theirs->not_null && !ours->not_null) strict.push_back(column.name);
    }
    if (!lacking.empty())
      misfit("lacks columns on the target: " + joined(lacking), "add them there, as plain columns");
    if (!retyped.empty())
      misfit("has other types on the target: " + joined(retyped), "make types equal on both sides");
    if (!unfilled.empty())
      misfit("has columns with a default or identity that they lack on the target: " + joined(unfilled),
             "give them one there: once it is the primary, inserts rely on it");
    if (!strict.empty())
      note("has columns that are NOT NULL on the target only: " + joined(strict),
           "a NULL written on the source stops the mirror until it is mended");
  }

  /// What only the target has: left alone by the mirror, so it has to do without a value.
  void judge_own() {
    std::vector<std::string> needy, generated;
    std::set<std::string> own;
    for (const auto& column : of_target_) {
      if (column.generated) continue;
      const auto ours = named(of_source_, column.name);
      if (ours != of_source_.end() && ours->generated) generated.push_back(column.name);
      if (ours != of_source_.end()) continue;
      own.insert(column.name);
      if (column.not_null && !column.filled) needy.push_back(column.name);
    }
    if (!generated.empty())
      misfit("has columns that are generated on the source and plain on the target: " + joined(generated),
             "generate them on the target, too");
    if (!needy.empty())
      misfit("has columns of the target's own that are NOT NULL without a default: " + joined(needy),
             "give them a default");
    if (!own.empty()) fit_.differences.own_columns[source_.by_source()] = std::move(own);
  }

  const TableInfo &source_, &target_;
  const std::vector<ColumnFacts>&of_source_, &of_target_;
  Fit& fit_;
};

/// Sequences that columns own go with their tables, and may be called otherwise by the other side.
void pair_sequences(const QualifiedName& ours, const QualifiedName& theirs, const Facts& of_source,
                    const Facts& of_target, NameMap& names) {
  const auto columns = of_source.find(ours);
  const auto there = of_target.find(theirs);
  if (columns == of_source.end()) return;
  for (const auto& column : columns->second) {
    if (column.sequence.name.empty()) continue;
    auto called = names.on(Side::target, column.sequence);
    if (called == column.sequence && ours.schema != theirs.schema) called.schema = theirs.schema;
    if (there != of_target.end()) {
      const auto same = named(there->second, column.name);
      if (same != there->second.end() && !same->sequence.name.empty()) called = same->sequence;
    }
    if (called != column.sequence) names.add({column.sequence, called});
  }
}

/// True as well for a table that this role may not read: nothing that we could fill.
asio::awaitable<bool> holds_rows(pg::Connection& target, const TableInfo& table) {
  try {
    const auto rows = co_await target.run("SELECT EXISTS (SELECT FROM " + table.sql_rows() + ")");
    co_return rows.boolean(0, 0);
  } catch (const pg::Error& error) {
    if (!error.is("42501")) throw;
  }
  co_return true;
}

/// Names that one side must not have, or [[rename]] would mean two tables.
asio::awaitable<void> judge_names(pg::Connection& source, pg::Connection& target,
                                  const std::vector<TableInfo>& tables, const NameMap& renames, Fit& fit) {
  for (const auto& rename : renames.renames()) {
    const bool known = std::any_of(tables.begin(), tables.end(), [&](const TableInfo& table) {
      return table.by_source() == rename.source;
    });
    if (!known)
      fit.misfits.push_back({to_string(rename.source), "has a [[rename]], but the source has no such table to mirror",
                             "correct the name in [[rename]], or leave it out"});
    for (const Side side : {Side::source, Side::target}) {
      const auto& taken = side == Side::source ? rename.target : rename.source;
      if (!renames.taken(side, taken)) continue;
      auto& connection = side == Side::source ? source : target;
      const auto there = co_await connection.run(
          "SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p', 'f')", pg::params(sql_name(taken)));
      if (there.empty()) continue;
      fit.misfits.push_back({to_string(rename.source), "is " + to_string(rename.target) + " on the target by [[rename]], "
                                 "but the " + std::string{to_string(side)} + " has another table " + to_string(taken),
                             "rename or drop that table, or correct [[rename]]"});
    }
  }
}

}  // namespace

asio::awaitable<Fit> judge_fit(pg::Connection& source, pg::Connection& target,
                               std::vector<TableInfo> tables, std::vector<TableInfo> judged,
                               NameMap renames, std::vector<std::string> exclude, TargetOnly others) {
  Fit fit;
  fit.differences.side = Side::target;
  fit.differences.names = renames;
  co_await judge_names(source, target, tables, renames, fit);
  const auto of_source = co_await read_facts(source);
  const auto of_target = co_await read_facts(target);
  Differences names_only;
  names_only.side = Side::target;
  names_only.names = renames;
  const auto there = co_await discover_tables(target, exclude, names_only);
  std::map<QualifiedName, const TableInfo*> by_name;
  for (const auto& table : there) by_name[table.by_source()] = &table;
  static const std::vector<ColumnFacts> nothing;
  for (const auto& table : judged) {
    const auto name = table.by_source();
    pair_sequences(name, renames.on(Side::target, name), of_source, of_target, fit.differences.names);
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      fit.absent.push_back(table.display());
      continue;
    }
    const auto& other = *found->second;
    const auto ours = of_source.find({table.schema, table.name}), theirs = of_target.find({other.schema, other.name});
    Pairing{table, other, ours == of_source.end() ? nothing : ours->second,
            theirs == of_target.end() ? nothing : theirs->second, fit}
        .judge();
    const bool filled = co_await holds_rows(target, other);
    if (filled)
      fit.misfits.push_back({table.display(), "already holds rows on the target",
                             "empty it: what is there cannot be told from what we bring"});
  }
  std::set<QualifiedName> ours;
  for (const auto& table : tables) ours.insert(table.by_source());
  for (const auto& table : there) {
    if (others == TargetOnly::ignored || ours.contains(table.by_source())) continue;
    fit.misfits.push_back({to_string(QualifiedName{table.schema, table.name}),
                           "is on the target only", "drop it there, or --exclude it: such a table is left alone"});
  }
  co_return fit;
}

}  // namespace pgjanus::schema
