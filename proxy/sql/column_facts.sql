-- Columns of the app's tables, partitions left out: what decides whether a table that stands on the target
-- already can take the source's rows, and the sequence that belongs to each.
SELECT n.nspname, c.relname, a.attname, a.attnotnull OR ty.typnotnull,
       a.atthasdef OR a.attidentity <> '' OR ty.typdefault IS NOT NULL, a.attgenerated <> '',
       coalesce(sn.nspname, ''), coalesce(s.relname, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type ty ON ty.oid = a.atttypid
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
  AND EXISTS (SELECT FROM pg_class q WHERE q.oid = d.objid AND q.relkind = 'S')
LEFT JOIN pg_class s ON s.oid = d.objid LEFT JOIN pg_namespace sn ON sn.oid = s.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
ORDER BY 1, 2, a.attnum
