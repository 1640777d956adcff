-- What changes when the app's catalog does, one row a relation: its oid, 0, its name and a number made of the versions of all rows
-- that are about it, in whichever catalog, triggers of ours among them. The row of oid 0 is about all that belongs to no
-- relation. Rows with a second oid say which relations stand in one tree, or which sequence belongs to which table.
-- age() against a fixed id is a row's xmin as an integer, cheaply; modulo 2^32, since both ages are taken modulo that, on
-- different sides of zero once 2^31 ids are used. Temporary tables are nobody's business.
-- Columns that are no documents of their own (of materialized views, foreign tables) count as part of the name; indisvalid was
-- written in place before version 14.
WITH ns AS MATERIALIZED (
  SELECT n.oid FROM pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
), member AS MATERIALIZED (
  SELECT classid, objid, objsubid, refobjid, xmin FROM pg_depend WHERE deptype = 'e'
), rel AS MATERIALIZED (
  SELECT c.oid, c.xmin, c.reltoastrelid, concat(c.relnamespace, '.', c.relname, CASE WHEN c.relkind IN ('m', 'f') THEN (
    SELECT string_agg(format('%I', a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) END) AS name
  FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c', 'f')
), version (rel, class, sub, xmin) AS (
  SELECT oid, 1, 0::bigint, xmin FROM rel
  UNION ALL SELECT r.oid, 2, t.oid::bigint, t.xmin FROM pg_class t JOIN rel r ON r.reltoastrelid = t.oid
    WHERE t.relkind = 't' AND t.reloptions IS NOT NULL
  UNION ALL SELECT attrelid, 3, attnum::bigint, xmin FROM pg_attribute WHERE attnum > 0
  UNION ALL SELECT indrelid, 4, (indexrelid::bigint << 1) + indisvalid::int, xmin FROM pg_index
  UNION ALL SELECT i.indrelid, 5, x.oid::bigint, x.xmin FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
  UNION ALL SELECT i.indrelid, 6, (i.indexrelid::bigint << 16) + a.attnum, a.xmin FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attstattarget > -1
  UNION ALL SELECT i.indrelid, 7, (h.inhrelid::bigint << 32) + h.inhparent::bigint, h.xmin FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
  UNION ALL SELECT inhrelid, 8, inhparent::bigint, xmin FROM pg_inherits
  UNION ALL SELECT conrelid, 9, oid::bigint, xmin FROM pg_constraint
  UNION ALL SELECT adrelid, 10, oid::bigint, xmin FROM pg_attrdef
  UNION ALL SELECT ev_class, 11, oid::bigint, xmin FROM pg_rewrite
  UNION ALL SELECT tgrelid, 12, oid::bigint, xmin FROM pg_trigger WHERE NOT tgisinternal OR tgparentid <> 0
  UNION ALL SELECT polrelid, 13, oid::bigint, xmin FROM pg_policy
  UNION ALL SELECT stxrelid, 14, oid::bigint, xmin FROM pg_statistic_ext
  UNION ALL SELECT seqrelid, 15, 0, xmin FROM pg_sequence
  UNION ALL SELECT partrelid, 16, 0, xmin FROM pg_partitioned_table
), other (class, sub, xmin) AS (
  SELECT 101, oid::bigint, xmin FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'pgjanus'
  UNION ALL SELECT 102, oid::bigint, xmin FROM pg_proc WHERE oid >= 16384
    AND pronamespace IS DISTINCT FROM (SELECT oid FROM pg_namespace WHERE nspname = 'pgjanus')
  UNION ALL SELECT 103, oid::bigint, xmin FROM pg_type WHERE oid >= 16384 AND typtype <> 'c' AND (typelem = 0 OR typtype <> 'b')
  UNION ALL SELECT 104, oid::bigint, xmin FROM pg_constraint WHERE contypid <> 0
  UNION ALL SELECT 105, oid::bigint, xmin FROM pg_enum
  UNION ALL SELECT 106, oid::bigint, xmin FROM pg_extension
  UNION ALL SELECT 107, oid::bigint, xmin FROM pg_operator WHERE oid >= 16384
  UNION ALL SELECT 108, oid::bigint, xmin FROM pg_opclass WHERE oid >= 16384
  UNION ALL SELECT 109, oid::bigint, xmin FROM pg_opfamily WHERE oid >= 16384
  UNION ALL SELECT 110, oid::bigint, xmin FROM pg_collation WHERE oid >= 16384
  UNION ALL SELECT 111, oid::bigint, xmin FROM pg_conversion WHERE oid >= 16384
  UNION ALL SELECT 112, oid::bigint, xmin FROM pg_ts_config WHERE oid >= 16384
  UNION ALL SELECT 113, oid::bigint, xmin FROM pg_ts_dict WHERE oid >= 16384
  UNION ALL SELECT 114, oid::bigint, xmin FROM pg_cast WHERE oid >= 16384
  UNION ALL SELECT 115, (d.objoid::bigint << 32) + (d.classoid::bigint << 12) + d.objsubid, d.xmin FROM pg_description d WHERE d.objoid >= 16384
  -- Rows without an oid come and go where the row of their object stays as it is.
  UNION ALL SELECT 117, hashint8extended((mapcfg::bigint << 32) + maptokentype, mapseqno), xmin FROM pg_ts_config_map WHERE mapcfg >= 16384
  UNION ALL SELECT 118, oid::bigint, xmin FROM pg_amop WHERE oid >= 16384
  UNION ALL SELECT 119, oid::bigint, xmin FROM pg_amproc WHERE oid >= 16384
  -- No documents' business: privileges are brought behind the batch.
  UNION ALL SELECT 120, oid::bigint, xmin FROM pg_default_acl
  UNION ALL SELECT 121, oid::bigint, xmin FROM pg_type WHERE oid >= 16384 AND typtype = 'c' AND typacl IS NOT NULL
  UNION ALL SELECT 116, (m.objid::bigint << 32) + (m.classid::bigint << 12) + m.objsubid, m.xmin FROM member m
)
SELECT r.oid::bigint, 0::bigint, concat(r.name, ' ', count(*), ':', sum(hashint8extended(v.sub,
    (v.class::bigint << 32) + ((age(v.xmin)::bigint - age('100'::xid)) & 4294967295))))
FROM version v JOIN rel r ON r.oid = v.rel GROUP BY r.oid, r.name
UNION ALL
SELECT 0, 0, concat(count(*), ':', sum(hashint8extended(o.sub, (o.class::bigint << 32) + ((age(o.xmin)::bigint - age('100'::xid)) & 4294967295)))) FROM other o
UNION ALL
SELECT h.inhrelid::bigint, h.inhparent::bigint, '' FROM pg_inherits h JOIN rel r ON r.oid = h.inhrelid
UNION ALL
SELECT d.objid::bigint, d.refobjid::bigint, '' FROM pg_sequence s JOIN rel r ON r.oid = s.seqrelid
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
  AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
