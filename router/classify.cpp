#include "router/classify.hpp"

#include <algorithm>
#include <array>

#include "router/parse_tree.hpp"

namespace pgjanus {

namespace {

template <std::size_t size>
bool one_of(const std::array<std::string_view, size>& sorted, std::string_view name) {
  return std::binary_search(sorted.begin(), sorted.end(), name);
}

/// STABLE or IMMUTABLE functions whose answers only mean something to the server that gave them.
/// inet_server_port() and its kin are not among them: who asks where he reads is told the truth.
constexpr std::array<std::string_view, 27> server_functions{"currtid2",
                                                            "pg_backend_pid",
                                                            "pg_blocking_pids",
                                                            "pg_current_logfile",
                                                            "pg_current_snapshot",
                                                            "pg_current_wal_lsn",
                                                            "pg_current_xact_id_if_assigned",
                                                            "pg_is_in_recovery",
                                                            "pg_last_wal_replay_lsn",
                                                            "pg_listening_channels",
                                                            "pg_my_temp_schema",
                                                            "pg_notification_queue_usage",
                                                            "pg_relation_filenode",
                                                            "pg_relation_filepath",
                                                            "pg_snapshot_xip",
                                                            "pg_visible_in_snapshot",
                                                            "pg_xact_status",
                                                            "to_regclass",
                                                            "to_regnamespace",
                                                            "to_regoper",
                                                            "to_regproc",
                                                            "to_regrole",
                                                            "to_regtype",
                                                            "txid_current_if_assigned",
                                                            "txid_current_snapshot",
                                                            "txid_status",
                                                            "txid_visible_in_snapshot"};

/// VOLATILE functions of Postgres that leave the session's state as it is.
constexpr std::array<std::string_view, 27> harmless_functions{"clock_timestamp",
                                                              "currval",
                                                              "gen_random_bytes",
                                                              "gen_random_uuid",
                                                              "gen_salt",
                                                              "lastval",
                                                              "nextval",
                                                              "pg_advisory_xact_lock",
                                                              "pg_advisory_xact_lock_shared",
                                                              "pg_cancel_backend",
                                                              "pg_current_xact_id",
                                                              "pg_notify",
                                                              "pg_sleep",
                                                              "pg_sleep_for",
                                                              "pg_sleep_until",
                                                              "pg_terminate_backend",
                                                              "pg_try_advisory_xact_lock",
                                                              "pg_try_advisory_xact_lock_shared",
                                                              "random",
                                                              "setval",
                                                              "timeofday",
                                                              "txid_current",
                                                              "uuid_generate_v1",
                                                              "uuid_generate_v1mc",
                                                              "uuid_generate_v3",
                                                              "uuid_generate_v4",
                                                              "uuid_generate_v5"};

static_assert(std::is_sorted(server_functions.begin(), server_functions.end()));
static_assert(std::is_sorted(harmless_functions.begin(), harmless_functions.end()));

bool is_common_table(const RelationName& relation, const StatementFacts& facts) {
  return relation.schema.empty() && std::find(facts.common_tables.begin(), facts.common_tables.end(),
                                              relation.name) != facts.common_tables.end();
}

bool relation_leaves_session(const RelationName& relation, const StatementFacts& facts, const Catalog& catalog) {
  const bool plain = catalog.plain_relations.contains(relation.name);
  const bool writes = facts.changes_inside || facts.type == StatementType::change;
  if (catalog.loud_relations.contains(relation.name)) return plain && !writes;
  // One that is not known was made since the catalog was read.
  return plain || catalog.opaque_relations.contains(relation.name) || is_common_table(relation, facts);
}

/// Whether all that this statement runs, named in it or not, leaves the session's state as it is.
bool leaves_session(const StatementFacts& facts, const Catalog& catalog) {
  const auto& functions = facts.functions;
  const auto& operators = facts.operators;
  const auto& relations = facts.relations;
  return std::all_of(functions.begin(), functions.end(),
                     [&](const auto& name) {
                       return one_of(harmless_functions, name) || catalog.safe_functions.contains(name);
                     }) &&
         std::none_of(operators.begin(), operators.end(),
                      [&](const auto& name) { return catalog.volatile_operators.contains(name); }) &&
         std::all_of(relations.begin(), relations.end(), [&](const auto& relation) {
           return relation_leaves_session(relation, facts, catalog);
         });
}

bool safe_relation(const RelationName& relation, const StatementFacts& facts,
                   const Catalog& catalog) {
  if (catalog.opaque_relations.contains(relation.name)) return false;
  // Catalogs hold OIDs, which are each server's own: a driver must not look up its types there.
  if (relation.schema == "pg_catalog" || relation.schema == "information_schema" ||
      relation.name.starts_with("pg_")) {
    return false;
  }
  if (catalog.plain_relations.contains(relation.name)) return true;
  // Unknown to the catalog, so a reference to it is to the WITH query of that name.
  return is_common_table(relation, facts);
}

bool only_reads(const StatementFacts& facts, const Catalog& catalog) {
  if (facts.locks_rows || facts.creates_relation || facts.changes_inside || facts.temporary ||
      facts.own_server || facts.analyze) {
    return false;
  }
  const bool functions =
      std::all_of(facts.functions.begin(), facts.functions.end(), [&catalog](const auto& name) {
        return catalog.safe_functions.contains(name) && !one_of(server_functions, name);
      });
  const bool relations =
      std::all_of(facts.relations.begin(), facts.relations.end(),
                  [&](const auto& relation) { return safe_relation(relation, facts, catalog); });
  // DISTINCT, ORDER BY, USING, BETWEEN and IN call these without naming them.
  constexpr std::array<std::string_view, 6> implied{"=", "<>", "<", "<=", ">", ">="};
  const auto is_volatile = [&catalog](const auto& name) {
    return !catalog.volatile_operators.empty() &&
           catalog.volatile_operators.contains(std::string{name});
  };
  return functions && relations &&
         std::none_of(facts.operators.begin(), facts.operators.end(), is_volatile) &&
         std::none_of(implied.begin(), implied.end(), is_volatile);
}

StatementClass judge_select(const StatementFacts& facts, const Catalog& catalog) {
  if (only_reads(facts, catalog)) return {StatementKind::read, false};
  const bool touches = !leaves_session(facts, catalog);
  if (facts.creates_relation) {
    if (facts.temporary) return {StatementKind::session, true};
    return {StatementKind::ddl, true};
  }
  if (facts.changes_inside) return {StatementKind::write, touches};
  return {StatementKind::other, touches};
}

StatementClass judge_kind(const StatementFacts& facts, const Catalog& catalog) {
  const bool touches = !leaves_session(facts, catalog);
  if (facts.explain && !facts.analyze) {
    // Planning evaluates stable functions at most; what it explains does not run.
    if (facts.type == StatementType::select) return judge_select(facts, catalog);
    return {StatementKind::other, touches || facts.type == StatementType::execute};
  }
  switch (facts.type) {
    case StatementType::select: return judge_select(facts, catalog);
    case StatementType::change: return {StatementKind::write, touches};
    case StatementType::begin: return {StatementKind::begin, false};
    case StatementType::finish: return {StatementKind::finish, false};
    case StatementType::inside:
    case StatementType::utility: return {StatementKind::other, touches};
    case StatementType::set: return {StatementKind::session, true};
    case StatementType::execute: return {StatementKind::other, true};
    case StatementType::create:
      if (facts.temporary) return {StatementKind::session, true};
      return {StatementKind::ddl, true};  // Event triggers; rare enough not to look for them.
    case StatementType::drop: return {StatementKind::ddl, true};
  }
  return {};
}

StatementClass judge(const StatementFacts& facts, const Catalog& catalog) {
  auto all = judge_kind(facts, catalog);
  all.defines = all.kind == StatementKind::ddl || facts.calls;
  return all;
}

/// How much can go wrong when a statement of this kind is taken for a lesser one.
int danger(StatementKind kind) noexcept {
  switch (kind) {
    case StatementKind::empty: return 0;
    case StatementKind::read: return 1;
    case StatementKind::write: return 2;
    case StatementKind::ddl: return 3;
    case StatementKind::session: return 4;
    // Among several statements these split the text into transactions: nothing to build on.
    case StatementKind::begin:
    case StatementKind::finish:
    case StatementKind::other: return 5;
  }
  return 5;
}

}  // namespace

std::span<const std::string_view> harmless_function_names() noexcept { return harmless_functions; }

std::string_view to_string(StatementKind kind) noexcept {
  switch (kind) {
    case StatementKind::read: return "read";
    case StatementKind::begin: return "begin";
    case StatementKind::finish: return "finish";
    case StatementKind::write: return "write";
    case StatementKind::session: return "session";
    case StatementKind::ddl: return "ddl";
    case StatementKind::other: return "other";
    case StatementKind::empty: return "empty";
  }
  return {};
}

bool may_define(std::string_view text) noexcept {
  constexpr std::array<std::string_view, 9> words{"create", "alter", "drop", "comment", "import",
                                                  "reassign", "do", "call", "security"};
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  for (std::size_t at = 0; at < text.size();) {
    if (!letter(text[at])) {
      ++at;
      continue;
    }
    auto end = at;
    std::array<char, 8> word{};
    for (; end < text.size() && letter(text[end]); ++end) {
      if (end - at < word.size()) word[end - at] = static_cast<char>(text[end] | 0x20);
    }
    const std::string_view lower{word.data(), std::min(end - at, word.size())};
    if (end - at <= word.size() && std::find(words.begin(), words.end(), lower) != words.end()) return true;
    at = end;
  }
  return false;
}

StatementClass classify(std::string_view text, const Catalog& catalog) {
  const StatementClass unknown{StatementKind::other, true, true};
  if (text.size() > classify_bytes_max || text.find('\0') != std::string_view::npos) {
    auto unread = unknown;
    unread.defines = may_define(text);
    return unread;
  }
  const auto statements = parse_statements(text);
  if (!statements) return unknown;
  if (statements->empty()) return {StatementKind::empty, false, false, false};
  if (statements->size() == 1) return judge(statements->front(), catalog);
  StatementClass all{StatementKind::empty, false, true, false};
  for (const auto& statement : *statements) {
    const auto one = judge(statement, catalog);
    if (danger(one.kind) > danger(all.kind)) all.kind = one.kind;
    all.touches_session |= one.touches_session;
    all.defines |= one.defines;
  }
  if (danger(all.kind) == danger(StatementKind::other)) all.kind = StatementKind::other;
  return all;
}

}  // namespace pgjanus
