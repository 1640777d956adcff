// A shape of one side in the names of the other, without what is one side's own business.

#include "proxy/ddl/document.hpp"
#include "proxy/schema/differences.hpp"
#include "router/rewrite.hpp"

namespace pgjanus::ddl {

using nlohmann::json;

namespace {

class Renaming {
 public:
  Renaming(Shape shape, const Differences& differences, Side to)
      : shape_{std::move(shape)}, differences_{differences}, to_{to} {}

  Shape run() {
    if (to_ == Side::source) leave_out_own();
    std::vector<Rewriter::Entry> entries;
    for (const auto& rename : differences_.names.renames()) {
      to_ == Side::target ? add(entries, rename.source, rename.target)
                          : add(entries, rename.target, rename.source);
    }
    if (entries.empty()) return std::move(shape_);
    follow_tables(entries);
    const Rewriter rewriter{entries};
    for (auto& [key, doc] : shape_) {
      place(key, doc);
      auto props = props_of(doc);
      if (!props.is_null()) doc["props"] = std::move(props);
      rewrite(doc, rewriter);
      doc = folded(std::move(doc));
    }
    for (const auto& [name, oid] : schemas_) add_schema(name, oid);
    return std::move(shape_);
  }

 private:
  static const std::string& kind(const Key& key) { return std::get<0>(key); }
  static std::int64_t oid(const Key& key) { return std::get<1>(key); }

  std::string schema_of(const json& doc) const {
    const auto found = shape_.find({"schema", number(doc, "ns"), 0});
    return found == shape_.end() ? std::string{} : text(found->second, "name");
  }
  QualifiedName name_of(const json& doc) const { return {schema_of(doc), text(doc, "name")}; }
  QualifiedName renamed(const QualifiedName& name) const {
    const auto found = names_.find(name);
    return found == names_.end() ? name : found->second;
  }
  void add(std::vector<Rewriter::Entry>& entries, const QualifiedName& from, const QualifiedName& to) {
    if (from != to && names_.emplace(from, to).second) entries.push_back({from, to});
  }

  /// Indexes, those of constraints too, and owned sequences stand in their table's schema.
  void follow_tables(std::vector<Rewriter::Entry>& entries) {
    for (const auto& [key, doc] : shape_) {
      const auto contype = text(doc, "contype");
      const bool indexed = kind(key) == "constraint" && (contype == "p" || contype == "u" || contype == "x");
      if (kind(key) != "index" && kind(key) != "sequence" && !indexed) continue;
      const auto on = number(doc, kind(key) == "sequence" ? "owned_by" : "on");
      const auto table = shape_.find({"table", on, 0});
      if (table == shape_.end()) continue;
      const auto there = renamed(name_of(table->second));
      const QualifiedName name{schema_of(table->second), text(doc, "name")};
      if (there.schema != name.schema) add(entries, name, {there.schema, name.name});
    }
  }

  /// Name, schema and what is made of them. A schema that is named here only gets a number of its own,
  /// which stays the same when the app makes one of that name.
  void place(const Key& key, json& doc) {
    static constexpr std::array<std::string_view, 3> moved{"table", "sequence", "index"};
    if (std::find(moved.begin(), moved.end(), kind(key)) == moved.end()) return;
    const auto from = name_of(doc), to = renamed(from);
    if (from == to) return;
    std::int64_t number = 0;
    for (const char c : to.schema) number = (number * 131 + static_cast<unsigned char>(c)) % 1'000'000'007;
    doc["ns"] = schemas_[to.schema] = -1 - number;
    doc["name"] = to.name;
    std::string schema;
    for (const char c : sql_word(to.schema)) schema += c == '%' ? std::string{"%%"} : std::string{c};
    const auto object = kind(key) == "table" ? "TABLE " : kind(key) == "index" ? "INDEX " : "SEQUENCE ";
    if (!text(doc, "rename").empty()) doc["rename"] = std::string{"ALTER "} + object + schema + ".%s RENAME TO %s";
  }

  void rewrite(json& doc, const Rewriter& rewriter) {
    for (auto& [field, value] : doc.items()) {
      const bool names = field == "label" || field == "name" || field == "state" || field == "v";
      if (value.is_object()) {
        rewrite(value, rewriter);
      } else if (!names && value.is_string()) {
        auto other = rewriter.rewrite(value.get_ref<const std::string&>(), TextOf::catalog);
        if (other) value = std::move(*other);
      }
    }
  }

  void add_schema(const std::string& name, std::int64_t oid) {
    shape_[{"schema", oid, 0}] = {{"name", name}, {"label", "schema " + name}, {"drop", ""},
                                  {"create", "CREATE SCHEMA IF NOT EXISTS " + sql_word(name)}, {"rename", ""}};
  }

  /// Columns and partitions that only the target has: whatever is done to them stays there.
  void leave_out_own() {
    std::set<std::int64_t> gone;
    std::set<Key> columns;
    for (const auto& [key, doc] : shape_) {
      if (kind(key) != "table") continue;
      const auto called = differences_.names.of(Side::target, name_of(doc));
      if (differences_.partitioned.contains(called)) find_partitions(oid(key), gone);
      const auto own = differences_.own_columns.find(called);
      if (own == differences_.own_columns.end()) continue;
      for (auto at = shape_.lower_bound({"column", oid(key), 0});
           at != shape_.end() && kind(at->first) == "column" && oid(at->first) == oid(key); ++at) {
        if (own->second.contains(text(at->second, "name"))) columns.insert(at->first);
      }
    }
    std::erase_if(shape_, [&](const auto& entry) {
      const auto& [key, doc] = entry;
      static constexpr std::array<std::string_view, 4> by_oid{"table", "column", "partition", "comment"};
      const bool itself = std::find(by_oid.begin(), by_oid.end(), kind(key)) != by_oid.end();
      return columns.contains(key) || (itself && gone.contains(oid(key))) || gone.contains(number(doc, "on"));
    });
  }

  void find_partitions(std::int64_t root, std::set<std::int64_t>& found) {
    if (!partitions_) {  // Once: there may be thousands.
      partitions_.emplace();
      for (auto at = shape_.lower_bound({"partition", 0, 0}); at != shape_.end() && kind(at->first) == "partition"; ++at) {
        if (flag(at->second, "partition")) partitions_->emplace(number(at->second, "of"), oid(at->first));
      }
    }
    const auto [at, end] = partitions_->equal_range(root);
    for (auto one = at; one != end; ++one) {
      if (found.insert(one->second).second) find_partitions(one->second, found);
    }
  }

  Shape shape_;
  const Differences& differences_;
  Side to_;
  std::map<QualifiedName, QualifiedName> names_;
  std::map<std::string, std::int64_t> schemas_;
  std::optional<std::multimap<std::int64_t, std::int64_t>> partitions_;  // By what they are partitions of.
};

}  // namespace

Shape renamed(Shape shape, const Differences& differences, Side to) {
  if (!differences.any()) return shape;
  return Renaming{std::move(shape), differences, to}.run();
}

}  // namespace pgjanus::ddl
