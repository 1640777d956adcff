-- The app's catalog as one row an object: kind, oid, sub, doc. What each field of doc means stands in
-- proxy/ddl/README.md. Identity is (kind, oid, sub), so that a rename is a rename; `state` holds
-- catalog contents by oid and position, so that what is renamed elsewhere does not count as a change.
-- Statements that bring an object about come along. Goes on in ddl_shape_end.sql. Plain reads of catalogs, under the caller's snapshot.
-- {touched} and {whole}: where only some relations are asked for, which, and false; true otherwise.
-- `pattern`: a quoted name as it stands in one of those statements that have names to be filled in.
WITH ns AS MATERIALIZED (
  SELECT n.oid, n.nspname, replace(quote_ident(n.nspname), '%', '%%') AS pattern FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
), member AS MATERIALIZED (  -- What an extension brings along comes with the extension.
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), rel AS MATERIALIZED (
  SELECT c.*, ns.nspname, format('%I.%I', ns.nspname, c.relname) AS full_name, ns.pattern AS schema_pattern,
    ns.pattern || '.' || replace(quote_ident(c.relname), '%', '%%') AS pattern,
    c.reloptions || (SELECT array_agg('toast.' || o) FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid) AS parameters
  FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c', 'f') AND {touched}
    AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
), sequence AS MATERIALIZED (
  SELECT r.oid, r.full_name, r.relname, s.*, d.refobjid AS owner, d.refobjsubid AS owner_column,
    coalesce(d.deptype = 'i', false) AS identity,
    format('INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s', s.seqincrement, s.seqmin,
           s.seqmax, s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS options
  FROM rel r JOIN pg_sequence s ON s.seqrelid = r.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
), attribute AS (
  -- `one`: without legacy children, as each has statements of its own; of partitions, which the mirror may have where
  -- the primary has none, Postgres refuses that.
  SELECT r.full_name, CASE WHEN r.relkind = 'r' AND r.relhassubclass THEN 'ONLY ' ELSE '' END || r.full_name AS one,
    r.pattern, r.relkind, r.relispartition, r.reloftype, a.*, a.xmin AS row_xmin,
    format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
      THEN (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname) FROM pg_collation co
            JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation) ELSE '' END AS type,
    t.typstorage, pg_get_expr(d.adbin, d.adrelid) AS expression, md5(d.adbin::text) AS adbin, d.oid AS default_oid,
    CASE WHEN a.attidentity <> '' THEN format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)',
      CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.full_name, s.options) END AS identity, s.oid AS identity_oid,
    s.full_name AS identity_name, quote_ident(s.relname) AS identity_bare,
    (SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o LIKE 'n\_distinct%') AS estimates,
    to_jsonb(a) ->> 'attcompression' AS compressed  -- Not before version 14.
  FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN sequence s ON s.owner = a.attrelid AND s.owner_column = a.attnum AND s.identity
  WHERE r.relkind IN ('r', 'p', 'c', 'v', 'm')
), defined AS MATERIALIZED (
  SELECT a.*, quote_ident(a.attname) || ' ' || a.type ||
    CASE WHEN a.attgenerated = 's' THEN ' GENERATED ALWAYS AS (' || a.expression || ') STORED' ELSE '' END AS definition,
    format('ALTER TABLE %s %sALTER COLUMN %I TYPE %s', a.full_name, CASE WHEN a.attgenerated = '' AND a.attidentity = ''
      THEN format('ALTER COLUMN %I DROP DEFAULT, ', a.attname) END, a.attname, a.type) AS retype,
    CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN '::' || format_type(a.atttypid, a.atttypmod) END AS cast
  FROM attribute a
), columns AS MATERIALIZED (
  SELECT a.attrelid,
    string_agg(a.definition, ', ' ORDER BY a.attnum) AS composite,
    string_agg(a.definition || coalesce(a.identity, '') || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', '
      ORDER BY a.attnum) FILTER (WHERE a.relispartition OR a.attislocal OR a.attinhcount = 0) AS list
  FROM defined a GROUP BY a.attrelid
), con AS (
  SELECT k.*, r.full_name, r.pattern, r.relkind, coalesce(h.inhparent, up.oid) AS above,
    format('ALTER TABLE %s%s', CASE WHEN r.relkind = 'p' AND k.contype IN ('p', 'u', 'x') THEN 'ONLY ' END, r.full_name) AS alter_table,
    -- What Postgres makes for a partition itself, or finds there: is it as it should be?
    CASE WHEN h.inhparent IS NOT NULL THEN format('SELECT pgjanus.place_index(%L, %L, %L, %L)', h.inhparent::regclass, r.full_name, k.conname,
        format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', r.full_name, k.conname, pg_get_constraintdef(k.oid)))
      WHEN up.oid IS NOT NULL THEN format('SELECT pgjanus.place_foreign_key(%L, %L, %L, %L)', up.conrelid::regclass, up.conname,
        r.full_name, k.conname) END AS place
  FROM pg_constraint k JOIN rel r ON r.oid = k.conrelid
  LEFT JOIN pg_inherits h ON h.inhrelid = k.conindid AND k.contype <> 'f'
  LEFT JOIN pg_constraint up ON up.oid = k.conparentid AND k.contype = 'f'
  LEFT JOIN pg_constraint top ON top.oid = up.conparentid
  WHERE k.contype IN ('c', 'u', 'p', 'f', 'x') AND r.relkind IN ('r', 'p')
    AND NOT (k.contype = 'c' AND k.coninhcount > 0 AND NOT k.conislocal)
    -- Those that a foreign key has for partitions of the table that it refers to are Postgres' own.
    AND (up.oid IS NULL OR (up.confrelid = k.confrelid AND up.conrelid <> k.conrelid AND coalesce(top.confrelid, k.confrelid) = k.confrelid))
), objects AS (
  SELECT 'schema' AS kind, ns.oid, 0::bigint AS sub, json_build_object(
    'name', ns.nspname, 'label', 'schema ' || ns.nspname,
    'create', format('CREATE SCHEMA %I', ns.nspname), 'drop', format('DROP SCHEMA IF EXISTS %I', ns.nspname),
    'rename', 'ALTER SCHEMA %s RENAME TO %s') AS doc
  FROM ns WHERE {whole}
  UNION ALL
  SELECT 'extension', e.oid, 0, json_build_object(
    'name', e.extname, 'label', 'extension ' || e.extname,
    'create', format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', e.extname, n.nspname),
    'drop', format('DROP EXTENSION IF EXISTS %I', e.extname),
    'props', json_build_object('version', json_build_object('v', e.extversion,
        'e', format('ALTER EXTENSION %I UPDATE TO %L', e.extname, e.extversion)),
      'schema', json_build_object('v', e.extnamespace::bigint,
        'e', format('SELECT pgjanus.place_extension(%L, %L)', e.extname, n.nspname))))
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' AND {whole}
  UNION ALL
  -- Types: enum, domain, range; a composite type is a relation.
  SELECT 'type', t.oid, 0, json_build_object(
    'name', t.typname, 'ns', t.typnamespace::bigint, 'label', 'type ' || format_type(t.oid, NULL),
    'rename', CASE t.typtype WHEN 'd' THEN 'ALTER DOMAIN ' ELSE 'ALTER TYPE ' END || ns.pattern || '.%s RENAME TO %s',
    'move', 'ALTER TYPE %s.%s SET SCHEMA %s',
    'drop', 'DROP TYPE IF EXISTS ' || format_type(t.oid, NULL),
    'create', CASE t.typtype
      WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', ns.nspname, t.typname, (SELECT
        string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
      WHEN 'd' THEN format('CREATE DOMAIN %I.%I AS %s%s', ns.nspname, t.typname,
        format_type(t.typbasetype, t.typtypmod), (SELECT CASE WHEN t.typcollation <> b.typcollation THEN
          (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname) FROM pg_collation co
           JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = t.typcollation) ELSE '' END
         FROM pg_type b WHERE b.oid = t.typbasetype))
      WHEN 'r' THEN (SELECT format('CREATE TYPE %I.%I AS RANGE (SUBTYPE = %s, SUBTYPE_OPCLASS = %I.%I%s%s%s%s)',
          ns.nspname, t.typname, format_type(g.rngsubtype, NULL), ocn.nspname, oc.opcname,
          CASE WHEN g.rngcollation <> 0 THEN (SELECT format(', COLLATION = %I.%I', cn.nspname, co.collname)
            FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = g.rngcollation) END,
          CASE WHEN g.rngsubdiff <> 0 THEN ', SUBTYPE_DIFF = ' || g.rngsubdiff::text END,
          CASE WHEN g.rngcanonical <> 0 THEN ', CANONICAL = ' || g.rngcanonical::text END,
          (SELECT format(', MULTIRANGE_TYPE_NAME = %I.%I', mn.nspname, m.typname) FROM pg_type m
           JOIN pg_namespace mn ON mn.oid = m.typnamespace WHERE m.oid = (to_jsonb(g) ->> 'rngmultitypid')::oid))
        FROM pg_range g JOIN pg_opclass oc ON oc.oid = g.rngsubopc
        JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace WHERE g.rngtypid = t.oid) END,
    'labels', CASE t.typtype WHEN 'e' THEN (SELECT json_agg(json_build_array(e.oid::bigint, e.enumlabel, e.xmin::text)
      ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END,
    'props', CASE t.typtype WHEN 'd' THEN json_build_object(
      'not_null', json_build_object('v', t.typnotnull, 'i', t.typnotnull,
        CASE WHEN t.typnotnull THEN 'l' ELSE 'e' END,
        format('ALTER DOMAIN %I.%I %s NOT NULL', ns.nspname, t.typname, CASE WHEN t.typnotnull THEN 'SET' ELSE 'DROP' END)),
      'default', json_build_object('v', md5(coalesce(t.typdefaultbin::text, '')), 'i', t.typdefault IS NOT NULL,
        'l', format('ALTER DOMAIN %I.%I %s', ns.nspname, t.typname, CASE WHEN t.typdefault IS NULL THEN 'DROP DEFAULT'
          ELSE 'SET DEFAULT ' || coalesce(pg_get_expr(t.typdefaultbin, 0), quote_literal(t.typdefault)) END))) END)
  FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
  WHERE {whole} AND t.typtype IN ('e', 'd', 'r') AND t.typrelid = 0
    AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
  UNION ALL
  SELECT 'constraint', k.oid, 0, json_build_object(
    'name', k.conname, 'on', t.oid::bigint, 'label', format('constraint %I of domain %I.%I', k.conname, ns.nspname, t.typname),
    'state', md5(k.conbin::text),
    'create', format('ALTER DOMAIN %I.%I ADD CONSTRAINT %I %s', ns.nspname, t.typname, k.conname, pg_get_constraintdef(k.oid)),
    'drop', format('ALTER DOMAIN %I.%I DROP CONSTRAINT IF EXISTS %I', ns.nspname, t.typname, k.conname),
    'rename', 'ALTER DOMAIN ' || ns.pattern || '.' || replace(quote_ident(t.typname), '%', '%%') || ' RENAME CONSTRAINT %s TO %s',
    'props', json_build_object('validated', json_build_object('v', k.convalidated,
      'l', format('ALTER DOMAIN %I.%I VALIDATE CONSTRAINT %I', ns.nspname, t.typname, k.conname))))
  FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN ns ON ns.oid = t.typnamespace
  WHERE {whole} AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
  UNION ALL
  -- Sequences; one of an identity column comes and goes with its column.
  SELECT 'sequence', s.oid, 0, json_build_object(
    'name', r.relname, 'ns', r.relnamespace::bigint, 'label', 'sequence ' || s.full_name, 'owned_by', coalesce(s.owner::bigint, 0),
    'create', CASE WHEN NOT s.identity THEN format('CREATE%s SEQUENCE %s AS %s %s', CASE r.relpersistence
      WHEN 'u' THEN ' UNLOGGED' ELSE '' END, s.full_name, format_type(s.seqtypid, NULL), s.options) ELSE '' END,
    'drop', CASE WHEN s.identity THEN '' ELSE 'DROP SEQUENCE IF EXISTS ' || s.full_name END,
    'rename', 'ALTER SEQUENCE ' || r.schema_pattern || '.%s RENAME TO %s',
    -- Once it belongs to another column, or to none, it neither goes nor moves with the one that it was of.
    'release', CASE WHEN NOT s.identity AND s.owner IS NOT NULL THEN format('ALTER SEQUENCE %s OWNED BY NONE', s.full_name) END,
    'move', CASE WHEN NOT s.identity THEN 'ALTER SEQUENCE %s.%s SET SCHEMA %s' END,
    'props', json_build_object(
      'options', json_build_object('v', format_type(s.seqtypid, NULL) || ' ' || s.options,
        -- LIKE gives an identity column a sequence of bigint, whatever the column's type is.
        'i', s.identity AND s.seqtypid <> (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = s.owner AND a.attnum = s.owner_column),
        'l', format('SELECT pgjanus.define_sequence(%L, %L, %L, %s, %s, %s, %s, %s, %L)', r.nspname, r.relname,
          format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, s.seqcycle)),
      'persistence', json_build_object('v', r.relpersistence, 'l', format('ALTER SEQUENCE %s SET %s', s.full_name,
        CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END)),
      'owner', json_build_object('v', CASE WHEN s.identity THEN '' ELSE concat(s.owner, ' ', s.owner_column) END,
        'i', s.owner IS NOT NULL AND NOT s.identity,
        'l', CASE WHEN NOT s.identity AND s.owner IS NOT NULL THEN format('SELECT pgjanus.link_sequence(%L::regclass, %L::regclass, %L)', s.full_name,
          o.full_name, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = s.owner AND a.attnum = s.owner_column)) END)))
  FROM sequence s JOIN rel r ON r.oid = s.oid LEFT JOIN rel o ON o.oid = s.owner
  UNION ALL
  -- Functions, procedures, aggregates.
  SELECT 'function', p.oid, 0, json_build_object(
    'name', p.proname, 'ns', p.pronamespace::bigint,
    -- Arguments are asked for again and again; of a function that is gone by now they are NULL, and so is all that says them.
    'label', format('function %I.%I', ns.nspname, p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')',
    'replace', true,
    'state', md5(concat((to_jsonb(p) - 'proacl' - 'proowner' - 'proname' - 'pronamespace' - 'oid')::text,
      (SELECT to_jsonb(g) FROM pg_aggregate g WHERE g.aggfnoid = p.oid))),
    'create', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE (
      SELECT format('CREATE %sAGGREGATE %I.%I(%s) (SFUNC = %s, STYPE = %s%s%s%s%s)',
        CASE WHEN current_setting('server_version_num')::int >= 120000 THEN 'OR REPLACE ' END, ns.nspname, p.proname,
        CASE WHEN p.pronargs = 0 THEN '*' ELSE pg_get_function_identity_arguments(p.oid) END, g.aggtransfn::regproc,
        format_type(g.aggtranstype, NULL), CASE WHEN g.aggfinalextra THEN ', FINALFUNC_EXTRA' END,
        CASE WHEN g.aggmfinalextra THEN ', MFINALFUNC_EXTRA' END, CASE WHEN g.aggkind = 'h' THEN ', HYPOTHETICAL' END,
        (SELECT string_agg(format(', %s = %s', o.name, o.value), '') FROM (VALUES
          ('SSPACE', nullif(g.aggtransspace, 0)::text), ('INITCOND', quote_literal(g.agginitval)),
          ('FINALFUNC', nullif(g.aggfinalfn::text, '-')), ('FINALFUNC_MODIFY', (CASE g.aggfinalmodify WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END)),
          ('COMBINEFUNC', nullif(g.aggcombinefn::text, '-')),
          ('SERIALFUNC', nullif(g.aggserialfn::text, '-')), ('DESERIALFUNC', nullif(g.aggdeserialfn::text, '-')),
          ('MSFUNC', nullif(g.aggmtransfn::text, '-')), ('MINVFUNC', nullif(g.aggminvtransfn::text, '-')),
          ('MSTYPE', CASE WHEN g.aggmtranstype <> 0 THEN format_type(g.aggmtranstype, NULL) END),
          ('MSSPACE', nullif(g.aggmtransspace, 0)::text), ('MINITCOND', quote_literal(g.aggminitval)),
          ('MFINALFUNC', nullif(g.aggmfinalfn::text, '-')),
          ('MFINALFUNC_MODIFY', CASE WHEN g.aggmtransfn <> 0 THEN (CASE g.aggmfinalmodify WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END) END),
          ('SORTOP', (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM pg_operator o
                      JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = g.aggsortop)),
          ('PARALLEL', CASE p.proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' END)) o(name, value) WHERE o.value IS NOT NULL))
      FROM pg_aggregate g WHERE g.aggfnoid = p.oid) END,
    'drop', format('DROP ROUTINE IF EXISTS %I.%I', ns.nspname, p.proname) || '(' || f.arguments || ')',
    'rename', 'ALTER ROUTINE ' || ns.pattern || '.%s(' || replace(f.arguments, '%', '%%') || ') RENAME TO %s',
    'move', 'ALTER ROUTINE %s.%s(' || replace(f.arguments, '%', '%%') || ') SET SCHEMA %s')
  FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
  -- ROUTINE knows no ORDER BY among arguments.
  CROSS JOIN LATERAL (SELECT CASE p.prokind WHEN 'a' THEN oidvectortypes(p.proargtypes)
                             ELSE pg_get_function_identity_arguments(p.oid) END AS arguments) f
  WHERE {whole} AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
    -- A range's constructors come with it.
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
  UNION ALL
  -- Tables and composite types, with their columns as of now.
  SELECT 'table', r.oid, 0, json_build_object(
    'name', r.relname, 'ns', r.relnamespace::bigint, 'relkind', r.relkind, 'file', r.relfilenode::bigint,
    'partition', r.relispartition, 'of_type', r.reloftype::bigint, 'row_type', r.reltype::bigint, 'places', r.relnatts, 'label', CASE r.relkind WHEN 'c' THEN 'type ' ELSE 'table ' END || r.full_name,
    'create', CASE r.relkind
      WHEN 'f' THEN NULL
      WHEN 'c' THEN format('CREATE TYPE %s AS (%s)', r.full_name, coalesce(l.composite, ''))
      ELSE format('CREATE %sTABLE %s (%s)%s%s%s%s', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, r.full_name,
        coalesce(l.list, ''),
        (SELECT format(' INHERITS (%s)', string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno))
         FROM pg_inherits i WHERE i.inhrelid = r.oid AND NOT r.relispartition HAVING count(*) > 0),
        CASE WHEN r.relkind = 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(r.oid) END,
        (SELECT format(' USING %I', am.amname) FROM pg_am am WHERE am.oid = r.relam AND am.amname <> 'heap'),
        CASE WHEN r.parameters <> '{}' THEN format(' WITH (%s)', array_to_string(r.parameters, ', ')) END) END,
    'drop', CASE r.relkind WHEN 'c' THEN 'DROP TYPE IF EXISTS ' ELSE 'DROP TABLE IF EXISTS ' END || r.full_name,
    'rename', CASE r.relkind WHEN 'c' THEN 'ALTER TYPE ' ELSE 'ALTER TABLE ' END || r.schema_pattern || '.%s RENAME TO %s',
    'move', CASE r.relkind WHEN 'c' THEN 'ALTER TYPE' ELSE 'ALTER TABLE' END || ' %s.%s SET SCHEMA %s',
    'props', CASE WHEN r.relkind IN ('r', 'p') THEN json_build_object(
      'persistence', json_build_object('v', r.relpersistence, 'l', CASE WHEN r.relkind = 'r' THEN format('ALTER TABLE %s SET %s', r.full_name, CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END) END),
      'options', json_build_object('v', coalesce(r.parameters::text, ''), 'l', format('SELECT pgjanus.define_options(%L, %L)', r.full_name, r.parameters)),
      -- What keeps the mirror's rows from us goes ahead of them.
      'row_security', json_build_object('v', r.relrowsecurity, 'i', r.relrowsecurity, CASE WHEN r.relrowsecurity THEN 'l' ELSE 'e' END,
        format('ALTER TABLE %s %s ROW LEVEL SECURITY', r.full_name, CASE WHEN r.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END)),
      'force_row_security', json_build_object('v', r.relforcerowsecurity, 'i', r.relforcerowsecurity, CASE WHEN r.relforcerowsecurity THEN 'l' ELSE 'e' END,
        format('ALTER TABLE %s %sFORCE ROW LEVEL SECURITY', r.full_name, CASE WHEN r.relforcerowsecurity THEN '' ELSE 'NO ' END)),
      'replica_identity', json_build_object('v', concat(r.relreplident, (SELECT i.indexrelid FROM pg_index i
          WHERE i.indrelid = r.oid AND i.indisreplident AND r.relreplident = 'i')), 'i', r.relreplident <> 'd', 'late', true, 'l',
        format('ALTER TABLE %s REPLICA IDENTITY %s', r.full_name, CASE r.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL'
          WHEN 'i' THEN (SELECT format('USING INDEX %I', x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                         WHERE i.indrelid = r.oid AND i.indisreplident) ELSE 'DEFAULT' END)),
      'clustered', json_build_object('v', (SELECT i.indexrelid::bigint FROM pg_index i WHERE i.indrelid = r.oid AND i.indisclustered),
        'i', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indisclustered), 'late', true, 'l',
        coalesce((SELECT format('ALTER TABLE %s CLUSTER ON %I', r.full_name, x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
         WHERE i.indrelid = r.oid AND i.indisclustered), CASE WHEN r.relkind = 'r' THEN format('ALTER TABLE %s SET WITHOUT CLUSTER', r.full_name) END)),
      'type', json_build_object('v', r.reloftype::bigint, 'i', r.reloftype <> 0, 'late', true,
        'e', CASE WHEN r.reloftype = 0 THEN format('ALTER TABLE %s NOT OF', r.full_name) END,
        'l', CASE WHEN r.reloftype <> 0 THEN format('ALTER TABLE %s OF %s', r.full_name, format_type(r.reloftype, NULL)) END)
    ) END)
  FROM rel r LEFT JOIN columns l ON l.attrelid = r.oid WHERE r.relkind IN ('r', 'p', 'c', 'f')
  UNION ALL
  SELECT 'column', a.attrelid, a.attnum, json_build_object(
    'name', a.attname, 'on', a.attrelid::bigint, 'label', format('column %s.%I', a.full_name, a.attname),
    'inherited', a.attinhcount > 0, 'local', a.attislocal, 'xmin', a.row_xmin::text, 'text', a.type, 'acl', a.attacl::text,
    'create', CASE WHEN a.relkind IN ('v', 'm') THEN '' WHEN a.relkind = 'c' THEN format('ALTER TYPE %s ADD ATTRIBUTE %s CASCADE', a.full_name, a.definition)
      ELSE format('ALTER TABLE %s ADD COLUMN %s%s', a.full_name, a.definition, coalesce(a.identity, '')) END,
    -- What rows that are older than the column have in it: one element, by its type's output function.
    'missing', CASE WHEN a.atthasmissing THEN format(' DEFAULT %L::%s', array_to_string(a.attmissingval, ''), format_type(a.atttypid, a.atttypmod)) END,
    'undefault', CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', a.one, a.attname) END,
    'drop_only', CASE WHEN a.one ~ '^ONLY ' THEN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', a.one, a.attname) END,
    'drop', CASE WHEN a.relkind IN ('v', 'm') THEN '' WHEN a.relkind = 'c' THEN format('SELECT pgjanus.drop_attribute(%L, %L)', a.full_name, a.attname)
      ELSE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', a.full_name, a.attname) END,
    'rename', CASE a.relkind WHEN 'v' THEN 'ALTER VIEW ' WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' WHEN 'c' THEN 'ALTER TYPE ' ELSE 'ALTER TABLE ' END || a.pattern ||
      CASE a.relkind WHEN 'c' THEN ' RENAME ATTRIBUTE %s TO %s CASCADE' ELSE ' RENAME COLUMN %s TO %s' END,
    'props', CASE a.relkind WHEN 'v' THEN json_build_object('default', json_build_object('v', coalesce(a.adbin, ''), 'i', a.adbin IS NOT NULL,
        'l', format('ALTER VIEW %s ALTER COLUMN %I %s', a.full_name, a.attname, coalesce('SET DEFAULT ' || a.expression, 'DROP DEFAULT'))))
      WHEN 'c' THEN json_build_object('type', json_build_object('v', concat(a.atttypid, ' ', a.atttypmod, ' ', a.attcollation),
        'e', format('ALTER TYPE %s ALTER ATTRIBUTE %I TYPE %s CASCADE', a.full_name, a.attname, a.type)))
      ELSE json_build_object(
      'type', json_build_object('v', concat(a.atttypid, ' ', a.atttypmod, ' ', a.attcollation),
        'e', a.retype || coalesce(' USING ' || quote_ident(a.attname) || a.cast, ''), 'clear', a.retype || coalesce(' USING NULL' || a.cast, '')),
      'not_null', json_build_object('v', a.attnotnull, 'i', a.attnotnull, CASE WHEN a.attnotnull THEN 'l' ELSE 'e' END,
        format('ALTER TABLE %s ALTER COLUMN %I %s NOT NULL', a.one, a.attname, CASE WHEN a.attnotnull THEN 'SET' ELSE 'DROP' END)),
      'default', json_build_object('v', CASE WHEN a.attgenerated <> '' THEN '' ELSE concat(a.default_oid, ' ', a.adbin) END,
        'i', a.adbin IS NOT NULL AND a.attgenerated = '',
        'e', CASE WHEN a.attgenerated = '' THEN format('ALTER TABLE ONLY %s ALTER COLUMN %I DROP DEFAULT', a.full_name, a.attname) END,
        'l', CASE WHEN a.attgenerated = '' AND a.adbin IS NOT NULL THEN
          format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', a.full_name, a.attname, a.expression) END),
      'generated', json_build_object('v', a.attgenerated, 'e', CASE WHEN a.attgenerated = '' THEN
        format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION IF EXISTS', a.full_name, a.attname) END),
      'identity', json_build_object('v', a.attidentity, 'of', a.identity_oid::bigint,
        'd', format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY IF EXISTS', a.full_name, a.attname), 'l', format('SELECT pgjanus.define_identity(%L, %L, %L, %L)',
        a.full_name, a.attname, a.attidentity, replace(a.identity, 'SEQUENCE NAME ' || a.identity_name, 'SEQUENCE NAME @.' || a.identity_bare))),
      'storage', json_build_object('v', a.attstorage, 'i', a.attstorage <> a.typstorage, 'late', a.relkind = 'm', 'l',
        format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STORAGE %s', a.full_name, a.attname, CASE a.attstorage WHEN 'p' THEN 'PLAIN'
          WHEN 'e' THEN 'EXTERNAL' WHEN 'x' THEN 'EXTENDED' ELSE 'MAIN' END)),
      'statistics', json_build_object('v', coalesce(a.attstattarget, -1), 'i', coalesce(a.attstattarget, -1) <> -1, 'late', a.relkind = 'm', 'l',
        format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS %s', a.full_name, a.attname, coalesce(a.attstattarget, -1))),
      'compression', json_build_object('v', a.compressed, 'i', coalesce(a.compressed, '') <> '', 'late', a.relkind = 'm', 'l',
        format('ALTER TABLE ONLY %s ALTER COLUMN %I SET COMPRESSION %s', a.full_name, a.attname, CASE a.compressed
          WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END)),
      'options', json_build_object('v', coalesce(a.estimates::text, ''), 'i', a.estimates IS NOT NULL, 'late', a.relkind = 'm', 'l', CASE WHEN a.estimates IS NULL
        THEN format('ALTER TABLE ONLY %s ALTER COLUMN %I RESET (n_distinct, n_distinct_inherited)', a.full_name, a.attname)
        ELSE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET (%s)', a.full_name, a.attname, array_to_string(a.estimates, ', ')) END)
    ) END)
  FROM defined a
  UNION ALL
  -- Partitions, and legacy inheritance that came after the table.
  SELECT 'partition', i.inhrelid, i.inhparent::bigint, json_build_object(
    'on', i.inhrelid::bigint, 'of', i.inhparent::bigint, 'label', format('partition %s of %s', r.full_name, p.full_name),
    'state', CASE WHEN r.relispartition THEN md5(r.relpartbound::text) ELSE '' END, 'partition', r.relispartition, 'xmin', i.xmin::text,
    'create', CASE WHEN r.relispartition THEN format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', p.full_name, r.full_name,
      pg_get_expr(r.relpartbound, r.oid)) ELSE format('ALTER TABLE %s INHERIT %s', r.full_name, p.full_name) END,
    'clear', CASE WHEN r.relispartition THEN format('DELETE FROM %s', r.full_name) END,
    -- Rows that the default partition has given up to it. A hash names tables by OID, and texts may have another order
    -- on the mirror: then it gives up all, and the tree is read anew.
    'default', 'DELETE FROM ' || b.default_partition || CASE WHEN NOT b.unsure THEN ' WHERE ' || b.bound ELSE '' END,
    'anew', b.default_partition IS NOT NULL AND b.unsure,
    -- What a table has to have before it can become a partition.
    'checks', CASE WHEN r.relispartition THEN concat((SELECT string_agg(format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL; ', r.full_name, c.attname), '')
        FROM pg_attribute c JOIN pg_attribute a ON a.attrelid = p.oid AND a.attname = c.attname AND a.attnotnull
        WHERE c.attrelid = r.oid AND c.attnum > 0 AND c.attnotnull),
      (SELECT string_agg(format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I, ADD CONSTRAINT %2$I %s; ', r.full_name, k.conname,
        pg_get_constraintdef(k.oid)), '') FROM pg_constraint k WHERE k.conrelid = r.oid AND k.contype = 'c' AND k.coninhcount > 0)) END,
    'drop', CASE WHEN r.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', p.full_name, r.full_name)
      ELSE format('ALTER TABLE %s NO INHERIT %s', r.full_name, p.full_name) END)
  FROM pg_inherits i JOIN rel r ON r.oid = i.inhrelid JOIN rel p ON p.oid = i.inhparent
  LEFT JOIN LATERAL (SELECT d.full_name AS default_partition, g.bound, g.bound ~ 'satisfies_hash_partition'
      OR (t.partstrat = 'r' AND EXISTS (SELECT FROM unnest(t.partcollation::oid[]) c WHERE c NOT IN (0, 950, 951))) AS unsure
    FROM pg_partitioned_table t JOIN rel d ON d.oid = t.partdefid
    CROSS JOIN LATERAL (SELECT pg_get_partition_constraintdef(r.oid) AS bound) g
    WHERE r.relispartition AND t.partrelid = i.inhparent AND d.oid <> r.oid AND g.bound IS NOT NULL) b ON true
  UNION ALL
  SELECT 'constraint', k.oid, 0, json_build_object(
    'name', k.conname, 'on', k.conrelid::bigint, 'label', format('constraint %I of %s', k.conname, k.full_name),
    'contype', k.contype, 'parent', coalesce(k.above::bigint, 0), 'index', CASE WHEN k.contype IN ('p', 'u') THEN k.conindid::bigint END,
    'adopt', CASE WHEN k.contype IN ('p', 'u') AND k.above IS NULL THEN replace(format('SELECT pgjanus.adopt_index(%L, %L, %L, ', k.full_name,
      k.conname, pg_get_constraintdef(k.oid)), '%', '%%') || '%s)' END,
    'kept', json_build_object('definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated),
    'state', md5(concat_ws('|', k.contype, k.condeferrable, k.condeferred, k.confrelid, k.confupdtype, k.confdeltype, k.confmatchtype,
      k.connoinherit, k.conkey, k.confkey, k.conbin, k.conexclop, CASE WHEN k.contype = 'f' THEN to_jsonb(k) ->> 'confdelsetcols' END, (SELECT concat(i.indkey, i.indnullsnotdistinct) FROM
        (SELECT x.indkey, to_jsonb(x) ->> 'indnullsnotdistinct' AS indnullsnotdistinct FROM pg_index x WHERE x.indexrelid = k.conindid AND k.contype <> 'f') i))),
    'create', coalesce(k.place, format('%s ADD CONSTRAINT %I %s', k.alter_table, k.conname, pg_get_constraintdef(k.oid))),
    'drop', format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.full_name, k.conname),
    'rename', CASE WHEN k.contype <> 'f' OR k.above IS NULL THEN 'ALTER TABLE ' || k.pattern || ' RENAME CONSTRAINT %s TO %s' END,
    'props', json_build_object('validated', json_build_object('v', k.convalidated,
        'l', CASE WHEN k.contype IN ('c', 'f') THEN format('SELECT pgjanus.validate(%L, %L)', k.full_name, k.conname) END),
      'place', json_build_object('v', concat(k.above, CASE WHEN k.contype = 'f' AND k.above IS NOT NULL THEN ' ' || k.conname END),
        'late', true, 'l', k.place)))
  FROM con k
  UNION ALL
  -- Indexes that no constraint owns. One that is not valid is not there yet (CONCURRENTLY).
  SELECT 'index', i.indexrelid, 0, json_build_object(
    'name', x.relname, 'ns', x.relnamespace::bigint, 'on', i.indrelid::bigint, 'label', format('index %I.%I', ns.nspname, x.relname),
    'parent', coalesce(h.inhparent::bigint, 0),
    'state', md5(concat_ws('|', i.indisunique, i.indkey, i.indclass, i.indcollation, i.indoption, i.indexprs, i.indpred, x.relam, i.indnkeyatts,
      to_jsonb(i) ->> 'indnullsnotdistinct')),
    'create', coalesce(h.place, pg_get_indexdef(i.indexrelid)),
    'drop', format('DROP INDEX IF EXISTS %I.%I', ns.nspname, x.relname),
    'rename', 'ALTER INDEX ' || ns.pattern || '.%s RENAME TO %s',
    'props', json_build_object('options', json_build_object('v', coalesce(x.reloptions::text, ''), 'l',
        format('SELECT pgjanus.define_options(%L, %L)', format('%I.%I', ns.nspname, x.relname), x.reloptions)),
      'statistics', json_build_object('v', t.targets, 'i', t.targets IS NOT NULL, 'late', true, 'l', t.setting),
      'place', json_build_object('v', coalesce(h.inhparent::bigint, 0), 'late', true, 'l', h.place)))
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN ns ON ns.oid = x.relnamespace
  JOIN rel r ON r.oid = i.indrelid AND r.relkind IN ('r', 'p', 'm')
  LEFT JOIN LATERAL (SELECT h.inhparent, format('SELECT pgjanus.place_index(%L, %L, %L, %L)', h.inhparent::regclass, r.full_name, x.relname,
    pg_get_indexdef(i.indexrelid)) AS place FROM pg_inherits h WHERE h.inhrelid = i.indexrelid) h ON true
  CROSS JOIN LATERAL (SELECT
      string_agg(concat(a.attnum, ' ', a.attstattarget), ',' ORDER BY a.attnum) FILTER (WHERE a.attstattarget <> -1) AS targets,
      string_agg(format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s', ns.nspname, x.relname, a.attnum,
        coalesce(a.attstattarget, -1)), '; ' ORDER BY a.attnum) AS setting
    FROM pg_attribute a WHERE i.indexprs IS NOT NULL AND a.attrelid = i.indexrelid AND i.indkey[a.attnum - 1] = 0) t
  WHERE (i.indisvalid OR x.relkind = 'I') AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
