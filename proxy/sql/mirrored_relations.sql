-- What the mirror has row for row, as oids of this side: the listed tables and their partitions.
-- Not a table of which some legacy child is not mirrored: its rows appear in the parent's.
WITH RECURSIVE mirrored AS (
  SELECT c.oid
  FROM (SELECT NULL::text AS local_schema, NULL::text AS local_name) absent  -- As in listed_stored.sql.
  CROSS JOIN LATERAL (SELECT coalesce(local_schema, s.schema_name) AS schema, coalesce(local_name, s.table_name) AS name
                      FROM pgjanus.tables s) t
  JOIN pg_namespace n ON n.nspname = t.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
  UNION SELECT i.inhrelid FROM mirrored m JOIN pg_inherits i ON i.inhparent = m.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT coalesce(array_agg(m.oid), '{}')::text FROM mirrored m
WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = m.oid
                  AND i.inhrelid NOT IN (SELECT oid FROM mirrored))
