-- Every relation of the given tables (ids, schemas, names) as it is now, and the triggers of ours on
-- it. Reads catalogs only: no lock of the app's can hold it up.
WITH RECURSIVE wanted AS (
  SELECT w.id, c.oid, c.relkind
  FROM unnest($1::integer[], $2::text[], $3::text[]) w (id, schema_name, table_name)
  JOIN pg_namespace n ON n.nspname = w.schema_name
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name AND c.relkind IN ('r', 'p')
), members AS (
  SELECT w.id, w.oid, 0 AS depth FROM wanted w
  UNION ALL
  SELECT m.id, i.inhrelid, m.depth + 1
  FROM members m JOIN pg_inherits i ON i.inhparent = m.oid
  JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
)
SELECT m.id, n.nspname, c.relname,
  EXISTS (SELECT FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid
          WHERE m.oid IN (i.inhrelid, i.inhparent) AND NOT k.relispartition
            AND k.relkind IN ('r', 'p')) AS inheritance,
  c.relkind, m.depth > 0 OR c.relkind = 'p' AS in_tree,
  coalesce((
    SELECT jsonb_agg(jsonb_build_object(
      'name', t.tgname, 'function', p.proname, 'type', t.tgtype, 'enabled', t.tgenabled,
      'old', t.tgoldtable, 'new', t.tgnewtable, 'narrowed', t.tgqual IS NOT NULL OR t.tgattr <> ''))
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    JOIN pg_namespace pn ON pn.oid = p.pronamespace
    WHERE t.tgrelid = m.oid AND pn.nspname = 'pgjanus'), '[]') AS triggers
FROM members m JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
ORDER BY m.id, m.depth, n.nspname, c.relname
