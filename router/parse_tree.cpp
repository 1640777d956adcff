#include "router/parse_tree.hpp"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <cstddef>
#include <memory_resource>

namespace pgjanus {

namespace {

/// Unpacked messages live until the arena goes; protobuf-c frees nothing one by one.
class Arena {
 public:
  ProtobufCAllocator* allocator() noexcept { return &allocator_; }

 private:
  static void* allocate(void* self, std::size_t size) {
    return static_cast<Arena*>(self)->memory_.allocate(size, alignof(std::max_align_t));
  }
  static void release(void*, void*) {}

  alignas(std::max_align_t) std::byte first_[16 * 1024];
  std::pmr::monotonic_buffer_resource memory_{first_, sizeof first_};
  ProtobufCAllocator allocator_{allocate, release, this};
};

// --- How deep can the tree be? ------------------------------------------------------------------

/// An upper bound of the parse tree's depth, from the tokens alone. Each level of the tree takes a
/// token of its own, and siblings in a list are parted by a comma or semicolon; only set
/// operations, joins and BEGIN ATOMIC nest across commas, so those are counted for a whole level.
class DepthBound {
 public:
  void feed(PgQuery__Token token) {
    switch (token) {
      case PG_QUERY__TOKEN__SQL_COMMENT:
      case PG_QUERY__TOKEN__C_COMMENT: return;
      case PG_QUERY__TOKEN__ASCII_40:
      case PG_QUERY__TOKEN__ASCII_91:
        levels_.push_back({});
        deepest_ = std::max(deepest_, levels_.size());
        return;
      case PG_QUERY__TOKEN__ASCII_41:
      case PG_QUERY__TOKEN__ASCII_93:
        if (levels_.size() > 1) close();
        return;
      case PG_QUERY__TOKEN__ASCII_44:
      case PG_QUERY__TOKEN__ASCII_59: levels_.back().end_of_item(); return;
      case PG_QUERY__TOKEN__UNION:
      case PG_QUERY__TOKEN__INTERSECT:
      case PG_QUERY__TOKEN__EXCEPT:
      case PG_QUERY__TOKEN__JOIN:
      case PG_QUERY__TOKEN__ATOMIC: ++levels_.back().across; return;
      default: ++levels_.back().tokens;
    }
  }
  std::size_t result() {
    while (levels_.size() > 1) close();
    return std::max(levels_.back().height(), deepest_);
  }

 private:
  struct Level {
    std::size_t tokens = 0, inner = 0;  // Of the present item.
    std::size_t highest = 0;            // Of the items before.
    std::size_t across = 0;
    [[nodiscard]] std::size_t height() const {
      return std::max(highest, tokens + inner) + across + 1;
    }
    void end_of_item() {
      highest = std::max(highest, tokens + inner);
      tokens = inner = 0;
    }
  };
  void close() {
    const auto height = levels_.back().height();
    levels_.pop_back();
    levels_.back().inner = std::max(levels_.back().inner, height);
  }

  std::vector<Level> levels_{1};
  std::size_t deepest_ = 1;
};

bool too_deep(const std::string& text) {
  // A level of the tree takes at least one byte.
  if (text.size() <= parse_depth_max) return false;
  const auto scan = pg_query_scan(text.c_str());
  bool deep = true;
  if (scan.error == nullptr) {
    Arena arena;
    const auto* tokens = pg_query__scan_result__unpack(
        arena.allocator(), scan.pbuf.len, reinterpret_cast<const std::uint8_t*>(scan.pbuf.data));
    if (tokens != nullptr) {
      DepthBound bound;
      for (std::size_t i = 0; i < tokens->n_tokens; ++i) bound.feed(tokens->tokens[i]->token);
      deep = bound.result() > parse_depth_max;
    }
  }
  pg_query_free_scan_result(scan);
  return deep;
}

// --- What stands in it? -------------------------------------------------------------------------

StatementType type_of_transaction(const PgQuery__TransactionStmt& statement) {
  switch (statement.kind) {
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START: return StatementType::begin;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK:
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE: return StatementType::finish;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT_PREPARED:
      return StatementType::change;  // Makes the rows of another transaction visible.
    default: return StatementType::inside;
  }
}

StatementType type_of(const PgQuery__Node& node) {
  switch (node.node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT: return StatementType::select;
    case PG_QUERY__NODE__NODE_INSERT_STMT:
    case PG_QUERY__NODE__NODE_UPDATE_STMT:
    case PG_QUERY__NODE__NODE_DELETE_STMT:
    case PG_QUERY__NODE__NODE_MERGE_STMT:
    case PG_QUERY__NODE__NODE_TRUNCATE_STMT: return StatementType::change;
    case PG_QUERY__NODE__NODE_COPY_STMT:
      return node.copy_stmt->is_from ? StatementType::change : StatementType::utility;
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT: return type_of_transaction(*node.transaction_stmt);
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT:
      return node.variable_set_stmt->is_local ? StatementType::inside : StatementType::set;
    case PG_QUERY__NODE__NODE_LOCK_STMT:
    case PG_QUERY__NODE__NODE_FETCH_STMT:
    case PG_QUERY__NODE__NODE_NOTIFY_STMT:
    case PG_QUERY__NODE__NODE_CONSTRAINTS_SET_STMT: return StatementType::inside;
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
    case PG_QUERY__NODE__NODE_LISTEN_STMT:
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT:
    case PG_QUERY__NODE__NODE_PREPARE_STMT:
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
    case PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT:
    case PG_QUERY__NODE__NODE_DO_STMT:
    case PG_QUERY__NODE__NODE_CALL_STMT:
    case PG_QUERY__NODE__NODE_LOAD_STMT: return StatementType::set;
    case PG_QUERY__NODE__NODE_EXECUTE_STMT: return StatementType::execute;
    case PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT:
    case PG_QUERY__NODE__NODE_VACUUM_STMT:
    case PG_QUERY__NODE__NODE_CHECK_POINT_STMT:
    case PG_QUERY__NODE__NODE_CLUSTER_STMT:
    case PG_QUERY__NODE__NODE_REINDEX_STMT: return StatementType::utility;
    case PG_QUERY__NODE__NODE_DROP_STMT:
    case PG_QUERY__NODE__NODE_DROP_OWNED_STMT: return StatementType::drop;
    default: return StatementType::create;
  }
}

/// The last name of a qualified one.
std::string_view last_name(const PgQuery__Node* const* names, std::size_t count) {
  if (count == 0) return {};
  const auto& last = *names[count - 1];
  if (last.node_case != PG_QUERY__NODE__NODE_STRING) return {};
  return last.string->sval;
}

bool system_column(std::string_view name) {
  return name == "ctid" || name == "xmin" || name == "xmax" || name == "cmin" || name == "cmax" ||
         name == "tableoid";
}

/// Collects the facts of one statement. An explicit stack, since the tree may be deep.
class Walk {
 public:
  explicit Walk(StatementFacts& facts) : facts_{facts} {}

  /// False when the statement is larger than we care to look at.
  bool over(const PgQuery__Node& top) {
    push(&top.base);
    std::size_t budget = nodes_max;
    while (!stack_.empty()) {
      if (budget-- == 0) return false;
      const auto* message = stack_.back();
      stack_.pop_back();
      if (message->descriptor == &pg_query__node__descriptor) {
        visit_node(*reinterpret_cast<const PgQuery__Node*>(message));
      } else {
        visit(*message);
        push_children(*message);
      }
    }
    return true;
  }

 private:
  // 64 KiB of text make at most as many tokens, each worth a few messages.
  static constexpr std::size_t nodes_max = 400'000;

  void push(const ProtobufCMessage* message) {
    if (message != nullptr) stack_.push_back(message);
  }

  void visit_node(const PgQuery__Node& node) {
    switch (node.node_case) {
      case PG_QUERY__NODE__NODE__NOT_SET:
      case PG_QUERY__NODE__NODE_INTEGER:
      case PG_QUERY__NODE__NODE_FLOAT:
      case PG_QUERY__NODE__NODE_BOOLEAN:
      case PG_QUERY__NODE__NODE_BIT_STRING:
        return;  // No message is behind some of these, or nothing of interest.
      default:
        // Every member of the union is a pointer to a message.
        push(&node.alias->base);
    }
  }

  void push_children(const ProtobufCMessage& message) {
    const auto* bytes = reinterpret_cast<const char*>(&message);
    for (unsigned i = 0; i < message.descriptor->n_fields; ++i) {
      const auto& field = message.descriptor->fields[i];
      if (field.type != PROTOBUF_C_TYPE_MESSAGE) continue;
      const auto* member = bytes + field.offset;
      if (field.label == PROTOBUF_C_LABEL_REPEATED) {
        const auto count = *reinterpret_cast<const std::size_t*>(bytes + field.quantifier_offset);
        const auto* const* list = *reinterpret_cast<const ProtobufCMessage* const* const*>(member);
        for (std::size_t k = 0; k < count; ++k) push(list[k]);
        continue;
      }
      if ((field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
          *reinterpret_cast<const std::uint32_t*>(bytes + field.quantifier_offset) != field.id) {
        continue;
      }
      push(*reinterpret_cast<const ProtobufCMessage* const*>(member));
    }
  }

  void visit(const ProtobufCMessage& message) {
    const auto* kind = message.descriptor;
    if (kind == &pg_query__func_call__descriptor) {
      const auto& call = reinterpret_cast<const PgQuery__FuncCall&>(message);
      facts_.functions.emplace_back(last_name(call.funcname, call.n_funcname));
    } else if (kind == &pg_query__range_var__descriptor) {
      visit_relation(reinterpret_cast<const PgQuery__RangeVar&>(message));
    } else if (kind == &pg_query__a__expr__descriptor) {
      const auto& expression = reinterpret_cast<const PgQuery__AExpr&>(message);
      facts_.operators.emplace_back(last_name(expression.name, expression.n_name));
    } else if (kind == &pg_query__sub_link__descriptor) {
      const auto& link = reinterpret_cast<const PgQuery__SubLink&>(message);
      if (link.n_oper_name > 0) {
        facts_.operators.emplace_back(last_name(link.oper_name, link.n_oper_name));
      }
    } else if (kind == &pg_query__sort_by__descriptor) {
      const auto& sort = reinterpret_cast<const PgQuery__SortBy&>(message);
      if (sort.n_use_op > 0) facts_.operators.emplace_back(last_name(sort.use_op, sort.n_use_op));
    } else if (kind == &pg_query__column_ref__descriptor) {
      const auto& column = reinterpret_cast<const PgQuery__ColumnRef&>(message);
      if (system_column(last_name(column.fields, column.n_fields))) facts_.own_server = true;
    } else if (kind == &pg_query__type_name__descriptor) {
      const auto& type = reinterpret_cast<const PgQuery__TypeName&>(message);
      if (last_name(type.names, type.n_names).starts_with("reg")) facts_.own_server = true;
    } else if (kind == &pg_query__common_table_expr__descriptor) {
      const auto& table = reinterpret_cast<const PgQuery__CommonTableExpr&>(message);
      facts_.common_tables.emplace_back(table.ctename);
    } else if (kind == &pg_query__locking_clause__descriptor) {
      facts_.locks_rows = true;
    } else if (kind == &pg_query__into_clause__descriptor) {
      facts_.creates_relation = true;
    } else if (kind == &pg_query__insert_stmt__descriptor ||
               kind == &pg_query__update_stmt__descriptor ||
               kind == &pg_query__delete_stmt__descriptor ||
               kind == &pg_query__merge_stmt__descriptor) {
      facts_.changes_inside = true;
    } else if (kind == &pg_query__string__descriptor) {
      // CREATE FUNCTION pg_temp.f() and the like carry their schema as a bare string.
      const auto& name = reinterpret_cast<const PgQuery__String&>(message);
      if (std::string_view{name.sval}.starts_with("pg_temp")) facts_.temporary = true;
    }
  }

  void visit_relation(const PgQuery__RangeVar& relation) {
    const std::string_view schema{relation.schemaname};
    if (std::string_view{relation.relpersistence} == "t" || schema.starts_with("pg_temp")) {
      facts_.temporary = true;
    }
    facts_.relations.push_back({relation.schemaname, relation.relname});
  }

  StatementFacts& facts_;
  std::vector<const ProtobufCMessage*> stack_;
};

std::optional<StatementFacts> facts_of(const PgQuery__Node& statement) {
  StatementFacts facts;
  const auto* top = &statement;
  if (top->node_case == PG_QUERY__NODE__NODE_EXPLAIN_STMT) {
    const auto& explain = *top->explain_stmt;
    facts.explain = true;
    for (std::size_t i = 0; i < explain.n_options; ++i) {
      const auto& option = *explain.options[i];
      if (option.node_case == PG_QUERY__NODE__NODE_DEF_ELEM &&
          std::string_view{option.def_elem->defname} == "analyze") {
        facts.analyze = true;  // Perhaps `analyze off`: not worth a look.
      }
    }
    top = explain.query;
    if (top == nullptr) return std::nullopt;
  }
  facts.type = type_of(*top);
  facts.calls = top->node_case == PG_QUERY__NODE__NODE_DO_STMT || top->node_case == PG_QUERY__NODE__NODE_CALL_STMT;
  Walk walk{facts};
  if (!walk.over(*top)) return std::nullopt;
  return facts;
}

}  // namespace

bool long_operator_run(std::string_view text) {
  constexpr std::string_view operator_characters = "+-*/<>=~!@#%^&|`?";
  std::size_t run = 0;
  for (const char c : text) {
    run = operator_characters.find(c) == std::string_view::npos ? 0 : run + 1;
    if (run > operator_run_max) return true;
  }
  return false;
}

bool safe_to_parse(const std::string& text) { return !long_operator_run(text) && !too_deep(text); }

std::optional<std::vector<StatementFacts>> parse_statements(std::string_view text) {
  const std::string terminated{text};
  if (!safe_to_parse(terminated)) return std::nullopt;
  const auto parsed = pg_query_parse_protobuf(terminated.c_str());
  std::optional<std::vector<StatementFacts>> statements;
  if (parsed.error == nullptr) {
    Arena arena;
    const auto* tree = pg_query__parse_result__unpack(
        arena.allocator(), parsed.parse_tree.len,
        reinterpret_cast<const std::uint8_t*>(parsed.parse_tree.data));
    if (tree != nullptr) {
      statements.emplace();
      for (std::size_t i = 0; statements && i < tree->n_stmts; ++i) {
        const auto* node = tree->stmts[i]->stmt;
        auto facts = node == nullptr ? std::nullopt : facts_of(*node);
        if (facts) {
          statements->push_back(std::move(*facts));
        } else {
          statements.reset();
        }
      }
    }
  }
  pg_query_free_protobuf_parse_result(parsed);
  return statements;
}

}  // namespace pgjanus
