// From one shape to the next: which statements lead the mirror there, and in which order they are
// tried. README.md argues the order; what it cannot know is left to trying again.

#include <algorithm>
#include <array>
#include <utility>

#include "proxy/ddl/document.hpp"
#include "proxy/ddl/inherited.hpp"
#include "proxy/ddl/kept.hpp"
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

class Comparison {
 public:
  Comparison(const Shape& before, const Shape& now, const std::string& boundary, bool replica_role)
      : before_{before}, now_{now}, boundary_{parse_snapshot(boundary)}, replica_role_{replica_role},
        kept_{before, now}, inherited_{before, now} {}

  Changes run() {
    for (const auto& [key, doc] : before_) names_before_.insert(place(key, doc, text(doc, "name")));
    for (const auto& [key, doc] : now_) names_now_.insert(place(key, doc, text(doc, "name")));
    for (const auto& [key, doc] : before_) {
      if (!now_.contains(key)) drop(key, doc);
    }
    for (const auto& [key, doc] : now_) {
      const auto found = before_.find(key);
      if (found == before_.end()) {
        create(key, doc);
      } else if (found->second != doc) {
        change(key, found->second, doc);
      }
    }
    find_rewritten();
    empty_what_is_read_anew();
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

  int rank(const Key& key, const json& doc) const {
    const bool foreign = kind(key) == "constraint" && text(doc, "contype") == "f";
    return foreign ? foreign_keys : rank_of(kind(key));
  }

  const json* table(const Shape& shape, std::int64_t relation) const {
    const auto found = shape.find({"table", relation, 0});
    return found == shape.end() ? nullptr : &found->second;
  }

  /// The root of the partition tree that the relation is in, as of now.
  std::int64_t root(std::int64_t relation) const { return root(now_, relation); }

  static std::int64_t root(const Shape& shape, std::int64_t relation) {
    for (int depth = 0; depth < 100; ++depth) {
      auto above = shape.lower_bound({"partition", relation, 0});
      if (above == shape.end() || kind(above->first) != "partition" || oid(above->first) != relation ||
          !flag(above->second, "partition")) {
        return relation;
      }
      relation = number(above->second, "of");
    }
    return relation;
  }

  std::string schema_name(std::int64_t schema) const { return pg::quote_name(kept_.schema_name(schema)); }

  void add(std::vector<Ranked>& list, int at, std::int64_t order, Step::Kind what, const json& doc,
           std::string sql) {
    if (sql.empty()) return;
    list.push_back({at, order, {what, text(doc, "label"), std::move(sql)}});
  }

  void drop(const Key& key, const json& doc) {
    const auto on = number(doc, "on");
    const bool with_table = on != 0 && on != oid(key) && table(before_, on) && !table(now_, on);
    const bool column_of_gone = kind(key) == "column" && !table(now_, oid(key)) && table(before_, oid(key));
    if (kind(key) == "type" || kind(key) == "table") changes_.types_gone = true;  // A table has a row type.
    const bool with_parent = kind(key) == "column" && inherited_.dropped_along(key);
    if (with_table || column_of_gone || with_parent) return;
    if (kind(key) == "partition" && !table(now_, oid(key))) return;
    if (kind(key) == "constraint" || kind(key) == "index") changes_.loose.insert(root(on));
    if (kind(key) == "other") {
      changes_.strange.push_back(text(doc, "label") + " was dropped");
      return;
    }
    if (is_type(key, doc) && names_now_.contains(place(key, doc, text(doc, "name")))) {
      replace_type(key, doc);
      return;
    }
    auto sql = kind(key) == "column" ? inherited_.dropping(key, doc) : text(doc, "drop");
    const auto forget = kept_.forgetting(key, doc);
    if (!forget.empty()) sql += (sql.empty() ? "" : "; ") + forget;
    // What a parent's statement may have taken already comes last.
    const auto order = number(doc, "parent") != 0 ? 0 : -oid(key);
    add(drops_, drop_rank(key, doc), order, Step::Kind::drop, doc, std::move(sql));
  }

  /// Who leaves a parent does so before that drops indexes and keys, or they would go, too. A parent's CHECK goes
  /// before: a child's is listed only once it is its own, and then made anew.
  int drop_rank(const Key& key, const json& doc) const {
    if (kind(key) == "partition") return -behind_all;
    const bool check = kind(key) == "constraint" && text(doc, "contype") == "c";
    return check ? -behind_all - 1 : -rank(key, doc);
  }

  static bool is_type(const Key& key, const json& doc) { return kind(key) == "type" || text(doc, "relkind") == "c"; }

  /// Another one takes its name, and columns may go from the one to the other: it leaves when they have.
  void replace_type(const Key& key, const json& doc) {
    const auto aside = pg::quote_name("pgjanus_gone_" + std::to_string(oid(key)));
    std::vector<std::string> names{pg::quote_name(text(doc, "name")), aside};
    add(renames_, rank(key, doc) - 50, oid(key), Step::Kind::rename, doc, filled(text(doc, "rename"), std::move(names)));
    add(late_, behind_all, -oid(key), Step::Kind::drop, doc,
        "DROP TYPE IF EXISTS " + schema_name(number(doc, "ns")) + "." + aside);
  }

  void create(const Key& key, const json& doc) {
    const auto on = kind(key) == "column" ? oid(key) : number(doc, "on");
    const auto* fresh_table = table(now_, on) && !table(before_, on) ? table(now_, on) : nullptr;
    const bool strange = kind(key) == "other" || doc.at("create").is_null();
    if (strange) {
      changes_.strange.push_back(text(doc, "label") + " was created");
      return;
    }
    auto sql = text(doc, "create");
    if (kind(key) == "column") {
      const bool along = !fresh_table && inherited_.comes_along(key);
      if (fresh_table) sql.clear();
      // What its parent's statement gave it for rows that are there.
      else if (along) sql = flag(*table(now_, on), "partition") ? "" : text(doc, "undefault");
      else sql += missing_value(key, doc);
      if (!fresh_table && table(now_, on)) touch(root(on), doc);
    }
    if (kind(key) == "partition" && flag(doc, "partition")) sql = make_room(key, doc) + sql;
    if (is_kept(key, doc)) sql = number(doc, "parent") != 0 ? "" : kept_.instead(doc);
    const int at = rank(key, doc);
    // A column of a partition tree goes to the root first, whose oid is the older one. One that a child was given by
    // itself goes there before its parent's is merged with it.
    const int down = flag(doc, "inherited") && flag(doc, "local") ? -1 : 1;
    const auto order = kind(key) == "column" ? down * oid(key) * 2000 + std::get<2>(key) : oid(key);
    add(at < late_from ? early_ : late_, at, order, Step::Kind::create, doc, std::move(sql));
    properties(key, json::object(), doc, fresh_table != nullptr, true);
  }

  /// What has to go before a table becomes a partition. Rows of one that was a table come again with their keys, noted
  /// when it got the tree's triggers. One that was in the tree has had these all the time, so nobody notes its rows: they stay,
  /// but for those that do not fit by now. These, and what the default partition gave up, are in the journal as changed.
  std::string make_room(const Key& key, const json& doc) {
    const auto relation = oid(key);
    const bool stays = root(before_, relation) != relation && root(before_, relation) == root(relation);
    auto first = text(doc, table(before_, relation) ? "clear" : "checks");
    if (stays && !text(doc, "unfit").empty()) first = text(doc, "unfit");
    else if (stays) changes_.anew.insert(root(relation));
    first += text(doc, "default");
    // A load's copy may be later than this boundary: what goes here need not be in the journal since.
    if (stays || !text(doc, "default").empty()) changes_.reshaped.insert(root(relation));
    return first;
  }

  /// ADD COLUMN's default of the moment, for rows that are there; what the default is later is set later.
  std::string missing_value(const Key& key, const json& doc) const {
    auto value = text(doc, "missing");
    const auto* on = table(now_, oid(key));
    if (value.empty() && on != nullptr && text(*on, "relkind") == "p") {
      // A partitioned table has no rows; its partitions tell.
      for (const auto& [other, column] : now_) {
        if (kind(other) == "column" && text(column, "name") == text(doc, "name") && value.empty() &&
            root(oid(other)) == root(oid(key))) {
          value = text(column, "missing");
        }
      }
    }
    return value.empty() ? value : value + "; " + text(doc, "undefault");
  }

  void change(const Key& key, const json& old, const json& doc) {
    const bool released = kind(key) == "sequence" && owner(old) != owner(doc);
    // Ahead of what is dropped: with the column, or table, it would be gone.
    if (released) add(drops_, ahead_of_all, 0, Step::Kind::alter, doc, text(old, "release"));
    rename(key, old, doc, released);
    // ALTER TYPE … USING rewrites also to the same type.
    if (kind(key) == "column" && text(old, "xmin") != text(doc, "xmin")) retyped_.insert({root(oid(key)), false});
    if (kind(key) == "type") {
      auto labels = enum_labels(old, doc);
      for (auto& step : labels.added) changes_.apart.push_back(std::move(step));
      // Behind the type's own rename, since by its new name.
      for (auto& step : labels.renamed) early_.push_back({rank_of("type"), 0, std::move(step)});
    }
    foreign_key(key, old, doc);
    if (kind(key) == "other" && text(old, "state") != text(doc, "state")) {
      changes_.strange.push_back(text(doc, "label") + " was changed");
      return;
    }
    if (text(old, "state") != text(doc, "state")) {
      if (!flag(doc, "replace")) {
        drop(key, old);
        create(key, doc);
        return;
      }
      const int at = rank(key, doc);
      add(at < late_from ? early_ : late_, at, oid(key), Step::Kind::create, doc, text(doc, "create"));
    }
    properties(key, old, doc, false, false);
  }

  /// The column that a sequence belongs to: table and number.
  static std::string owner(const json& sequence) {
    const auto props = props_of(sequence);
    return props.is_object() && props.contains("owner") ? text(props["owner"], "v") : std::string{};
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
      if (was_parents && !is_parents) add(drops_, -behind_all - 1, oid(key), Step::Kind::alter, old, text(old, "create"));
      return;
    }
    // Its text names what it refers to, and that was renamed. A partition's comes with its parent's.
    if (is_parents && !was_parents) add(drops_, -behind_all, oid(key), Step::Kind::alter, old, kept_.forgetting(key, old));
    const bool other = was_parents || old.value("kept", json{}) != doc.value("kept", json{});
    if (!is_parents && other) add(late_, foreign_keys, oid(key), Step::Kind::alter, doc, kept_.instead(doc));
  }

  void rename(const Key& key, const json& old, const json& doc, bool released) {
    const auto from = text(old, "name"), to = text(doc, "name");
    const auto old_schema = number(old, "ns"), schema = number(doc, "ns");
    const int at = rank(key, doc);
    const auto pattern = text(doc, "rename");
    // A sequence that a column owns moves with its table.
    const auto move = number(doc, "owned_by") == 0 || released ? text(doc, "move") : std::string{};
    if (old_schema != schema) {
      std::vector<std::string> names{schema_name(old_schema), pg::quote_name(from), schema_name(schema)};
      const auto kept = kept_.moving(key, {old_schema, from}, {schema, from});
      auto sql = move.empty() ? std::string{kept.empty() ? "" : "SELECT 1"} : filled(move, std::move(names));
      if (!sql.empty()) add(renames_, at, oid(key), Step::Kind::alter, doc, sql + kept);
    }
    if (from == to || pattern.empty() || (kind(key) == "column" && inherited_.renamed_along(key))) return;
    const bool only_kept = is_kept(key, doc);
    const auto hop = [&](int when, const std::string& start, const std::string& end) {
      std::vector<std::string> names{pg::quote_name(start), pg::quote_name(end)};
      auto sql = only_kept ? std::string{"SELECT 1"} : filled(pattern, std::move(names));
      sql += kept_.moving(key, {schema, start}, {schema, end}) + kept_.renaming(key, start, end, doc);
      add(renames_, when, oid(key), Step::Kind::rename, doc, std::move(sql));
    };
    // Two that exchange their names meet half way, so whoever takes another's name goes aside first.
    auto start = from;
    if (names_before_.contains(place(key, doc, to))) {
      start = "pgjanus_aside_" + std::to_string(oid(key)) + "_" + std::to_string(std::get<2>(key));
      hop(at - 50, from, start);
    }
    hop(at, start, to);
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
      if (was != nullptr && was->value("v", json{}) == property.value("v", json{})) continue;
      if (kind(key) == "column" && name == "type") touch(root(oid(key)), doc);
      if (kind(key) == "column" && (name == "type" || name == "generated") && inherited_.retyped_along(key)) continue;
      set(key, doc, name, property, fresh);
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
    // Rows wait for the partition, which its parent does not take without; it is empty by now.
    const bool joins = name == "not_null" && on != nullptr && flag(*on, "partition") && !has_partition(before_, oid(key));
    if (joins && !late.empty()) early = std::exchange(late, {});
    if (!fresh || late.empty()) add(early_, at, oid(key), Step::Kind::alter, doc, std::move(early));
    // Behind constraints only where asked for: SET NOT NULL and defaults before keys and views.
    const auto what = name == "populated" ? Step::Kind::fill : Step::Kind::alter;
    add(late_, flag(property, "late") ? at : late_from - 1, oid(key), what, doc, std::move(late));
  }

  /// What a partitioned table's DROP NOT NULL takes from partitions that have it of their own.
  void not_null_below(const Key& column) {
    for (const auto& key : inherited_.below(now_, column)) {
      const auto& doc = now_.at(key);
      const auto property = props_of(doc).at("not_null");
      if (!flag(property, "v")) not_null_below(key);
      else add(late_, late_from - 1, oid(key), Step::Kind::alter, doc, text(property, "l"));
    }
  }

  /// Tables whose columns changed and whose files are others now: values came from nowhere in the journal.
  void find_rewritten() {
    std::set<std::int64_t> touched;
    for (const auto& [table, late] : retyped_) {
      touched.insert(table);
      if (late) changes_.anew.insert(table);
    }
    if (touched.empty()) return;
    for (const auto& [key, doc] : now_) {
      if (kind(key) != "table" || text(doc, "relkind") != "r") continue;
      const auto* was = table(before_, oid(key));
      if (was == nullptr || number(*was, "file") == number(doc, "file")) continue;
      if (touched.contains(root(oid(key)))) changes_.anew.insert(root(oid(key)));
    }
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
      add(early_, rank_of("column") - 1, 0, Step::Kind::alter, *doc,
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
  const Kept kept_;
  const Inherited inherited_;
  Changes changes_;
  std::vector<Ranked> drops_, renames_, early_, late_;
  std::vector<TypeStep> types_;
  std::set<std::string> names_before_, names_now_;
  std::set<std::pair<std::int64_t, bool>> retyped_;  // Roots, and whether the change was overlooked.
};

}  // namespace

Changes compare(const Shape& before, const Shape& now, const std::string& boundary, bool replica_role) {
  return Comparison{before, now, boundary, replica_role}.run();
}

}  // namespace pgjanus::ddl
