-- The tables that pgjanus.tables lists, found by what this side calls them; oid NULL for one that is gone,
-- or has become a partition of another. (Databases that an older version prepared have no local names: a name
-- that the table lacks is looked up one level above, and is NULL there. to_jsonb() would do, at 20 µs a table.)
SELECT c.oid, t.id, t.schema, t.name, t.called_schema, t.called_name, t.key_columns,
       ARRAY(SELECT o.own FROM unnest(t.own) o (own) WHERE o.own <> ALL (t.columns)) AS own_columns
FROM (SELECT NULL::text AS local_schema, NULL::text AS local_name, NULL::text[] AS own_columns) absent
CROSS JOIN LATERAL (
  SELECT s.id, coalesce(local_schema, s.schema_name) AS schema, coalesce(local_name, s.table_name) AS name,
         s.schema_name AS called_schema, s.table_name AS called_name, s.key_columns, s.columns, own_columns AS own
  FROM pgjanus.tables s
) t
LEFT JOIN pg_namespace n ON n.nspname = t.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
