-- A number that changes when something changes that capture_state.sql shows: counts and row versions of triggers,
-- relations, trees, schemas, our functions and the list. age() as in ddl_probe.sql.
SELECT concat_ws(' ',
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)))
   FROM pg_trigger WHERE NOT tgisinternal),
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)))
   FROM pg_class WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND oid >= 16384),
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (inhrelid::bigint % 100003 + 1))) FROM pg_inherits),
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)))
   FROM pg_namespace WHERE nspname !~ '^pg_'),
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)))
   FROM pg_proc WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pgjanus')),
  (SELECT concat(count(*), ':', sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * id)) FROM pgjanus.tables))
