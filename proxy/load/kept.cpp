// What must not act while this side is the mirror: noted in pgjanus.kept, and given back by the
// promotion (pgjanus.restore_kept).

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace load {

asio::awaitable<void> keep_constraint(pg::Connection& mirror, std::string kind,
                                      KeptConstraint constraint) {
  const std::string validated = constraint.validated ? "t" : "f";
  co_await mirror.run(
      "INSERT INTO pgjanus.kept (kind, schema_name, table_name, name, definition) VALUES "
      "($1, $2, $3, $4, jsonb_build_object('definition', $5::text, 'validated', $6::boolean)) "
      "ON CONFLICT DO NOTHING",
      pg::params(kind, constraint.schema, constraint.table, constraint.name, constraint.definition,
                 validated));
}

}  // namespace load

// Triggers and rules of the app must not act on rows that come from the primary: its own triggers did there.
// Where the mirror's transactions are marked `replica`, only those do that ask for it; else all.
// Disabled in the transaction that made them.
asio::awaitable<void> Loader::Impl::keep_triggers(pg::Connection& mirror, const Entry& entry) {
  const std::string modes = replica_role ? "IN ('A', 'R')" : "<> 'D'";
  const auto there = entry.on_mirror();
  const bool rules = entry.type == "RULE";
  const std::string kind = rules ? "rule" : "trigger";
  const std::string things =
      rules ? "(SELECT ev_class AS relation, rulename AS name, ev_enabled AS enabled FROM pg_rewrite)"
            : "(SELECT tgrelid AS relation, tgname AS name, tgenabled AS enabled FROM pg_trigger "
              "WHERE NOT tgisinternal)";
  const auto made = co_await mirror.run(
      "SELECT c.relname, t.name, t.enabled FROM " + things + " t JOIN pg_class c ON c.oid = "
      "t.relation JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
      "n.nspname = $1 AND translate(c.relname || ' ' || t.name, E'\\n\\r', '  ') = $2 "
      "AND c.relkind IN ('r', 'p') AND t.enabled " +
          modes,
      pg::params(there.first, there.second));
  for (int row = 0; row < made.size(); ++row) {
    co_await mirror.run(
        "INSERT INTO pgjanus.kept (kind, schema_name, table_name, name, definition) VALUES "
        "($5, $1, $2, $3, jsonb_build_object('enabled', $4::text)) ON CONFLICT DO NOTHING",
        pg::params(there.first, made.str(row, 0), made.str(row, 1), made.str(row, 2), kind));
    co_await mirror.run("ALTER TABLE ONLY " + pg::qualified(there.first, made.text(row, 0)) +
                        " DISABLE " + kind + " " + pg::quote_name(made.text(row, 1)));
  }
}

// A CHECK that held on the primary when its row came need not hold now (NOT VALID, time-dependent).
// The mirror takes rows as they are: the constraint leaves, and comes back NOT VALID.
asio::awaitable<bool> Loader::Impl::keep_check(Pair& pair, const pg::Error& error) {
  if (error.constraint.empty() || error.table.empty()) co_return false;
  auto& mirror = *pair.mirror;
  try {
    if (mirror.in_transaction()) co_await mirror.run("ROLLBACK");
    pair.primary.reset();
    // Up to the relation that has the constraint of its own and not from a parent.
    const auto found = co_await mirror.run(
        "WITH RECURSIVE up AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 "
        "UNION SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid) "
        "SELECT n.nspname, c.relname, pg_get_constraintdef(k.oid), k.convalidated FROM up "
        "JOIN pg_constraint k ON k.conrelid = up.oid JOIN pg_class c ON c.oid = up.oid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE k.contype = 'c' AND k.conname = $3 AND k.coninhcount = 0 LIMIT 1",
        pg::params(error.schema, error.table, error.constraint));
    if (found.empty()) co_return false;
    KeptConstraint constraint{found.str(0, 0), found.str(0, 1), error.constraint, found.str(0, 2),
                              found.boolean(0, 3)};
    const auto table = pg::qualified(constraint.schema, constraint.table);
    const auto name = constraint.schema + "." + constraint.table;
    co_await mirror.run("BEGIN; SET LOCAL lock_timeout = '60s'");
    co_await keep_constraint(mirror, "check", std::move(constraint));
    co_await mirror.run("ALTER TABLE " + table + " DROP CONSTRAINT " +
                            pg::quote_name(error.constraint) + "; COMMIT",
                        pg::Duration{120'000});
    state.warnings.push_back("CHECK " + error.constraint + " of " + name +
                             " does not hold for old rows: it is left out of the mirror and comes "
                             "back NOT VALID when that becomes the primary");
    log_event(LogLevel::warn, "load_check_left_out",
              {{"table", name}, {"constraint", error.constraint}});
    co_return true;
  } catch (const pg::Error& failure) {
    log_event(LogLevel::warn, "load_check_not_left_out",
              {{"constraint", error.constraint}, {"error", failure.what()}});
    co_return false;
  }
}

}  // namespace pgjanus
