// From one shape to the next: which statements lead the mirror there, and in which order they are
// tried. README.md argues the order; what it cannot know is left to trying again.

#include <algorithm>

#include "proxy/ddl/adopted.hpp"
#include "proxy/ddl/aside.hpp"
#include "proxy/ddl/document.hpp"
#include "proxy/ddl/inherited.hpp"
#include "proxy/ddl/kept.hpp"
#include "proxy/ddl/order.hpp"
#include "proxy/ddl/partitions.hpp"
#include "proxy/ddl/shape.hpp"
#include "router/words.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

struct Ranked {
  int rank;
  std::int64_t order;
  Step step;
};

// Within the rank of partitions, ahead of every ATTACH.
constexpr std::int64_t when_detached = -3, when_emptied = -2, when_fitted = -1;

class Comparison {
 public:
  Comparison(const Shape& before, const Shape& now, const std::string& boundary, bool replica_role)
      : before_{before}, now_{now}, boundary_{parse_snapshot(boundary)}, replica_role_{replica_role},
        kept_{before, now}, inherited_{before, now}, adopted_{before, now}, moved_{before, now},
        names_before_{names_of(before)}, names_now_{names_of(now)} {}

  Changes run() {
    changes_.rejoined = rejoined(before_, now_);
    for (const auto& [key, doc] : before_) {
      if (!now_.contains(key)) drop(key, doc);
    }
    for (const auto& [key, doc] : now_) {
      const auto found = before_.find(key);
      const auto* was = found == before_.end() ? adopted_.made_again(key) : &found->second;
      if (was == nullptr) create(key, doc);
      else if (*was != doc) change(key, *was, doc);
    }
    find_rewritten();
    empty_what_is_read_anew();
    auto kept = kept_.following();
    if (!kept.empty()) drops_.push_back({ahead_of_all - 1, 0, {Step::Kind::alter, "what is kept for the promotion", std::move(kept)}});
    for (auto* list : {&drops_, &renames_, &early_, &late_}) {
      std::stable_sort(list->begin(), list->end(), [](const Ranked& a, const Ranked& b) {
        return std::tie(a.rank, a.order) < std::tie(b.rank, b.order);
      });
    }
    for (auto* list : {&drops_, &renames_, &early_}) {
      for (auto& one : *list) changes_.early.push_back(std::move(one.step));
    }
    for (auto& one : late_) changes_.late.push_back(std::move(one.step));
    return std::move(changes_);
  }

 private:
  static std::int64_t oid(const Key& key) { return std::get<1>(key); }
  static const std::string& kind(const Key& key) { return std::get<0>(key); }

  static int rank(const Key& key, const json& doc) {
    const bool foreign = kind(key) == "constraint" && text(doc, "contype") == "f";
    return foreign ? foreign_keys : rank_of(kind(key));
  }

  const json* table(const Shape& shape, std::int64_t relation) const {
    const auto found = shape.find({"table", relation, 0});
    return found == shape.end() ? nullptr : &found->second;
  }

  /// The root of the partition tree that the relation is in, as of now.
  std::int64_t root(std::int64_t relation) const { return root_of(now_, relation); }

  std::string schema_name(std::int64_t schema) const { return pg::quote_name(kept_.schema_name(schema)); }

  Step* add(std::vector<Ranked>& list, int at, std::int64_t order, Step::Kind what, const Key& key, const json& doc,
            std::string sql) {
    if (sql.empty()) return nullptr;
    list.push_back({at, order, {what, text(doc, "label"), std::move(sql)}});
    relate(list.back().step, before_, now_, key, doc);
    if (&list == &drops_) list.back().step.needs.clear();  // By the names of before.
    return &list.back().step;
  }

  void drop(const Key& key, const json& doc) {
    const auto on = number(doc, "on");
    // What was counted in it while it was a partition has gone with it.
    if (kind(key) == "partition" && flag(doc, "partition")) changes_.uncounted.insert(root(number(doc, "of")));
    const bool with_table = on != 0 && on != oid(key) && table(before_, on) && !table(now_, on);
    const bool column_of_gone = kind(key) == "column" && !table(now_, oid(key)) && table(before_, oid(key));
    if (kind(key) == "type" || kind(key) == "table") changes_.types_gone = true;  // A table has a row type.
    const bool with_parent = kind(key) == "column" && inherited_.dropped_along(key);
    if (with_table || column_of_gone || with_parent || adopted_.stays(key)) return;
    if (kind(key) == "partition" && !table(now_, oid(key))) return;
    if (kind(key) == "constraint" || kind(key) == "index") changes_.loose.insert(root(on));
    if (kind(key) == "other") {
      changes_.strange.push_back(text(doc, "label") + " was dropped");
      return;
    }
    auto sql = kind(key) == "column" ? inherited_.dropping(key, doc) : text(doc, "drop");
    kept_.forget(key, doc);
    // What a parent's statement may have taken already comes last.
    const auto order = number(doc, "parent") != 0 ? 0 : -oid(key);
    // One that comes back to the same parent leaves when it has that one's columns, so by the names of now.
    const bool back = kind(key) == "partition" && changes_.rejoined.contains(oid(key)) && now_.contains(key);
    if (back) {
      add(early_, rank_of("partition"), when_detached, Step::Kind::drop, key, now_.at(key), text(now_.at(key), "drop"));
      return;
    }
    // A schema when what is to move out of it no longer needs its name.
    auto* step = kind(key) == "schema" ? add(renames_, old_schemas, order, Step::Kind::drop, key, doc, std::move(sql))
                                       : add(drops_, drop_rank(key, doc), order, Step::Kind::drop, key, doc, std::move(sql));
    if (step == nullptr) return;
    moved_.find_later(*step, kind(key) == "column" ? oid(key) : on);
    if (kind(key) != "column" || !inherited_.spared_below(key)) step->aside = aside(before_, key, doc);
  }

  /// Who leaves a parent does so before that drops indexes and keys, or they would go, too. A parent's CHECK goes
  /// before: a child's is listed only once it is its own, and then made anew. Functions go ahead of what they may take or return,
  /// a table's or view's row too: by its name, so while it has that.
  int drop_rank(const Key& key, const json& doc) const {
    if (kind(key) == "partition") return -behind_all;
    if (kind(key) == "function") return -behind_all + 1;
    const bool check = kind(key) == "constraint" && text(doc, "contype") == "c";
    return check ? -behind_all - 1 : -rank(key, doc);
  }

  void create(const Key& key, const json& doc) {
    const auto on = kind(key) == "column" ? oid(key) : number(doc, "on");
    const auto* fresh_table = table(now_, on) && !table(before_, on) ? table(now_, on) : nullptr;
    if (kind(key) == "other" || doc.at("create").is_null()) {
      changes_.strange.push_back(text(doc, "label") + " was created");
      return;
    }
    if (kind(key) == "partition" && flag(doc, "partition")) {
      attach(key, doc);
      return;
    }
    auto sql = text(doc, "create");
    if (kind(key) == "column") {
      const bool along = !fresh_table && inherited_.comes_along(key);
      if (fresh_table) sql.clear();
      // What its parent's statement gave it for rows that are there.
      else if (along) sql = flag(*table(now_, on), "partition") ? "" : text(doc, "undefault");
      else sql += missing_value(now_, key, doc);
      if (!fresh_table && table(now_, on)) touch(root(on), doc);
    }
    if (auto adopting = adopted_.making(doc); !adopting.empty()) sql = std::move(adopting);
    if (is_kept(key, doc)) sql = number(doc, "parent") != 0 ? "" : kept_.instead(doc);
    const int at = rank(key, doc);
    // A column of a partition tree goes to the root first, whose oid is the older one. One that a child was given by
    // itself goes there before its parent's is merged with it.
    const int down = flag(doc, "inherited") && flag(doc, "local") ? -1 : 1;
    // A domain has its constraints before another type is made of it, though behind functions, which they may call.
    const bool of_new_domain = kind(key) == "constraint" && now_.contains({"type", on, 0}) && !before_.contains({"type", on, 0});
    const auto order = kind(key) == "column" ? down * oid(key) * 2000 + std::get<2>(key) : oid(key) + (of_new_domain ? std::int64_t{1} << 33 : 0);
    const bool schema = kind(key) == "schema";
    auto& list = schema ? renames_ : at < late_from || of_new_domain ? early_ : late_;
    const int when = schema ? new_schemas : of_new_domain ? rank_of("function") : at;
    auto* step = add(list, when, order, Step::Kind::create, key, doc, std::move(sql));
    if (step) step->vacates = adopted_.vacated_by(doc);
    properties(key, json::object(), doc, fresh_table != nullptr, true);
  }

  /// Rows of a table that was there come again with their keys, noted when it got the tree's triggers, or because it is
  /// one that came back. What the default partition gave up is in the journal as deleted there.
  void attach(const Key& key, const json& doc) {
    const int at = rank_of("partition");
    const auto clear = table(before_, oid(key)) ? text(doc, "clear") : std::string{}, give_up = text(doc, "default");
    add(early_, at, when_emptied, Step::Kind::empty, key, doc, clear);
    add(early_, at, when_emptied, Step::Kind::empty, key, doc, give_up);
    if (flag(doc, "anew")) changes_.anew.insert(root(oid(key)));
    // A load's copy may be later than this boundary: what goes here need not be in the journal since.
    if (!give_up.empty() || changes_.rejoined.contains(oid(key))) changes_.emptied.emplace(root(oid(key)), doc);
    // By itself: what is there already must not pass for a partition that is attached already.
    add(early_, at, when_fitted, Step::Kind::alter, key, doc, text(doc, "checks"));
    add(early_, at, oid(key), Step::Kind::create, key, doc, text(doc, "create"));
  }

  void change(const Key& key, const json& old, const json& doc) {
    const bool released = kind(key) == "sequence" && owner_of(old) != owner_of(doc);
    // Ahead of what is dropped: with the column, or table, it would be gone.
    if (released) add(drops_, ahead_of_all, 0, Step::Kind::alter, key, doc, text(old, "release"));
    rename(key, old, doc, released);
    // ALTER TYPE … USING rewrites also to the same type.
    if (kind(key) == "column" && text(old, "xmin") != text(doc, "xmin")) retyped_.insert({root(oid(key)), false});
    if (kind(key) == "type") {
      auto labels = enum_labels(old, doc);
      for (auto& step : labels.added) changes_.apart.push_back(std::move(step));
      for (auto& step : labels.renamed) early_.push_back({rank_of("type"), 0, std::move(step)});  // Behind its own rename: by its new name.
    }
    add(drops_, -behind_all, oid(key), Step::Kind::alter, key, old, inherited_.coming_back(key, old, doc));
    foreign_key(key, old, doc);
    if (kind(key) == "other" && text(old, "state") != text(doc, "state")) {
      changes_.strange.push_back(text(doc, "label") + " was changed");
      return;
    }
    if (text(old, "state") != text(doc, "state") || (kind(key) == "partition" && changes_.rejoined.contains(oid(key)))) {
      if (!flag(doc, "replace")) {
        drop(key, old);
        create(key, doc);
        comment_again(key);
        return;
      }
      // Rows may have values of a view's row type in them.
      const bool early = rank(key, doc) < late_from || (kind(key) == "view" && number(old, "places") != number(doc, "places"));
      add(early ? early_ : late_, rank(key, doc), oid(key), Step::Kind::create, key, doc, text(doc, "create"));
    }
    properties(key, old, doc, false, false);
  }

  /// A comment goes with its object; one that changes is set anyway.
  void comment_again(const Key& key) {
    for (auto at = now_.lower_bound({"comment", oid(key), 0});
         at != now_.end() && kind(at->first) == "comment" && oid(at->first) == oid(key); ++at) {
      const auto was = before_.find(at->first);
      if (was == before_.end() || was->second != at->second) continue;
      add(late_, rank_of("comment"), oid(key), Step::Kind::create, at->first, at->second, text(at->second, "create"));
    }
  }

  /// A foreign key that only comes with the promotion.
  bool is_kept(const Key& key, const json& doc) const {
    return kind(key) == "constraint" && text(doc, "contype") == "f" && !replica_role_;
  }

  void foreign_key(const Key& key, const json& old, const json& doc) {
    if (kind(key) != "constraint" || text(doc, "contype") != "f") return;
    const bool was_parents = number(old, "parent") != 0, is_parents = number(doc, "parent") != 0;
    if (!is_kept(key, doc)) {
      // What the mirror calls it matters from now on, so before it leaves with its partition.
      if (was_parents && !is_parents) add(drops_, -behind_all - 1, oid(key), Step::Kind::alter, key, old, text(old, "create"));
      return;
    }
    // Its text names what it refers to, and that was renamed. A partition's comes with its parent's.
    if (is_parents && !was_parents) kept_.forget(key, old);
    const bool other = was_parents || old.value("kept", json{}) != doc.value("kept", json{});
    if (!is_parents && other) add(late_, foreign_keys, oid(key), Step::Kind::alter, key, doc, kept_.instead(doc));
  }

  void rename(const Key& key, const json& old, const json& doc, bool released) {
    const auto from = text(old, "name"), to = text(doc, "name");
    const auto old_schema = number(old, "ns"), schema = number(doc, "ns");
    const auto [halfway, there] = hops(key, doc);
    const auto old_pattern = text(old, "rename"), pattern = text(doc, "rename");
    if (is_kept(key, doc)) return;
    const bool named = !old_pattern.empty() && !pattern.empty();
    // A sequence that a column owns moves with its table, as indexes do.
    const auto own_move = number(doc, "owned_by") == 0 || released ? text(doc, "move") : std::string{};
    const auto move = old_schema != schema && named ? own_move : std::string{};
    const bool along = named && move.empty() && place_of(before_, key, old, from) != place_of(now_, key, doc, from);
    const bool taken = names_before_.contains(place_of(now_, key, doc, to)) || names_before_.contains(place_on_table(key, doc, to));
    const auto aside = "pgjanus_aside_" + std::to_string(oid(key)) + "_" + std::to_string(std::get<2>(key));
    using Place = std::pair<std::int64_t, std::string>;  // OID of a schema, and a name.
    const auto hop = [&](int when, const std::string& by, const Place& start, const Place& end) {
      std::vector<std::string> names{pg::quote_name(start.second), pg::quote_name(end.second)};
      std::vector<std::string> places{schema_name(start.first), names.front(), schema_name(end.first)};
      auto sql = move.empty() || start.first == end.first ? std::string{} : filled(move, std::move(places)) + "; ";
      sql += filled(by, std::move(names));
      auto* step = add(renames_, when, oid(key), Step::Kind::rename, key, doc, std::move(sql));
      if (start.second == from) step->vacates = place_of(before_, key, old, from);
      if (end.second == to) step->takes = place_of(now_, key, doc, to), step->makes = placed(key);
      if (when < old_schemas) step->needs.clear();  // By the names of before.
    };
    // Its name may be another's on its way, which has to give it up, too: first the names of what stands on something.
    if (!move.empty() || (along && taken)) {
      const int ahead = kind(key) == "function" ? functions_ahead : rank(key, doc);
      hop(old_schemas - 1 - ahead, old_pattern, {old_schema, from}, {old_schema, aside});
      hop(there, pattern, {old_schema, aside}, {schema, to});
      return;
    }
    if (from == to || pattern.empty() || (kind(key) == "column" && inherited_.renamed_along(key))) return;
    // Two that exchange their names meet half way, so whoever takes another's name goes aside first.
    if (taken) hop(halfway, pattern, {schema, from}, {schema, aside});
    hop(there, pattern, {schema, taken ? aside : from}, {schema, to});
  }

  /// What is set by statements of its own. `fresh`: `doc` was created just now; `bare`: together with its table.
  void properties(const Key& key, const json& old, const json& doc, bool bare, bool fresh) {
    const auto all = props_of(doc);
    if (!all.is_object()) return;
    const auto before = props_of(old);
    // What a child was made with is its parents', not its own, unless it says so.
    const bool of_parents = bare && flag(doc, "inherited") && !flag(*table(now_, oid(key)), "partition");
    for (const auto& [name, property] : all.items()) {
      if (fresh) {
        const bool done = bare && (name == "not_null" || name == "type" || name == "identity");
        const bool undone = of_parents && (name == "not_null" || name == "default" || name == "storage");
        if (undone || (!done && flag(property, "i"))) set(key, doc, name, property, fresh);
        continue;
      }
      const auto* was = before.is_object() && before.contains(name) ? &before[name] : nullptr;
      const auto old_thing = was == nullptr ? 0 : number(*was, "of"), thing = number(property, "of");
      if (old_thing != 0 && thing != 0 && old_thing != thing) {
        add(early_, rank_of(kind(key)), oid(key), Step::Kind::alter, key, doc, text(property, "d"));
      } else if (was != nullptr && was->value("v", json{}) == property.value("v", json{})) {
        continue;
      }
      const bool values = kind(key) == "column" && (name == "type" || name == "generated");
      if (values) touch(root(oid(key)), doc);
      if (!values || !inherited_.retyped_along(key)) set(key, doc, name, property, fresh);
    }
  }

  void touch(std::int64_t root_oid, const json& column) {
    retyped_.insert({root_oid, changed_before(column, boundary_)});
    changes_.reshaped.insert(root_oid);
  }

  void set(const Key& key, const json& doc, const std::string& name, const json& property, bool fresh) {
    const int at = rank_of(kind(key)) + (flag(property, "late") ? 100 : 0);
    auto early = text(property, "e"), late = text(property, "l");
    if (kind(key) == "column" && name == "type" && !text(property, "clear").empty()) {
      types_.push_back({early_.size(), root(oid(key)), text(property, "clear")});
    }
    if (!late.empty() && (kind(key) == "trigger" || kind(key) == "rule")) late += kept_.forgetting_enabled(key, doc);
    const auto* on = kind(key) == "column" ? table(now_, oid(key)) : nullptr;
    if (name == "not_null" && !early.empty() && on != nullptr && text(*on, "relkind") == "p") not_null_below(key);
    if (fresh && kind(key) == "type" && name == "not_null") early = std::exchange(late, {});  // As its constraints.
    if (!fresh || late.empty()) add(early_, at, oid(key), Step::Kind::alter, key, doc, std::move(early));
    // Behind constraints only where asked for: SET NOT NULL and defaults before keys and views.
    const auto what = name == "populated" ? Step::Kind::fill : Step::Kind::alter;
    add(late_, flag(property, "late") ? at : late_from - 1, oid(key), what, key, doc, std::move(late));
  }

  /// What a partitioned table's DROP NOT NULL takes from partitions that have it of their own.
  void not_null_below(const Key& column) {
    for (const auto& key : inherited_.below(now_, column)) {
      const auto& doc = now_.at(key);
      const auto property = props_of(doc).at("not_null");
      if (!flag(property, "v")) not_null_below(key);
      else add(late_, late_from - 1, oid(key), Step::Kind::alter, key, doc, text(property, "l"));
    }
  }

  /// Tables whose columns changed and whose files are others now: values came from nowhere in the journal.
  void find_rewritten() {
    std::set<std::int64_t> touched;
    for (const auto& [table, late] : retyped_) {
      touched.insert(table);
      if (late) changes_.anew.insert(table);
    }
    changes_.anew.merge(rewritten(before_, now_, touched));
    auto passed = passed_through(before_, now_, changes_.rejoined);
    changes_.anew.merge(passed.children);
    changes_.uncounted.merge(passed.parents);
  }

  /// A type that changes with a rewrite may have no cast: emptied before.
  void empty_what_is_read_anew() {
    std::set<std::int64_t> emptied;
    for (const auto& [at, table_oid, sql] : types_) {
      if (!changes_.anew.contains(table_oid)) continue;
      early_[at].step.sql = sql;
      emptied.insert(table_oid);
    }
    for (const auto relation : emptied) {
      const auto* doc = table(now_, relation);
      if (doc == nullptr) continue;
      add(early_, rank_of("column") - 1, 0, Step::Kind::empty, Key{"table", relation, 0}, *doc,
          std::string{"DELETE FROM "} + (text(*doc, "relkind") == "p" ? "" : "ONLY ") +
              schema_name(number(*doc, "ns")) + "." + pg::quote_name(text(*doc, "name")));
    }
  }

  struct TypeStep {
    std::size_t at;
    std::int64_t table;
    std::string clear;
  };
  const Shape& before_;
  const Shape& now_;
  std::optional<Snapshot> boundary_;
  bool replica_role_;
  Kept kept_;
  const Inherited inherited_;
  const Adopted adopted_;
  MovedTables moved_;
  const std::set<std::string> names_before_, names_now_;
  Changes changes_;
  std::vector<Ranked> drops_, renames_, early_, late_;
  std::vector<TypeStep> types_;
  std::set<std::pair<std::int64_t, bool>> retyped_;  // Roots, and whether the change was overlooked.
};

}  // namespace

Changes compare(const Shape& before, const Shape& now, const std::string& boundary, bool replica_role) {
  return Comparison{before, now, boundary, replica_role}.run();
}

}  // namespace pgjanus::ddl
