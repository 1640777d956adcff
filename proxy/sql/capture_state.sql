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
), ours AS (
  SELECT t.tgrelid, t.tgname, p.proname, substring(p.proname from '^capture_([0-9]+)_')::integer AS id,
    jsonb_build_object('name', t.tgname, 'function', p.proname, 'type', t.tgtype, 'enabled', t.tgenabled,
      'old', t.tgoldtable, 'new', t.tgnewtable, 'arguments', t.tgnargs,
      'narrowed', t.tgqual IS NOT NULL OR t.tgattr <> '') AS trigger
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
  JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = 'pgjanus'
  WHERE t.tgrelid IN (SELECT m.oid FROM members m)
     OR substring(p.proname from '^capture_([0-9]+)_')::integer = ANY($1::integer[])
), stray AS (
  SELECT DISTINCT o.id, o.tgrelid AS oid, 1000 AS depth
  FROM ours o
  JOIN pg_class c ON c.oid = o.tgrelid AND NOT c.relispartition
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN members m ON m.oid = o.tgrelid
  LEFT JOIN pgjanus.tables t  -- Another's now: looked at with that one.
    ON t.schema_name = n.nspname AND t.table_name = c.relname
  WHERE o.id = ANY($1::integer[]) AND m.oid IS NULL AND t.id IS NULL
), standing AS (
  SELECT o.tgrelid AS oid, jsonb_agg(o.trigger) AS triggers FROM ours o GROUP BY o.tgrelid
), inheriting AS (
  SELECT DISTINCT x.oid
  FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid AND NOT k.relispartition AND k.relkind IN ('r', 'p')
  CROSS JOIN LATERAL (VALUES (i.inhrelid), (i.inhparent)) x (oid)
)
SELECT m.id, n.nspname, c.relname, i.oid IS NOT NULL AS inheritance, c.relkind,
  m.depth > 0 OR c.relkind = 'p' AS in_tree, m.depth = 1000 AS stray,
  coalesce(s.triggers, '[]') AS triggers
FROM (SELECT * FROM members UNION ALL SELECT * FROM stray) m
JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN standing s ON s.oid = m.oid
LEFT JOIN inheriting i ON i.oid = m.oid
WHERE c.relkind IN ('r', 'p')
ORDER BY m.id, m.depth, n.nspname, c.relname
