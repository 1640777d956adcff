-- Names that decide whether a statement only reads (router/classify.hpp): one row a name and kind.
-- f: every overload is STABLE or IMMUTABLE; r: every relation of this name is a mirrored table without
-- row security ($1: their oids, NULL without a migration); v: some relation of this name is anything
-- else, be it a view, an excluded table or a materialized view, which is not mirrored by rows;
-- o: some operator of this name is VOLATILE.
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
