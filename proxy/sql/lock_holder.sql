-- Who holds a lock on relation $1 that keeps a DDL step waiting: the strongest mode first, then the
-- oldest transaction. Columns that this role may not see are NULL.
SELECT l.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
       coalesce(round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared)))::text, ''),
       coalesce(p.gid, ''), l.mode, coalesce(a.backend_type, '')
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND p.transaction::text = split_part(l.virtualtransaction, '/', 2)
WHERE l.locktype = 'relation' AND l.relation = to_regclass($1)::oid AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY l.mode IN ('AccessShareLock', 'RowShareLock'), coalesce(a.xact_start, p.prepared) NULLS LAST
LIMIT 1
