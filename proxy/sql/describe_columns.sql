-- As describe_tables.sql, but no more of a listed table than comparing its rows needs: names, kind, columns and the
-- key's names. A third of the cost, where thousands are compared again and again. Pages are the last ANALYZE's.
, all_columns AS (
  SELECT a.attrelid AS oid, json_agg(json_build_object(
    'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'plain_type', format_type(a.atttypid, -1),
    'has_array_type', false, 'not_null', a.attnotnull, 'identity_always', false, 'base', 0, 'kind', 'b') ORDER BY a.attnum) AS list
  FROM listed l JOIN pg_attribute a ON a.attrelid = l.oid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname::text <> ALL (l.own_columns)
  GROUP BY a.attrelid
)
SELECT json_build_object(
  'id', l.id, 'oid', coalesce(c.oid::bigint, 0), 'schema', l.schema, 'name', l.name,
  'called_schema', l.called_schema, 'called_name', l.called_name, 'key_indexed', false,
  'kind', coalesce(c.relkind, 'r'), 'unlogged', false, 'inheritance', false, 'key_deferrable', false, 'other_unique', false,
  'columns', coalesce(a.list, '[]'),
  'key', coalesce((SELECT json_agg(json_build_object('name', k.name, 'equals', '', 'collate', '') ORDER BY k.position)
                   FROM unnest(l.key_columns) WITH ORDINALITY k (name, position)), '[]'),
  'relations', CASE WHEN c.oid IS NULL THEN '[]' ELSE json_build_array(json_build_object(
    'oid', c.oid::bigint, 'schema', l.schema, 'name', l.name, 'kind', c.relkind, 'pages', greatest(c.relpages, 0))) END)
FROM listed l
LEFT JOIN pg_class c ON c.oid = l.oid
LEFT JOIN all_columns a ON a.oid = l.oid
ORDER BY l.id
