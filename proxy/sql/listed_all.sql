-- The tables that could be mirrored: what describe_tables.sql then looks at.
SELECT c.oid, 0 AS id, n.nspname AS schema, c.relname AS name, n.nspname AS called_schema,
       c.relname AS called_name, NULL::text[] AS key_columns, '{}'::text[] AS own_columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.objsubid = 0 AND d.deptype = 'e')
