-- One JSON document a table of the CTE `listed` (listed_*.sql). Takes no lock that an ACCESS
-- EXCLUSIVE lock of the app could hold up: hence pg_inherits and not pg_partition_tree(), and no
-- pg_relation_size() of a table that is locked or about to be.
, locked AS MATERIALIZED (
  SELECT DISTINCT relation FROM pg_locks
  WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), tree AS (
  WITH RECURSIVE members AS (
    SELECT l.oid AS root, l.oid, 0 AS depth FROM listed l WHERE l.oid IS NOT NULL
    UNION ALL
    SELECT m.root, i.inhrelid, m.depth + 1
    FROM members m JOIN pg_inherits i ON i.inhparent = m.oid
    JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
  ) SELECT * FROM members
), base_type AS (
  WITH RECURSIVE chain AS (
    SELECT ty.oid, ty.oid AS base, ty.typtype, ty.typbasetype FROM pg_type ty
    UNION ALL
    SELECT chain.oid, ty.oid, ty.typtype, ty.typbasetype
    FROM chain JOIN pg_type ty ON ty.oid = chain.typbasetype WHERE chain.typtype = 'd'
  ) SELECT * FROM chain WHERE typtype <> 'd'
), key_index AS (
  -- A primary key, also a deferrable one; else the narrowest, oldest unique index that identifies
  -- every row at every moment. With columns agreed on before (stored), one over just these.
  SELECT DISTINCT ON (i.indrelid) i.indrelid, i.indexrelid, i.indimmediate, i.indnkeyatts
  FROM listed l JOIN pg_index i ON i.indrelid = l.oid
  CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text) AS names, bool_and(a.attnotnull AND a.attgenerated = '') AS usable
    FROM generate_series(0, i.indnkeyatts - 1) p
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p]
  ) k
  WHERE i.indisunique AND NOT i.indisexclusion AND i.indisvalid AND i.indislive AND i.indpred IS NULL AND i.indexprs IS NULL
    AND (i.indisprimary OR i.indimmediate) AND k.usable
    -- As one CASE the planner takes it for half of the rows, not for next to none, after which it joins
    -- thousands of tables with each other row by row.
    AND CASE WHEN l.key_columns IS NULL THEN true ELSE l.key_columns @> k.names AND l.key_columns <@ k.names END
  ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid
), key_column AS (
  -- (root, position, attribute, operator class or 0)
  SELECT k.indrelid AS oid, p AS position, i.indkey[p] AS attnum, i.indclass[p] AS opclass
  FROM key_index k JOIN pg_index i USING (indexrelid)
  JOIN listed l ON l.oid = k.indrelid, generate_series(0, k.indnkeyatts - 1) p
  WHERE l.key_columns IS NULL
  UNION ALL
  SELECT l.oid, s.position::int - 1, a.attnum, i.indclass[array_position(i.indkey::int2[], a.attnum)]
  FROM listed l CROSS JOIN unnest(l.key_columns) WITH ORDINALITY s (name, position)
  JOIN pg_attribute a ON a.attrelid = l.oid AND a.attname = s.name AND NOT a.attisdropped
  LEFT JOIN key_index k ON k.indrelid = l.oid LEFT JOIN pg_index i ON i.indexrelid = k.indexrelid
), inheriting AS (
  SELECT DISTINCT x.oid
  FROM pg_inherits i JOIN pg_class m ON m.oid = i.inhrelid AND NOT m.relispartition AND m.relkind IN ('r', 'p')
  CROSS JOIN LATERAL (VALUES (i.inhrelid), (i.inhparent)) x (oid)
), uniques AS (
  SELECT t.root AS oid,
    bool_or(coalesce(pg_partition_root(i.indexrelid)::oid, i.indexrelid) IS DISTINCT FROM k.indexrelid) AS other
  FROM tree t JOIN pg_index i ON i.indrelid = t.oid AND (i.indisunique OR i.indisexclusion)
  LEFT JOIN key_index k ON k.indrelid = t.root
  GROUP BY t.root
), all_columns AS (
  SELECT a.attrelid AS oid, json_agg(json_build_object(
    'name', a.attname, 'number', a.attnum, 'type', format_type(a.atttypid, a.atttypmod),
    'plain_type', format_type(a.atttypid, -1),
    -- unnest() in FROM spreads a composite over several columns, and box[] has another delimiter:
    -- those travel as text.
    'has_array_type', base.typtype <> 'c' AND ty.typarray <> 0 AND ty.typdelim = ',',
    'not_null', a.attnotnull, 'identity_always', a.attidentity = 'a',
    'base', base.base::bigint, 'kind', base.typtype) ORDER BY a.attnum) AS list
  FROM listed l JOIN pg_attribute a ON a.attrelid = l.oid
  JOIN base_type base ON base.oid = a.atttypid JOIN pg_type ty ON ty.oid = a.atttypid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname::text <> ALL (l.own_columns)
    AND a.attname !~ '^pgjanus_gone_column_'  -- About to be dropped (proxy/ddl/aside.hpp).
  GROUP BY a.attrelid
), keys AS (
  SELECT k.oid, json_agg(json_build_object(
    'name', a.attname,
    'equals', 'OPERATOR(' || coalesce(
      (SELECT quote_ident(n.nspname) || '.' || o.oprname
       FROM pg_opclass oc JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily
       JOIN pg_operator o ON o.oid = ao.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
       WHERE oc.oid = k.opclass AND ao.amoplefttype = oc.opcintype
         AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3 LIMIT 1),
      (SELECT quote_ident(n.nspname) || '.' || o.oprname
       FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
       WHERE o.oprname = '=' AND o.oprleft = bt.base AND o.oprright = bt.base
       ORDER BY n.nspname = 'pg_catalog' DESC, o.oid LIMIT 1),
      'pg_catalog.=') || ')',
    'collate', CASE WHEN a.attcollation <> ty.typcollation THEN
      (SELECT ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(co.collname)
       FROM pg_collation co JOIN pg_namespace n ON n.oid = co.collnamespace
       WHERE co.oid = a.attcollation) ELSE '' END) ORDER BY k.position) AS list
  FROM key_column k JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum = k.attnum
  JOIN pg_type ty ON ty.oid = a.atttypid JOIN base_type bt ON bt.oid = a.atttypid
  GROUP BY k.oid
), relations AS (
  SELECT t.root AS oid, json_agg(json_build_object(
    'oid', rc.oid::bigint, 'schema', rn.nspname, 'name', rc.relname, 'kind', rc.relkind,
    'pages', CASE WHEN rc.relkind <> 'r' THEN 0
                  WHEN locked.relation IS NOT NULL THEN greatest(rc.relpages, 0)
                  ELSE coalesce(pg_relation_size(rc.oid), 0)
                       / current_setting('block_size')::bigint END)
    ORDER BY t.depth, rn.nspname, rc.relname) AS list
  FROM tree t JOIN pg_class rc ON rc.oid = t.oid JOIN pg_namespace rn ON rn.oid = rc.relnamespace
  LEFT JOIN locked ON locked.relation = rc.oid
  WHERE rc.relkind IN ('r', 'p')
  GROUP BY t.root
)
SELECT json_build_object(
  'id', l.id, 'oid', coalesce(c.oid::bigint, 0), 'schema', l.schema, 'name', l.name,
  'called_schema', l.called_schema, 'called_name', l.called_name, 'key_indexed', k.indexrelid IS NOT NULL,
  'kind', coalesce(c.relkind, 'r'), 'unlogged', coalesce(c.relpersistence = 'u', false),
  'inheritance', i.oid IS NOT NULL, 'key_deferrable', coalesce(NOT k.indimmediate, false),
  -- ON CONFLICT is refused where rules on INSERT or UPDATE stand, disabled ones too.
  'other_unique', coalesce(u.other, false) OR EXISTS (
    SELECT FROM pg_rewrite w WHERE w.ev_class = l.oid AND w.ev_type IN ('2', '3')),
  'columns', coalesce(a.list, '[]'),
  'key', coalesce(ks.list, '[]'), 'relations', coalesce(r.list, '[]'))
FROM listed l
LEFT JOIN pg_class c ON c.oid = l.oid
LEFT JOIN inheriting i ON i.oid = l.oid
LEFT JOIN key_index k ON k.indrelid = l.oid
LEFT JOIN uniques u ON u.oid = l.oid
LEFT JOIN all_columns a ON a.oid = l.oid
LEFT JOIN keys ks ON ks.oid = l.oid
LEFT JOIN relations r ON r.oid = l.oid
ORDER BY l.id, l.schema, l.name
