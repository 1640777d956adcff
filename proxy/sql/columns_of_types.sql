-- Columns of any relation that hold values of one of the types $1: as they are, in domains, arrays, ranges or composite types.
WITH RECURSIVE held (type) AS (
  SELECT unnest($1::oid[])
  UNION
  SELECT CASE d.classid WHEN 'pg_type'::regclass THEN d.objid ELSE c.reltype END
  FROM held JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = held.type
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objsubid > 0 AND c.oid = d.objid
  WHERE d.classid = 'pg_type'::regclass OR c.reltype <> 0
)
SELECT a.attrelid::bigint, a.attname
FROM held JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = held.type AND d.classid = 'pg_class'::regclass
JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND a.atttypid = held.type
WHERE a.attnum > 0 AND NOT a.attisdropped
