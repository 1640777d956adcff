-- The tables that pgjanus.tables lists, found by name; oid NULL for one that is gone, or
-- has become a partition of another.
SELECT c.oid, t.id, t.schema_name AS schema, t.table_name AS name, t.key_columns
FROM pgjanus.tables t
LEFT JOIN pg_namespace n ON n.nspname = t.schema_name
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
