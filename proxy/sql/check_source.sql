-- What stands in the source's catalog that a migration trips over, as (id, level, subject, detail,
-- remedy); an id without a row passes. Reads catalogs only.
WITH app_schema AS (
  SELECT n.oid, n.nspname FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
), app_table AS (
  SELECT c.*, s.nspname, s.nspname || '.' || c.relname AS name
  FROM pg_class c JOIN app_schema s ON s.oid = c.relnamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.objsubid = 0 AND d.deptype = 'e')
)
SELECT 'subscriptions', 'fail', 'table ' || t.name,
       'rows applied by a logical-replication subscription fire no statement triggers',
       'end the subscription before the migration, or --exclude the table'
FROM pg_subscription_rel r JOIN app_table t ON t.oid = r.srrelid
UNION ALL
SELECT 'large_objects', 'warn', 'database ' || current_database(),
       count(*) || ' large objects: they are not mirrored', 'copy them yourself, before the cutover'
FROM pg_largeobject_metadata HAVING count(*) > 0
UNION ALL
SELECT 'unlogged_tables', 'warn', 'table ' || t.name,
       'unlogged: empty after a crash of the primary, and then loaded again', 'ALTER TABLE ' || t.oid::regclass || ' SET LOGGED, if it matters'
FROM app_table t WHERE t.relkind IN ('r', 'p') AND t.relpersistence = 'u'
UNION ALL
SELECT 'foreign_tables', 'warn', 'table ' || t.name, 'a foreign table: its definition is copied, its rows are elsewhere',
       'make sure that the target reaches its server'
FROM app_table t WHERE t.relkind = 'f'
UNION ALL
SELECT 'materialized_views', 'warn', 'materialized view ' || t.name,
       'refreshed on the target once it is loaded, not mirrored after that', 'REFRESH it after the cutover'
FROM app_table t WHERE t.relkind = 'm'
UNION ALL
SELECT 'row_security', 'fail', 'table ' || t.name,
       'row level security is forced on the owner: rows could be hidden from the mirror',
       'ALTER TABLE ' || t.oid::regclass || ' NO FORCE ROW LEVEL SECURITY, or connect as a role with BYPASSRLS'
FROM app_table t WHERE t.relkind IN ('r', 'p') AND t.relrowsecurity AND t.relforcerowsecurity
  AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
UNION ALL
SELECT 'rules', 'warn', 'table ' || t.name, 'has rules (' || string_agg(w.rulename, ', ') || '): disabled by name while this side is a mirror whose role may not set session_replication_role',
       'nothing; whoever lists rules there sees them disabled'
FROM app_table t JOIN pg_rewrite w ON w.ev_class = t.oid
WHERE t.relkind IN ('r', 'p') AND w.ev_enabled <> 'D' GROUP BY t.name
UNION ALL
SELECT 'event_triggers', 'warn', 'event trigger ' || e.evtname, 'may act on the DDL of pgjanus, and is not copied by a role that is no superuser',
       'create it on the target after the cutover, if it is yours'
FROM pg_event_trigger e WHERE e.evtenabled <> 'D'
UNION ALL
SELECT 'extension_tables', 'warn', 'table ' || c.oid::regclass::text, 'belongs to extension ' || x.extname || ', which keeps settings in it: its rows are not mirrored',
       'copy them yourself'
FROM pg_extension x CROSS JOIN LATERAL unnest(x.extconfig) f (oid) JOIN pg_class c ON c.oid = f.oid AND c.relkind = 'r'
WHERE c.reltuples > 0
UNION ALL
SELECT 'long_transactions', 'warn', 'pid ' || a.pid, format('%s (%s) is in a transaction for %s s', a.usename, a.application_name,
         round(extract(epoch FROM clock_timestamp() - a.xact_start))),
       'installing triggers waits for it where it wrote, and so does a flip'
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND a.xact_start < clock_timestamp() - interval '1 min'
UNION ALL
SELECT 'prepared_transactions', 'warn', 'prepared transaction ' || p.gid, format('prepared %s s ago by %s', round(extract(epoch FROM clock_timestamp() - p.prepared)), p.owner),
       'commit or roll it back: it holds its locks until then'
FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - interval '1 min'
ORDER BY 1, 3
