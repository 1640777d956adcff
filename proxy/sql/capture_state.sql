-- Every relation of the given tables (ids, schemas, names) as it is now, and the triggers of ours on
-- it. Reads catalogs only: no lock of the app's can hold it up.
WITH RECURSIVE wanted AS (
  SELECT w.id, c.oid, c.relkind
  FROM unnest($1::integer[], $2::text[], $3::text[]) w (id, schema_name, table_name)
  JOIN pg_namespace n ON n.nspname = w.schema_name
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
), members AS (
  SELECT w.id, w.oid, 0 AS depth FROM wanted w
  UNION ALL
  SELECT m.id, i.inhrelid, m.depth + 1
  FROM members m JOIN pg_inherits i ON i.inhparent = m.oid
  JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
), ours AS MATERIALIZED (
  SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'pgjanus'
), elsewhere AS MATERIALIZED (  -- Few, and none where all tables are asked for.
  SELECT t.tgrelid AS oid, t.tgfoid FROM pg_trigger t
  WHERE NOT t.tgisinternal AND t.tgrelid NOT IN (SELECT m.oid FROM members m)
), functions AS MATERIALIZED (  -- By their names, so that of thousands only those asked for are looked at.
  SELECT i.id, p.oid
  FROM unnest($1::integer[]) i (id) CROSS JOIN unnest('{insert,update,delete,truncate}'::text[]) e (event)
  JOIN pg_proc p ON p.proname = 'capture_' || i.id || '_' || e.event AND p.pronamespace = (SELECT o.oid FROM ours o)
), named AS (  -- A name that the table of an older version lacks is NULL one level above.
  SELECT k.schema, k.name FROM (SELECT NULL::text AS local_schema, NULL::text AS local_name) absent
  CROSS JOIN LATERAL (SELECT coalesce(local_schema, t.schema_name) AS schema, coalesce(local_name, t.table_name) AS name
                      FROM pgjanus.tables t) k
), stray AS (
  SELECT DISTINCT f.id, e.oid, 1000 AS depth
  FROM elsewhere e
  JOIN functions f ON f.oid = e.tgfoid
  JOIN pg_class c ON c.oid = e.oid AND NOT c.relispartition
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE NOT EXISTS (SELECT FROM named t  -- Another's now: looked at with that one.
                    WHERE t.schema = n.nspname AND t.name = c.relname)
), inheriting AS (
  SELECT DISTINCT x.oid
  FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid AND NOT k.relispartition AND k.relkind IN ('r', 'p')
  CROSS JOIN LATERAL (VALUES (i.inhrelid), (i.inhparent)) x (oid)
)
SELECT m.id, n.nspname, c.relname, i.oid IS NOT NULL AS inheritance, c.relkind,
  m.depth > 0 OR c.relkind = 'p' AS in_tree, m.depth = 1000 AS stray,
  -- By the table's own triggers, not joined with those of all: no estimate can go wrong here.
  coalesce((SELECT json_agg(json_build_object('name', t.tgname, 'function', p.proname, 'type', t.tgtype, 'enabled', t.tgenabled,
      'old', t.tgoldtable, 'new', t.tgnewtable, 'arguments', t.tgnargs,
      'narrowed', t.tgqual IS NOT NULL OR t.tgattr <> '') ORDER BY t.tgname)
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = m.oid AND p.pronamespace = (SELECT o.oid FROM ours o)), '[]') AS triggers
FROM (SELECT * FROM members UNION ALL SELECT * FROM stray) m
JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN inheriting i ON i.oid = m.oid
WHERE c.relkind IN ('r', 'p')
ORDER BY m.id, m.depth, n.nspname, c.relname
