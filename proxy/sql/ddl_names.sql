-- What things are called whose rows were written since transaction id $1, and those with the OIDs $2: catalog, OID, name.
-- Columns with the version of their row: there and back is another name in between. A relation's own changes with each TRUNCATE.
WITH wanted AS (
  SELECT unnest($2::oid[]) AS oid
  UNION SELECT oid FROM pg_class WHERE age(xmin) <= age($1::xid)
  UNION SELECT attrelid FROM pg_attribute WHERE age(xmin) <= age($1::xid) AND attnum > 0
)
SELECT 1::bigint, c.oid::bigint, concat(c.relnamespace, '.', c.relname, ' ', CASE WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') THEN
  (SELECT sum(hashint8extended(hashtextextended(a.attname::text, a.attnum), a.xmin::text::bigint))
   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) END)
FROM pg_class c JOIN wanted w ON w.oid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
UNION ALL SELECT 2, oid::bigint, concat(pronamespace, '.', proname) FROM pg_proc WHERE oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid)
UNION ALL SELECT 3, oid::bigint, concat(typnamespace, '.', typname) FROM pg_type
  WHERE typtype <> 'c' AND (typelem = 0 OR typtype <> 'b') AND (oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid))
UNION ALL SELECT 4, oid::bigint, enumlabel FROM pg_enum WHERE oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid)
UNION ALL SELECT 5, oid::bigint, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND (oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid))
UNION ALL SELECT 6, oid::bigint, tgname FROM pg_trigger WHERE NOT tgisinternal AND (oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid))
UNION ALL SELECT 7, oid::bigint, concat(stxnamespace, '.', stxname) FROM pg_statistic_ext WHERE oid = ANY ($2::oid[]) OR age(xmin) <= age($1::xid)
