-- A number that changes when something changes that capture_state.sql shows: counts and row versions of triggers,
-- relations, trees, schemas, our functions and the list. age() as in ddl_probe.sql.
SELECT concat_ws(' ',
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * (oid::bigint % 100003))) FROM pg_trigger WHERE NOT tgisinternal),
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * (oid::bigint % 100003))) FROM pg_class WHERE relkind IN ('r', 'p')),
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * (inhrelid::bigint % 100003))) FROM pg_inherits),
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * (oid::bigint % 100003))) FROM pg_namespace),
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * (oid::bigint % 100003))) FROM pg_proc
   WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pgjanus')),
  (SELECT concat(count(*), ':', sum((age(xmin) - age('100'::xid))::bigint * id)) FROM pgjanus.tables))
