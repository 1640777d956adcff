  -- The second part of ddl_shape.sql: what stands on tables, and what is merely noticed.
  UNION ALL
  SELECT 'view', r.oid, 0, json_build_object(
    'name', r.relname, 'ns', r.relnamespace::bigint, 'relkind', r.relkind, 'row_type', r.reltype::bigint, 'places', r.relnatts,
    'label', CASE r.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || r.full_name, 'replace', r.relkind = 'v',
    'state', md5(concat(w.ev_action, CASE WHEN r.relkind = 'v' THEN r.reloptions END)),
    'create', CASE r.relkind WHEN 'v' THEN format('CREATE OR REPLACE VIEW %s%s AS %s', r.full_name,
        CASE WHEN r.reloptions <> '{}' THEN format(' WITH (%s)', array_to_string(r.reloptions, ', ')) END, rtrim(pg_get_viewdef(r.oid), ';'))
      ELSE format('CREATE MATERIALIZED VIEW %s%s AS %s WITH NO DATA', r.full_name,
        CASE WHEN r.parameters <> '{}' THEN format(' WITH (%s)', array_to_string(r.parameters, ', ')) END, rtrim(pg_get_viewdef(r.oid), ';')) END,
    'drop', format('DROP %s IF EXISTS %s', CASE r.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, r.full_name),
    'rename', CASE r.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' ELSE 'ALTER VIEW ' END || r.schema_pattern || '.%s RENAME TO %s',
    'move', CASE r.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW' ELSE 'ALTER VIEW' END || ' %s.%s SET SCHEMA %s',
    'props', CASE r.relkind WHEN 'm' THEN json_build_object('populated', json_build_object('v', r.relispopulated, 'i', r.relispopulated,
        'late', true, 'l', format('REFRESH MATERIALIZED VIEW %s%s', r.full_name, CASE WHEN NOT r.relispopulated THEN ' WITH NO DATA' END)),
      'options', json_build_object('v', coalesce(r.parameters::text, ''), 'l', format('SELECT pgjanus.define_options(%L, %L)', r.full_name, r.parameters)),
      'clustered', (SELECT json_build_object('v', min(i.indexrelid::bigint), 'i', count(*) > 0, 'late', true, 'l',
        format('ALTER MATERIALIZED VIEW %s %s', r.full_name, coalesce('CLUSTER ON ' || min(quote_ident(x.relname)), 'SET WITHOUT CLUSTER')))
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = r.oid AND i.indisclustered)) END)
  FROM rel r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename = '_RETURN'
  WHERE r.relkind IN ('v', 'm')
  UNION ALL
  SELECT 'rule', w.oid, 0, json_build_object(
    'name', w.rulename, 'on', w.ev_class::bigint, 'label', format('rule %I on %s', w.rulename, r.full_name),
    'state', md5(concat_ws('|', w.ev_type, w.is_instead, w.ev_qual, w.ev_action)), 'create', rtrim(pg_get_ruledef(w.oid), ';'),
    'drop', format('DROP RULE IF EXISTS %I ON %s', w.rulename, r.full_name),
    'rename', 'ALTER RULE %s ON ' || r.pattern || ' RENAME TO %s',
    'props', CASE WHEN r.relkind <> 'v' THEN json_build_object('enabled', json_build_object('v', w.ev_enabled, 'i', w.ev_enabled <> 'O', 'l',
      format('ALTER TABLE %s %s RULE %I', r.full_name, CASE w.ev_enabled WHEN 'O' THEN 'ENABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, w.rulename))) END)
  FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
  UNION ALL
  SELECT 'trigger', t.oid, 0, json_build_object(
    'name', t.tgname, 'on', t.tgrelid::bigint, 'label', format('trigger %I on %s', t.tgname, r.full_name),
    'state', md5(concat_ws('|', t.tgfoid, t.tgtype, t.tgdeferrable, t.tginitdeferred, t.tgnargs, t.tgattr, t.tgargs, t.tgqual, t.tgoldtable, t.tgnewtable)),
    -- One that a partition has from its parent comes, goes and is renamed with it, but has a mode of its own.
    'create', CASE WHEN t.tgparentid = 0 THEN pg_get_triggerdef(t.oid) ELSE '' END,
    'drop', CASE WHEN t.tgparentid = 0 THEN format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, r.full_name) ELSE '' END,
    'rename', CASE WHEN t.tgparentid = 0 THEN 'ALTER TRIGGER %s ON ' || r.pattern || ' RENAME TO %s' ELSE 'SELECT 1' END,
    'props', json_build_object('enabled', json_build_object('v', t.tgenabled, 'i', t.tgenabled <> 'O' OR t.tgparentid <> 0, 'late', true, 'l',
      format('ALTER TABLE %s%s %s TRIGGER %I', CASE r.relkind WHEN 'p' THEN 'ONLY ' END, r.full_name, CASE t.tgenabled WHEN 'O' THEN 'ENABLE'
        WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, t.tgname))))
  FROM pg_trigger t JOIN rel r ON r.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
  -- Before version 15 those of partitions are internal, too; so is what keeps foreign and unique keys.
  WHERE (NOT t.tgisinternal OR (t.tgparentid <> 0 AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype <> 't')))
    AND p.pronamespace IS DISTINCT FROM (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'pgjanus')
  UNION ALL
  SELECT 'policy', p.oid, 0, json_build_object(
    'name', p.polname, 'on', p.polrelid::bigint, 'label', format('policy %I on %s', p.polname, r.full_name),
    'state', md5(concat_ws('|', p.polcmd, p.polpermissive, p.polroles, p.polqual, p.polwithcheck)),
    'create', format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, r.full_name,
      CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
      CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
      (SELECT string_agg(CASE WHEN o = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(o)) END, ', ') FROM unnest(p.polroles) o),
      ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'),
    'drop', format('DROP POLICY IF EXISTS %I ON %s', p.polname, r.full_name),
    'rename', 'ALTER POLICY %s ON ' || r.pattern || ' RENAME TO %s')
  FROM pg_policy p JOIN rel r ON r.oid = p.polrelid
  UNION ALL
  SELECT 'statistics', s.oid, 0, json_build_object(
    'name', s.stxname, 'ns', s.stxnamespace::bigint, 'on', s.stxrelid::bigint, 'label', format('statistics %I.%I', ns.nspname, s.stxname),
    'state', md5(concat_ws('|', s.stxkeys, s.stxkind, s.stxexprs)), 'create', pg_get_statisticsobjdef(s.oid),
    'drop', format('DROP STATISTICS IF EXISTS %I.%I', ns.nspname, s.stxname),
    'rename', 'ALTER STATISTICS ' || ns.pattern || '.%s RENAME TO %s', 'move', 'ALTER STATISTICS %s.%s SET SCHEMA %s',
    'props', json_build_object('target', json_build_object('v', t.target, 'i', t.target <> -1, 'late', true,
      'l', format('ALTER STATISTICS %I.%I SET STATISTICS %s', ns.nspname, s.stxname, t.target))))
  FROM pg_statistic_ext s JOIN ns ON ns.oid = s.stxnamespace JOIN rel r ON r.oid = s.stxrelid
  CROSS JOIN LATERAL (SELECT coalesce((to_jsonb(s) ->> 'stxstattarget')::int, -1) AS target) t  -- Not before version 13.
  UNION ALL
  SELECT 'comment', d.objoid, d.objsubid, json_build_object(
    'label', 'comment on ' || i.type || ' ' || i.identity, 'state', md5(d.description), 'replace', true, 'class', d.classoid::bigint,
    'create', format('COMMENT ON %s IS %L', o.named, d.description), 'drop', format('COMMENT ON %s IS NULL', o.named))
  FROM pg_description d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
  CROSS JOIN LATERAL (SELECT CASE
      WHEN i.type IN ('table column', 'view column', 'materialized view column', 'composite type column', 'foreign table column')
        THEN 'COLUMN ' || i.identity
      WHEN i.type = 'table constraint' THEN 'CONSTRAINT ' || i.identity
      WHEN i.type = 'domain constraint' THEN 'CONSTRAINT ' || regexp_replace(i.identity, ' on ', ' on domain ')
      WHEN i.type = 'composite type' THEN 'TYPE ' || i.identity
      WHEN i.type = 'aggregate' THEN 'ROUTINE ' || i.identity  -- Not (*) where there are no arguments.
      ELSE upper(i.type) || ' ' || i.identity END AS named) o
  WHERE {whole} AND d.objoid >= 16384 AND i.identity IS NOT NULL AND i.type <> 'extension'
    AND d.classoid = ANY (ARRAY['pg_class', 'pg_type', 'pg_proc', 'pg_constraint', 'pg_trigger', 'pg_rewrite', 'pg_policy',
                                'pg_namespace', 'pg_statistic_ext']::regclass[]::oid[])
    AND coalesce(i.schema, '') <> 'pgjanus' AND i.identity !~ '^(pgjanus|pg_temp|pg_toast)\M'
    AND NOT EXISTS (SELECT FROM member e WHERE e.classid = d.classoid AND e.objid = d.objoid)
    AND NOT EXISTS (  -- On what stands on a table or type that an extension brings along.
      SELECT FROM (SELECT 'pg_class'::regclass, x.indrelid FROM pg_index x WHERE d.classoid = 'pg_class'::regclass AND x.indexrelid = d.objoid
        UNION ALL SELECT 'pg_class'::regclass, k.conrelid FROM pg_constraint k WHERE d.classoid = 'pg_constraint'::regclass AND k.oid = d.objoid
        UNION ALL SELECT 'pg_type'::regclass, k.contypid FROM pg_constraint k WHERE d.classoid = 'pg_constraint'::regclass AND k.oid = d.objoid
        UNION ALL SELECT 'pg_class'::regclass, t.tgrelid FROM pg_trigger t WHERE d.classoid = 'pg_trigger'::regclass AND t.oid = d.objoid
        UNION ALL SELECT 'pg_class'::regclass, w.ev_class FROM pg_rewrite w WHERE d.classoid = 'pg_rewrite'::regclass AND w.oid = d.objoid
        UNION ALL SELECT 'pg_class'::regclass, p.polrelid FROM pg_policy p WHERE d.classoid = 'pg_policy'::regclass AND p.oid = d.objoid
        UNION ALL SELECT 'pg_class'::regclass, s.stxrelid FROM pg_statistic_ext s WHERE d.classoid = 'pg_statistic_ext'::regclass AND s.oid = d.objoid
        ) o (class, id) JOIN member e ON e.classid = o.class AND e.objid = o.id)
  UNION ALL
  -- What is noticed, and named, but not replayed.
  SELECT 'other', o.oid, o.class::bigint, json_build_object('label', i.type || ' ' || i.identity, 'state', o.row, 'create', NULL, 'drop', NULL)
  FROM (SELECT 'pg_operator'::regclass AS class, x.oid, md5((to_jsonb(x) - 'oprowner')::text) AS row FROM pg_operator x JOIN ns ON ns.oid = x.oprnamespace
    UNION ALL SELECT 'pg_opclass'::regclass, x.oid, '' FROM pg_opclass x JOIN ns ON ns.oid = x.opcnamespace
    UNION ALL SELECT 'pg_opfamily'::regclass, x.oid, concat((SELECT md5(string_agg(concat_ws(' ', o.amoplefttype, o.amoprighttype, o.amopstrategy, o.amopopr),
        ',' ORDER BY o.oid)) FROM pg_amop o WHERE o.amopfamily = x.oid), (SELECT md5(string_agg(concat_ws(' ', p.amproclefttype, p.amprocrighttype, p.amprocnum, p.amproc),
        ',' ORDER BY p.oid)) FROM pg_amproc p WHERE p.amprocfamily = x.oid)) FROM pg_opfamily x JOIN ns ON ns.oid = x.opfnamespace
    UNION ALL SELECT 'pg_collation'::regclass, x.oid, '' FROM pg_collation x JOIN ns ON ns.oid = x.collnamespace
    UNION ALL SELECT 'pg_conversion'::regclass, x.oid, '' FROM pg_conversion x JOIN ns ON ns.oid = x.connamespace
    UNION ALL SELECT 'pg_ts_config'::regclass, x.oid, (SELECT md5(string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict), ',' ORDER BY m.maptokentype, m.mapseqno))
        FROM pg_ts_config_map m WHERE m.mapcfg = x.oid) FROM pg_ts_config x JOIN ns ON ns.oid = x.cfgnamespace
    UNION ALL SELECT 'pg_ts_dict'::regclass, x.oid, md5(x.dictinitoption) FROM pg_ts_dict x JOIN ns ON ns.oid = x.dictnamespace
    UNION ALL SELECT 'pg_cast'::regclass, x.oid, '' FROM pg_cast x WHERE x.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = x.oid AND d.deptype = 'i')
    UNION ALL SELECT 'pg_type'::regclass, x.oid, '' FROM pg_type x JOIN ns ON ns.oid = x.typnamespace
      WHERE x.typtype IN ('b', 'p') AND NOT (x.typelem <> 0 AND x.typlen = -1 AND EXISTS (SELECT FROM pg_type e WHERE e.typarray = x.oid))
    ) o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
  WHERE {whole} AND NOT EXISTS (SELECT FROM member e WHERE e.classid = o.class AND e.objid = o.oid)
)
SELECT kind, oid::bigint, sub, doc::text FROM objects
