-- A number that changes when something of the app's catalog changes: counts and row versions, no
-- contents. age() against a fixed id is a row's xmin as an integer, cheaply; modulo 2^32, since both ages are
-- taken modulo that, on different sides of zero once 2^31 ids are used. What DDL of ours on the
-- app's tables changes counts too: a false alarm costs one look at the whole catalog.
SELECT concat_ws(' ',
  (SELECT concat(count(*), ':', sum(((age(c.xmin)::bigint - age('100'::xid)) & 4294967295) * (c.oid::bigint % 100003 + 1)))
   FROM pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND (c.relkind <> 't' OR c.reloptions IS NOT NULL)),
  (SELECT concat(count(*), ':', sum(((age(a.xmin)::bigint - age('100'::xid)) & 4294967295) * (a.attrelid::bigint % 100003 + a.attnum)))
   FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.oid >= 16384 AND c.relpersistence <> 't'
     AND (c.relkind NOT IN ('t', 'i', 'I', 'S') OR a.attstattarget > -1) WHERE a.attnum > 0),
  (SELECT string_agg(concat(n, ':', s), ' ') FROM (
    SELECT count(*) n, sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) s FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_proc WHERE oid >= 16384
      AND pronamespace IS DISTINCT FROM (SELECT oid FROM pg_namespace WHERE nspname = 'pgjanus')
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_type WHERE oid >= 16384 AND typtype <> 'c' AND typelem = 0
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_attrdef
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_trigger WHERE (NOT tgisinternal OR tgparentid <> 0) AND tgname !~ '^pgjanus_'
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_enum
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_policy
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_extension
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_statistic_ext
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (oid::bigint % 100003 + 1)) FROM pg_namespace
      WHERE nspname !~ '^pg_' AND nspname <> 'pgjanus'
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (objoid::bigint % 100003 + 1)) FROM pg_description WHERE objoid >= 16384
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (indexrelid::bigint % 100003 + 1)) FROM pg_index WHERE indexrelid >= 16384
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (inhrelid::bigint % 100003 + 1)) FROM pg_inherits
    UNION ALL SELECT count(*), sum(((age(xmin)::bigint - age('100'::xid)) & 4294967295) * (seqrelid::bigint % 100003 + 1)) FROM pg_sequence) q))
