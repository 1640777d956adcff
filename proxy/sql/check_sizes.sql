-- How much a load has to bring: tables, bytes of their rows (with TOAST), bytes with indexes, the
-- three largest as text, and of the largest plain one: name, bytes of its rows, pages.
-- The functions for sizes wait for ACCESS EXCLUSIVE locks: the caller sets a lock limit.
WITH app_table AS MATERIALIZED (
  SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name, n.nspname || '.' || c.relname AS shown,
         pg_table_size(c.oid) AS rows, pg_total_relation_size(c.oid) AS total, pg_relation_size(c.oid) AS main
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.objsubid = 0 AND d.deptype = 'e')
), largest AS (
  SELECT * FROM app_table WHERE relkind = 'r' ORDER BY main DESC, oid LIMIT 1
)
SELECT (SELECT count(*) FROM app_table), (SELECT coalesce(sum(rows), 0)::bigint FROM app_table),
  (SELECT coalesce(sum(total), 0)::bigint FROM app_table),
  (SELECT string_agg(shown || ' ' || pg_size_pretty(total), ', ' ORDER BY total DESC) FROM
     (SELECT shown, total FROM app_table ORDER BY total DESC LIMIT 3) l),
  l.name, l.rows, l.main / current_setting('block_size')::bigint
FROM (SELECT) one LEFT JOIN largest l ON true
