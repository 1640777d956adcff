-- What a database has already, as (kind, schema, name) in the words of pg_restore's list. Functions
-- by name alone: their arguments are spelled differently by pg_dump versions.
SELECT 'SCHEMA', '-', nspname::text FROM pg_namespace
UNION ALL SELECT 'EXTENSION', '-', extname::text FROM pg_extension
UNION ALL SELECT 'LANGUAGE', '-', lanname::text FROM pg_language
UNION ALL SELECT 'RELATION', n.nspname, c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL SELECT 'TYPE', n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
UNION ALL SELECT 'FUNCTION', n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
UNION ALL SELECT 'COLLATION', n.nspname, c.collname FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
