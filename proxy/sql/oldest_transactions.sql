-- Transactions that a flip would wait for: open for long, ours left out.
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8, coalesce(state, '')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
  AND backend_type = 'client backend' AND application_name NOT LIKE 'pgjanus%'
ORDER BY xact_start LIMIT 20
