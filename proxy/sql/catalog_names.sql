-- Names that decide what a statement can do (router/classify.hpp): one row a name and kind.
-- f: every overload is STABLE or IMMUTABLE; r: every relation of this name is a mirrored table without
-- row security ($1: their oids, NULL without a migration); v: some relation of this name is anything
-- else, be it a view, an excluded table or a materialized view, which is not mirrored by rows;
-- o: some operator of this name is VOLATILE; l: whoever uses some relation of this name runs code that
-- may change the session: triggers, rules, and VOLATILE functions in defaults, CHECKs, policies and
-- views, of its own or of what they reach ($2: functions known to be harmless).
WITH RECURSIVE
loud_functions AS (
  SELECT oid, proname::text AS name FROM pg_proc WHERE provolatile = 'v' AND proname <> ALL ($2::text[])),
-- pg_depend does not know built-in functions; the trees do.
trees AS (
  SELECT adrelid AS relid, adbin::text AS tree FROM pg_attrdef
  UNION ALL SELECT conrelid, conbin::text FROM pg_constraint WHERE conbin IS NOT NULL AND conrelid <> 0
  UNION ALL SELECT polrelid, concat(polqual::text, polwithcheck::text) FROM pg_policy
  UNION ALL SELECT ev_class, ev_action::text FROM pg_rewrite WHERE ev_class >= 16384),
-- Of trigger functions: in lower case, and without literals where nothing makes those hard to find.
bodies AS (
  SELECT oid, CASE WHEN source ~ '--|/\*|\\|\$' THEN source
              ELSE regexp_replace(source, '''[^'']*''', ' ', 'g') END AS body
  FROM (SELECT p.oid, lower(p.prosrc) AS source FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname = 'plpgsql' AND p.oid IN (SELECT tgfoid FROM pg_trigger WHERE NOT tgisinternal)
          AND p.pronamespace IS DISTINCT FROM (SELECT oid FROM pg_namespace WHERE nspname = 'pgjanus')) f),
-- They only compute: nothing in them is a statement of SQL or the name of a VOLATILE function.
quiet_bodies AS (
  SELECT oid FROM bodies
  WHERE body !~ '"' AND octet_length(body) = length(body)
    AND body !~ ('\m(select|perform|execute|insert|update|delete|merge|truncate|copy|call|do|table|open|fetch|for|'
                 || 'foreach|set|reset|discard|load|listen|unlisten|lock|prepare|deallocate|create|alter|drop|'
                 || 'import|refresh)\M')
    AND NOT EXISTS (SELECT FROM regexp_matches(body, '\w+', 'g') word
                    WHERE word[1] IN (SELECT lower(name) FROM loud_functions))),
links AS (
  SELECT ev_class AS relid, link[1]::oid AS via
    FROM pg_rewrite, regexp_matches(ev_action::text, ':relid (\d+)', 'g') link WHERE ev_class >= 16384
  UNION ALL SELECT confrelid, conrelid FROM pg_constraint
    WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
  UNION ALL SELECT inhparent, inhrelid FROM pg_inherits
  UNION ALL SELECT inhrelid, inhparent FROM pg_inherits),
loud AS (
  SELECT relid FROM (
    SELECT t.tgrelid AS relid FROM pg_trigger t
      JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE NOT t.tgisinternal AND n.nspname <> 'pgjanus' AND t.tgfoid NOT IN (SELECT oid FROM quiet_bodies)
        AND p.proname NOT IN ('suppress_redundant_updates_trigger', 'tsvector_update_trigger',
                              'tsvector_update_trigger_column', 'moddatetime')
    -- UPDATE pg_settings is a SET.
    UNION ALL SELECT ev_class FROM pg_rewrite
      WHERE ev_type <> '1' AND (ev_class >= 16384 OR rulename = 'pg_settings_u')
    UNION ALL SELECT relid FROM trees, regexp_matches(tree, ':funcid (\d+)', 'g') call
      WHERE relid >= 16384 AND call[1]::oid IN (SELECT oid FROM loud_functions)) own
  UNION SELECT links.relid FROM loud JOIN links ON links.via = loud.relid)
SELECT 'f', proname::text FROM pg_proc
  GROUP BY proname HAVING bool_and(provolatile <> 'v' AND prokind <> 'p')
UNION ALL
SELECT CASE WHEN bool_and(relkind IN ('r', 'p') AND NOT relrowsecurity
                          AND ($1::oid[] IS NULL OR oid = ANY ($1))) THEN 'r' ELSE 'v' END,
       relname::text
FROM pg_class
WHERE relkind IN ('r', 'p', 'm', 'v', 'f', 'S', 't') AND relpersistence <> 't'
  AND NOT (relkind = 'r' AND relnamespace = 'information_schema'::regnamespace)
GROUP BY relname
UNION ALL
SELECT 'o', oprname::text FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
  WHERE p.provolatile = 'v' GROUP BY oprname
UNION ALL
SELECT DISTINCT 'l', c.relname::text FROM loud JOIN pg_class c ON c.oid = loud.relid
