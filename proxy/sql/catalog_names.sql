-- Names that decide whether a statement only reads (router/classify.hpp): one row a name and kind.
-- f: every overload is STABLE or IMMUTABLE; r: relations without row security that are nothing but
-- tables; v: some relation of this name is a view, foreign table, sequence or has row security;
-- o: some operator of this name is VOLATILE.
SELECT 'f', proname::text FROM pg_proc
  GROUP BY proname HAVING bool_and(provolatile <> 'v' AND prokind <> 'p')
UNION ALL
SELECT CASE WHEN bool_and(relkind IN ('r', 'p', 'm', 't') AND NOT relrowsecurity) THEN 'r' ELSE 'v' END,
       relname::text
FROM pg_class
WHERE relkind IN ('r', 'p', 'm', 'v', 'f', 'S', 't') AND relpersistence <> 't'
  AND NOT (relkind = 'r' AND relnamespace = 'information_schema'::regnamespace)
GROUP BY relname
UNION ALL
SELECT 'o', oprname::text FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
  WHERE p.provolatile = 'v' GROUP BY oprname
