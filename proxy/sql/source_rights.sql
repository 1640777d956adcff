-- What this role lacks on the source, as (subject, detail, remedy); no row: nothing.
SELECT 'database ' || current_database(), 'this role may not CREATE in the database',
       format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)
WHERE NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT 'table ' || n.nspname || '.' || c.relname,
       format('owned by %s, of which this role is no member', pg_get_userbyid(c.relowner)),
       format('GRANT %I TO %I', pg_get_userbyid(c.relowner), current_user)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.objsubid = 0 AND d.deptype = 'e')
  AND NOT (n.nspname || '.' || c.relname = ANY($1::text[]) OR pg_has_role(c.relowner, 'USAGE'))
UNION ALL
SELECT 'schema ' || n.nspname, 'this role may not use the schema',
       format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user)
FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
  AND NOT has_schema_privilege(n.oid, 'USAGE')
  AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p'))
