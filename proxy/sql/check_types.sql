-- What the columns of the app's tables are made of: (kind, name, detail). kind t: a type of the system,
-- as SQL names it; b: a base type of somebody's own, which pg_dump writes as C functions; c: a collation
-- that is not the database's, with its provider and the version of its rules.
WITH app_column AS (
  SELECT a.atttypid, a.attcollation
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
), used AS (
  SELECT DISTINCT coalesce(nullif(t.typelem, 0), t.oid) AS oid FROM app_column a JOIN pg_type t ON t.oid = a.atttypid
)
SELECT 't', format_type(t.oid, NULL), ''
FROM used u JOIN pg_type t ON t.oid = u.oid WHERE t.typnamespace = 'pg_catalog'::regnamespace
UNION ALL
SELECT 'b', n.nspname || '.' || t.typname, pg_get_userbyid(t.typowner)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'b' AND t.typelem = 0 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT DISTINCT 'c', quote_ident(n.nspname) || '.' || quote_ident(co.collname),
       coalesce(pg_collation_actual_version(co.oid), '')
FROM app_column a JOIN pg_collation co ON co.oid = a.attcollation JOIN pg_namespace n ON n.oid = co.collnamespace
WHERE n.nspname = 'pg_catalog' AND co.collname NOT IN ('default', 'C', 'POSIX')
ORDER BY 1, 2
