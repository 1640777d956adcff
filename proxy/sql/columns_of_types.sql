-- Columns of any relation that hold values of one of the types $1: as they are, in domains, arrays, ranges or composite types.
WITH RECURSIVE held (type) AS (
  SELECT unnest($1::oid[])
  UNION
  SELECT deeper.type FROM held, LATERAL (
    SELECT t.oid FROM pg_type t WHERE t.typelem = held.type OR t.typbasetype = held.type
    UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngsubtype = held.type
    -- Since version 14.
    UNION ALL SELECT (to_jsonb(r) ->> 'rngmultitypid')::oid FROM pg_range r WHERE r.rngtypid = held.type AND to_jsonb(r) ? 'rngmultitypid'
    UNION ALL SELECT c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.atttypid = held.type AND a.attnum > 0 AND c.reltype <> 0
  ) deeper (type)
)
SELECT a.attrelid::bigint, a.attname FROM pg_attribute a JOIN held ON held.type = a.atttypid WHERE a.attnum > 0 AND NOT a.attisdropped
