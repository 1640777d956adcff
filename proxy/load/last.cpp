// What comes when all tables are mirrored: foreign keys, and what is left of the schema.

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

struct ForeignKey {
  std::string schema, table, name, definition;
  bool partitioned = false, validated = true;
  std::vector<std::string> leaves;  // Of a partitioned one, for SQL.
  [[nodiscard]] std::string sql_table() const { return pg::qualified(schema, table); }
};

asio::awaitable<std::vector<ForeignKey>> read_foreign_keys(pg::Connection& primary) {
  const auto rows = co_await primary.run(
      "SELECT n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid), c.relkind = 'p', "
      "k.convalidated, (WITH RECURSIVE tree AS (SELECT c.oid AS oid UNION ALL SELECT i.inhrelid "
      "FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid) "
      "SELECT array_agg(quote_ident(ln.nspname) || '.' || quote_ident(l.relname)) FROM tree t "
      "JOIN pg_class l ON l.oid = t.oid JOIN pg_namespace ln ON ln.oid = l.relnamespace "
      "WHERE l.relkind = 'r') "
      "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
      "JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname NOT IN ('pgjanus', 'pg_catalog', "
      "'information_schema') ORDER BY k.oid");
  std::vector<ForeignKey> keys;
  for (int row = 0; row < rows.size(); ++row) {
    ForeignKey key{rows.str(row, 0),
                   rows.str(row, 1),
                   rows.str(row, 2),
                   rows.str(row, 3),
                   rows.boolean(row, 4),
                   rows.boolean(row, 5),
                   {}};
    constexpr std::string_view not_valid = " NOT VALID";
    if (key.definition.ends_with(not_valid)) {
      key.definition.resize(key.definition.size() - not_valid.size());
    }
    if (key.partitioned && !rows.null(row, 6)) {
      for (auto& leaf : pg::parse_array(rows.text(row, 6))) key.leaves.push_back(leaf.value_or(""));
    }
    keys.push_back(std::move(key));
  }
  co_return keys;
}

/// Adds one constraint without looking at rows, unless it is there. The lock limit is short: the
/// mirror loop writes these tables, and waits behind us.
asio::awaitable<void> add_not_valid(pg::Connection& mirror, const std::string& table,
                                    const ForeignKey& key) {
  const auto there = co_await mirror.run(
      "SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = to_regclass($1) AND conname = "
      "$2",
      pg::params(table, key.name));
  if (!there.empty()) co_return;
  co_await mirror.run("BEGIN; SET LOCAL lock_timeout = '1s'; ALTER TABLE ONLY " + table +
                      " ADD CONSTRAINT " + pg::quote_name(key.name) + " " + key.definition +
                      " NOT VALID; COMMIT");
}

asio::awaitable<void> validate(pg::Connection& mirror, const std::string& table,
                               const std::string& name) {
  co_await mirror.run("ALTER TABLE " + table + " VALIDATE CONSTRAINT " + pg::quote_name(name),
                      work_limit);
}

/// A partitioned table takes no NOT VALID one. Its partitions do: with one on each that is valid,
/// the root's finds them and looks at no row (tablecmds.c, tryAttachPartitionForeignKey).
asio::awaitable<void> add_partitioned(pg::Connection& mirror, const ForeignKey& key) {
  const auto table = key.sql_table();
  const auto there = co_await mirror.run(
      "SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = to_regclass($1) AND conname = "
      "$2",
      pg::params(table, key.name));
  if (!there.empty()) co_return;
  for (const auto& leaf : key.leaves) {
    co_await add_not_valid(mirror, leaf, key);
    co_await validate(mirror, leaf, key.name);
  }
  co_await mirror.run("BEGIN; SET LOCAL lock_timeout = '1s'; ALTER TABLE " + table +
                          " ADD CONSTRAINT " + pg::quote_name(key.name) + " " + key.definition +
                          "; COMMIT",
                      work_limit);
}

}  // namespace

// Foreign keys hold at every boundary, so that they may be validated at any moment once all tables
// are mirrored: the mirror's committed states are states of the primary.
asio::awaitable<void> Loader::Impl::foreign_keys(Pair& pair) {
  auto& mirror = *pair.mirror;
  auto keys = co_await read_foreign_keys(*pair.primary);
  const auto rewriter = catalog_rewriter();
  std::vector<Validation> validations;
  for (auto& key : keys) {
    const bool one_side = differences.partitioned.contains(differences.names.of(primary_side, {key.schema, key.table}));
    adapt(key.schema, key.table, key.definition, rewriter);
    if (one_side) {
      key.partitioned = primary_side == Side::source;
      key.leaves.clear();
    }
    state.step = "foreign key " + key.name + " of " + key.schema + "." + key.table;
    report();
    if (!replica_role) {
      // They would act on the mirror's statements: kept until this side is the primary.
      KeptConstraint kept{key.schema, key.table, key.name, key.definition, key.validated};
      co_await keep_constraint(mirror, "foreign key", std::move(kept));
      continue;
    }
    std::optional<pg::Error> failure;
    try {
      if (key.partitioned) {
        co_await add_partitioned(mirror, key);
      } else {
        co_await add_not_valid(mirror, key.sql_table(), key);
        if (key.validated) {
          if (validations.empty() || validations.back().sql_table != key.sql_table()) {
            validations.push_back({key.schema + "." + key.table, key.sql_table(), {}});
          }
          validations.back().names.push_back(key.name);
        }
      }
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (!failure) continue;
    // 23503: rows violate it on the primary too (written with triggers off), or the tables that it
    // joins are not both mirrored. 42P01: one of them is not on the mirror.
    // Otherwise: what it refers to is not unique on a mirror that was made so.
    const bool made_so = differences.any() && (failure->is("42830") || failure->is("0A000") || failure->is("42703"));
    if (!failure->is("23503") && !failure->is("42P01") && !made_so) throw *failure;
    if (mirror.in_transaction()) co_await mirror.run("ROLLBACK");
    warn_of_key(key.schema + "." + key.table, key.name, *failure);
  }
  co_await validate_keys(std::move(validations));
}

void Loader::Impl::warn_of_key(const std::string& table, const std::string& name,
                               const pg::Error& failure) {
  const auto warning = "foreign key " + name + " of " + table +
                       " is not valid on the mirror: " + failure.message;
  if (std::find(state.warnings.begin(), state.warnings.end(), warning) == state.warnings.end()) {
    state.warnings.push_back(warning);
  }
  log_event(LogLevel::warn, "load_foreign_key_not_valid",
            {{"table", table}, {"constraint", name}, {"error", failure.message}});
}

// Tables side by side, each on a connection of its own; the keys of one wait for each other's lock.
asio::awaitable<void> Loader::Impl::validate_keys(std::vector<Validation> validations) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer finished{executor, asio::steady_timer::time_point::max()};
  const auto count = std::min<std::size_t>(validations.size(), pace.workers());
  std::size_t alive = count;
  std::exception_ptr broken;
  // The handlers refer to this frame.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  for (std::size_t i = 0; i < count; ++i) {
    asio::co_spawn(executor, validate_some(validations), [&](std::exception_ptr failure) {
      if (failure) broken = failure;
      if (--alive == 0) finished.cancel();
    });
  }
  while (alive > 0) co_await finished.async_wait(asio::as_tuple(asio::use_awaitable));
  if (broken) std::rethrow_exception(broken);
}

asio::awaitable<void> Loader::Impl::validate_some(std::vector<Validation>& open_ones) {
  if (open_ones.empty()) co_return;
  Pair pair;
  const Listed listed{pairs, pair};
  pair.mirror = co_await open(other(primary_side));
  while (!open_ones.empty() && !stopping) {
    const auto next = std::move(open_ones.back());
    open_ones.pop_back();
    for (const auto& name : next.names) {
      const auto step = "foreign key " + name + " of " + next.table;
      state.step = step;
      report();
      std::optional<pg::Error> failure;
      try {
        co_await stand(*pair.mirror, ways_of_step[step]);
        co_await validate(*pair.mirror, next.sql_table, name);
      } catch (const pg::Error& error) {
        failure = error;
      }
      if (!failure) continue;
      state.step = step;  // Others have said theirs.
      if (!failure->is("23503")) throw *failure;  // As in foreign_keys().
      warn_of_key(next.table, name, *failure);
    }
  }
}

// A CHECK of the post-data section is NOT VALID: rows may break it, and the mirror must take them,
// now and whenever it reads a table anew. Domains' are only asked when a value is made.
asio::awaitable<void> Loader::Impl::invalid_checks(Pair& pair) {
  const auto rows = co_await pair.primary->run(
      "SELECT n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k "
      "JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE k.contype = 'c' AND NOT k.convalidated AND k.coninhcount = 0");
  const auto rewriter = catalog_rewriter();
  for (int row = 0; row < rows.size(); ++row) {
    KeptConstraint kept{rows.str(row, 0), rows.str(row, 1), rows.str(row, 2), rows.str(row, 3),
                        false};
    adapt(kept.schema, kept.table, kept.definition, rewriter);
    co_await keep_constraint(*pair.mirror, "check", std::move(kept));
  }
}

asio::awaitable<bool> Loader::Impl::all_mirrored(Pair& pair) {
  const auto rows = co_await pair.mirror->run(
      "SELECT count(*) FROM pgjanus.tables WHERE NOT (state = 'mirrored' AND "
      "boundary IS NULL) AND state <> 'excluded'");
  co_return rows.integer(0, 0) == 0;
}

// The tables of this run, until the loop has stored that they are mirrored.
asio::awaitable<void> Loader::Impl::wait_mirrored(Pair& pair) {
  std::string ids = "{";
  for (const auto& table : tables) {
    if (ids.size() > 1) ids += ',';
    ids += std::to_string(table.info.id);
  }
  ids += '}';
  for (;;) {
    require_running();
    const auto rows = co_await pair.mirror->run(
        "SELECT schema_name || '.' || table_name, state, coalesce(error, '') FROM pgjanus.tables "
        "WHERE id = ANY ($1::int[]) AND NOT (state = 'mirrored' AND boundary IS NULL) ORDER BY id",
        pg::params(ids));
    if (rows.empty()) break;
    for (int row = 0; row < rows.size(); ++row) {
      if (rows.text(row, 1) != "error" && rows.text(row, 1) != "capture_lost") continue;
      pg::Error error{"table " + rows.str(row, 0) + " is " + rows.str(row, 1) + ": " +
                      rows.str(row, 2)};
      error.message = error.what();
      error.sqlstate = table_left_behind;
      throw error;
    }
    state.waiting = "the mirror to catch up with " + rows.str(0, 0) +
                    (rows.size() > 1 ? " and " + std::to_string(rows.size() - 1) + " more" : "");
    report();
    co_await pause(std::chrono::milliseconds{100});
  }
  state.waiting.clear();
}

asio::awaitable<void> Loader::Impl::last(Pair& pair) {
  const bool all = co_await all_mirrored(pair);
  if (!all) co_return;  // A load of some tables only: the rest comes with the last of them.
  // Anew: what was made on the primary while the load ran is in it.
  co_await read_entries(pair);
  co_await foreign_keys(pair);
  co_await invalid_checks(pair);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    require_running();
    const auto& entry = entries[i];
    const bool of_table = owners.contains({entry.schema, entry.name});
    if (entry.type == "FK CONSTRAINT" || (entry.type == "CHECK CONSTRAINT" && of_table)) continue;
    if (steps_done.contains(entry.step())) continue;
    co_await stand(*pair.mirror, ways_of_step[entry.display()]);
    co_await run_entry(*pair.mirror, i);
    report();
  }
}

}  // namespace pgjanus
