-- The tables that pgjanus.tables lists, found by what this side calls them; oid NULL for one that is gone,
-- or has become a partition of another. (By to_jsonb(), as databases that an older version prepared have
-- no local names.)
SELECT c.oid, t.id, l.schema, l.name, t.schema_name AS called_schema, t.table_name AS called_name, t.key_columns,
       ARRAY(SELECT o.own FROM jsonb_array_elements_text(to_jsonb(t) -> 'own_columns') o (own)
             WHERE o.own <> ALL (t.columns)) AS own_columns
FROM pgjanus.tables t
CROSS JOIN LATERAL (SELECT coalesce(to_jsonb(t) ->> 'local_schema', t.schema_name) AS schema,
                           coalesce(to_jsonb(t) ->> 'local_name', t.table_name) AS name) l
LEFT JOIN pg_namespace n ON n.nspname = l.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = l.name AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
