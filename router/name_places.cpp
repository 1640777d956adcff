#include "router/name_places.hpp"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "router/parse_tree.hpp"

namespace pgjanus {

namespace {

/// Collects places. Scopes of WITH are followed; an explicit stack, since the tree may be deep.
class Collector {
 public:
  explicit Collector(Places& places) : places_{places} {}

  void over(const PgQuery__Node& top) {
    push(&top.base, nullptr);
    while (!stack_.empty()) {
      const auto [message, scope] = stack_.back();
      stack_.pop_back();
      if (message->descriptor == &pg_query__node__descriptor) {
        visit_node(*reinterpret_cast<const PgQuery__Node*>(message), scope);
        continue;
      }
      // FOR UPDATE OF users: an alias, or the name that the relation keeps as its alias.
      if (message->descriptor == &pg_query__locking_clause__descriptor) continue;
      const auto* inner = visit(*message, scope);
      push_children(*message, inner);
    }
  }

 private:
  struct Scope {
    std::string_view name;
    const Scope* outer;
  };

  void push(const ProtobufCMessage* message, const Scope* scope) {
    if (message != nullptr) stack_.emplace_back(message, scope);
  }

  void visit_node(const PgQuery__Node& node, const Scope* scope) {
    switch (node.node_case) {
      case PG_QUERY__NODE__NODE__NOT_SET:
      case PG_QUERY__NODE__NODE_INTEGER:
      case PG_QUERY__NODE__NODE_FLOAT:
      case PG_QUERY__NODE__NODE_BOOLEAN:
      case PG_QUERY__NODE__NODE_STRING:
      case PG_QUERY__NODE__NODE_BIT_STRING: return;
      default: push(&node.alias->base, scope);
    }
  }

  void push_children(const ProtobufCMessage& message, const Scope* scope) {
    const auto* bytes = reinterpret_cast<const char*>(&message);
    for (unsigned i = 0; i < message.descriptor->n_fields; ++i) {
      const auto& field = message.descriptor->fields[i];
      if (field.type != PROTOBUF_C_TYPE_MESSAGE || field.descriptor == &pg_query__with_clause__descriptor) continue;
      const auto* member = bytes + field.offset;
      if (field.label == PROTOBUF_C_LABEL_REPEATED) {
        const auto count = *reinterpret_cast<const std::size_t*>(bytes + field.quantifier_offset);
        const auto* const* list = *reinterpret_cast<const ProtobufCMessage* const* const*>(member);
        for (std::size_t k = 0; k < count; ++k) push(list[k], scope);
      } else if ((field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
                 *reinterpret_cast<const std::uint32_t*>(bytes + field.quantifier_offset) == field.id) {
        push(*reinterpret_cast<const ProtobufCMessage* const*>(member), scope);
      }
    }
  }

  /// Queries of WITH see those before them, of WITH RECURSIVE all; the statement sees all.
  const Scope* with(const PgQuery__WithClause* clause, const Scope* scope) {
    if (clause == nullptr) return scope;
    const auto* all = scope;
    std::vector<std::pair<const PgQuery__CommonTableExpr*, const Scope*>> queries;
    for (std::size_t i = 0; i < clause->n_ctes; ++i) {
      if (clause->ctes[i]->node_case != PG_QUERY__NODE__NODE_COMMON_TABLE_EXPR) continue;
      const auto* query = clause->ctes[i]->common_table_expr;
      queries.emplace_back(query, all);
      scopes_.push_back(std::make_unique<Scope>(Scope{query->ctename, all}));
      all = scopes_.back().get();
    }
    for (const auto& [query, before] : queries) push(&query->base, clause->recursive ? all : before);
    return all;
  }

  void aliasable(const PgQuery__Node* node) {
    if (node != nullptr && node->node_case == PG_QUERY__NODE__NODE_RANGE_VAR) aliasable(node->range_var);
  }
  void aliasable(const PgQuery__RangeVar* relation) {
    if (relation != nullptr && relation->alias == nullptr) aliasable_.insert(relation);
  }
  void aliasable(PgQuery__Node** list, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) aliasable(list[i]);
  }

  /// Returns the scope of what is inside.
  const Scope* visit(const ProtobufCMessage& message, const Scope* scope) {
    const auto* kind = message.descriptor;
    if (kind == &pg_query__select_stmt__descriptor) {
      const auto& select = reinterpret_cast<const PgQuery__SelectStmt&>(message);
      aliasable(select.from_clause, select.n_from_clause);
      return with(select.with_clause, scope);
    }
    if (kind == &pg_query__insert_stmt__descriptor) {
      const auto& insert = reinterpret_cast<const PgQuery__InsertStmt&>(message);
      aliasable(insert.relation);
      return with(insert.with_clause, scope);
    }
    if (kind == &pg_query__update_stmt__descriptor) {
      const auto& update = reinterpret_cast<const PgQuery__UpdateStmt&>(message);
      aliasable(update.relation);
      aliasable(update.from_clause, update.n_from_clause);
      return with(update.with_clause, scope);
    }
    if (kind == &pg_query__delete_stmt__descriptor) {
      const auto& remove = reinterpret_cast<const PgQuery__DeleteStmt&>(message);
      aliasable(remove.relation);
      aliasable(remove.using_clause, remove.n_using_clause);
      return with(remove.with_clause, scope);
    }
    if (kind == &pg_query__merge_stmt__descriptor) {
      const auto& merge = reinterpret_cast<const PgQuery__MergeStmt&>(message);
      aliasable(merge.relation);
      aliasable(merge.source_relation);
      return with(merge.with_clause, scope);
    }
    if (kind == &pg_query__join_expr__descriptor) {
      const auto& join = reinterpret_cast<const PgQuery__JoinExpr&>(message);
      aliasable(join.larg);
      aliasable(join.rarg);
    } else if (kind == &pg_query__range_table_sample__descriptor) {
      aliasable(reinterpret_cast<const PgQuery__RangeTableSample&>(message).relation);
    } else if (kind == &pg_query__range_var__descriptor) {
      visit_relation(reinterpret_cast<const PgQuery__RangeVar&>(message), scope);
    } else if (kind == &pg_query__func_call__descriptor) {
      places_.functions.insert(place(reinterpret_cast<const PgQuery__FuncCall&>(message).location));
    } else if (kind == &pg_query__type_name__descriptor) {
      places_.types.insert(place(reinterpret_cast<const PgQuery__TypeName&>(message).location));
    } else if (kind == &pg_query__column_ref__descriptor) {
      const auto& column = reinterpret_cast<const PgQuery__ColumnRef&>(message);
      places_.columns[place(column.location)] = column.n_fields;
    } else if (kind == &pg_query__res_target__descriptor) {
      const auto& target = reinterpret_cast<const PgQuery__ResTarget&>(message);
      if (target.name[0] != 0 && target.n_indirection > 0) places_.targets.insert(place(target.location));
    }
    return scope;
  }

  void visit_relation(const PgQuery__RangeVar& relation, const Scope* scope) {
    if (relation.location < 0 || relation.catalogname[0] != 0) return;
    Places::Relation found;
    found.qualified = relation.schemaname[0] != 0;
    for (const auto* outer = scope; outer != nullptr && !found.qualified; outer = outer->outer)
      found.hidden = found.hidden || outer->name == relation.relname;
    // A temporary table that is made here shadows ours.
    if (std::string_view{relation.relpersistence} == "t" ||
        std::string_view{relation.schemaname}.starts_with("pg_temp")) {
      found.hidden = true;
      places_.temporary.insert(relation.relname);
    }
    found.may_have_alias = aliasable_.contains(&relation);
    places_.relations[place(relation.location)] = found;
  }

  static std::size_t place(std::int32_t location) {
    return location < 0 ? static_cast<std::size_t>(-1) : static_cast<std::size_t>(location);
  }

  Places& places_;
  std::vector<std::pair<const ProtobufCMessage*, const Scope*>> stack_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  std::set<const PgQuery__RangeVar*> aliasable_;
};

Places::Named named_by(PgQuery__ObjectType type) {
  switch (type) {
    case PG_QUERY__OBJECT_TYPE__OBJECT_TABLE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_SEQUENCE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_VIEW:
    case PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW:
    case PG_QUERY__OBJECT_TYPE__OBJECT_INDEX:
    case PG_QUERY__OBJECT_TYPE__OBJECT_FOREIGN_TABLE: return Places::Named::relations;
    case PG_QUERY__OBJECT_TYPE__OBJECT_TRIGGER:
    case PG_QUERY__OBJECT_TYPE__OBJECT_RULE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_POLICY:
    case PG_QUERY__OBJECT_TYPE__OBJECT_TABCONSTRAINT: return Places::Named::behind_on;
    case PG_QUERY__OBJECT_TYPE__OBJECT_FUNCTION:
    case PG_QUERY__OBJECT_TYPE__OBJECT_PROCEDURE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_ROUTINE:
    case PG_QUERY__OBJECT_TYPE__OBJECT_AGGREGATE: return Places::Named::functions;
    default: return Places::Named::other;
  }
}

void note_drop(const PgQuery__RawStmt& statement, std::size_t text_end, Places& places) {
  const auto& node = *statement.stmt;
  auto named = Places::Named::other;
  if (node.node_case == PG_QUERY__NODE__NODE_DROP_STMT) named = named_by(node.drop_stmt->remove_type);
  if (node.node_case == PG_QUERY__NODE__NODE_COMMENT_STMT) named = named_by(node.comment_stmt->objtype);
  if (named == Places::Named::other) return;
  const auto start = static_cast<std::size_t>(std::max(statement.stmt_location, 0));
  const auto length = static_cast<std::size_t>(std::max(statement.stmt_len, 0));
  places.drops.push_back({start, length == 0 ? text_end : start + length, named});
}

}  // namespace

Places::Named Places::dropped_at(std::size_t place) const noexcept {
  for (const auto& statement : drops) {
    if (place >= statement.start && place < statement.end) return statement.named;
  }
  return Named::other;
}

std::optional<Places> places_of(const std::string& text) {
  if (!safe_to_parse(text)) return std::nullopt;
  const auto parsed = pg_query_parse_protobuf(text.c_str());
  std::optional<Places> places;
  if (parsed.error == nullptr) {
    auto* tree = pg_query__parse_result__unpack(nullptr, parsed.parse_tree.len,
                                                reinterpret_cast<const std::uint8_t*>(parsed.parse_tree.data));
    if (tree != nullptr) {
      places.emplace();
      for (std::size_t i = 0; i < tree->n_stmts; ++i) {
        if (tree->stmts[i]->stmt == nullptr) continue;
        Collector{*places}.over(*tree->stmts[i]->stmt);
        note_drop(*tree->stmts[i], text.size(), *places);
      }
      pg_query__parse_result__free_unpacked(tree, nullptr);
    }
  }
  pg_query_free_protobuf_parse_result(parsed);
  return places;
}

}  // namespace pgjanus
