-- What one side's database and session are like: one row. Compared by proxy/check.
SELECT current_setting('server_encoding') AS encoding, d.datcollate, d.datctype,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
         - (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL) AS free_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name NOT LIKE 'pgjanus%') AS app_connections,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
       coalesce(inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1', true) AS is_local,
       pg_backend_pid() AS pid, current_user AS role, current_database() AS database
FROM pg_database d WHERE d.datname = current_database()
