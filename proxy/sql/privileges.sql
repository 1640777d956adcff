-- Privileges on the app's objects beyond those of their owners and those that everybody has by default, one row each: which object
-- by its oids, what kind it is of, its schema ('' for a schema itself), name, arguments, column, the privilege, who has it ('' for
-- PUBLIC), whether with grant option, and whether it is the other way round: PUBLIC has not what it has by default. Each object that
-- ever had one has a row with its owner, and without a privilege, besides. Default privileges are those of this role, which makes the app's objects.
WITH ns AS MATERIALIZED (
  SELECT n.oid, n.nspname, n.nspacl, n.nspowner FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgjanus')
), object (class, oid, sub, kind, schema, name, arguments, col, owner, acl, by_default) AS (
  SELECT 'pg_class'::regclass, c.oid, 0, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname, '', '', c.relowner, c.relacl, ''
  FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relacl IS NOT NULL AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, a.attnum, 'TABLE', n.nspname, c.relname, '', a.attname, c.relowner, a.attacl, ''
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ns n ON n.oid = c.relnamespace
  WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'pg_namespace'::regclass, n.oid, 0, 'SCHEMA', '', n.nspname, '', '', n.nspowner, n.nspacl, '' FROM ns n WHERE n.nspacl IS NOT NULL
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, 0, 'ROUTINE', n.nspname, p.proname, 
         CASE p.prokind WHEN 'a' THEN oidvectortypes(p.proargtypes) ELSE pg_get_function_identity_arguments(p.oid) END, '', p.proowner, p.proacl, 'EXECUTE'
  FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL
  UNION ALL
  SELECT 'pg_type'::regclass, t.oid, 0, 'TYPE', n.nspname, t.typname, '', '', t.typowner, t.typacl, 'USAGE'
  FROM pg_type t JOIN ns n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL
  UNION ALL
  SELECT 'pg_default_acl'::regclass, d.oid, 0, 'DEFAULT', coalesce(n.nspname, ''),
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END,
         '', '', d.defaclrole, d.defaclacl,
         CASE WHEN d.defaclnamespace <> 0 THEN '' WHEN d.defaclobjtype = 'f' THEN 'EXECUTE' WHEN d.defaclobjtype = 'T' THEN 'USAGE' ELSE '' END
  FROM pg_default_acl d LEFT JOIN ns n ON n.oid = d.defaclnamespace
  WHERE d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND (d.defaclnamespace = 0 OR n.oid IS NOT NULL)
), app AS MATERIALIZED (
  SELECT concat(o.class::oid, '.', o.oid, '.', o.sub) AS id, o.* FROM object o WHERE NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 AND d.deptype = 'e')
)
SELECT o.id, o.kind, o.schema, o.name, o.arguments, o.col, a.privilege_type, coalesce(r.rolname, ''), bool_or(a.is_grantable), false
FROM app o CROSS JOIN LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee <> o.owner AND (a.grantee = 0) = (r.oid IS NULL)
  AND NOT (a.grantee = 0 AND (a.privilege_type = o.by_default OR o.kind = 'SCHEMA' AND o.name = 'public'))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8  -- Of several grantors.
UNION
SELECT o.id, o.kind, o.schema, o.name, o.arguments, o.col, o.by_default, '', false, true
FROM app o WHERE o.by_default <> '' AND NOT EXISTS (SELECT FROM aclexplode(o.acl) a WHERE a.grantee = 0 AND a.privilege_type = o.by_default)
UNION ALL
SELECT o.id, o.kind, o.schema, o.name, o.arguments, o.col, '', pg_get_userbyid(o.owner), false, false FROM app o
