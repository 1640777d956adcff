-- Of each table of the CTE `listed`, no more than comparing its rows needs: names, kind, the last ANALYZE's pages, names of
-- the key, and of each column name, type, type without modifiers (NULL: the same), NOT NULL. A fifth of describe_tables.sql's
-- cost, where thousands are compared again and again.
, all_columns AS (
  SELECT a.attrelid AS oid, json_agg(json_build_array(
    a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.atttypmod >= 0 THEN format_type(a.atttypid, -1) END, a.attnotnull)
    ORDER BY a.attnum) AS list
  FROM listed l JOIN pg_attribute a ON a.attrelid = l.oid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname::text <> ALL (l.own_columns)
  GROUP BY a.attrelid
)
SELECT l.id, coalesce(c.oid::bigint, 0), l.schema, l.name, l.called_schema, l.called_name, coalesce(c.relkind, 'r'),
       greatest(c.relpages, 0), coalesce(array_to_json(l.key_columns), '[]'), coalesce(a.list, '[]')
FROM listed l
LEFT JOIN pg_class c ON c.oid = l.oid
LEFT JOIN all_columns a ON a.oid = l.oid
ORDER BY l.id
