-- Partition roots that have a foreign table somewhere below them: the trigger on the root makes the
-- app's own statements fail there ("cannot collect transition tuples from child foreign tables").
WITH RECURSIVE below AS (
  SELECT c.oid AS root, c.oid FROM pg_class c WHERE c.relkind = 'p' AND NOT c.relispartition
  UNION ALL
  SELECT b.root, i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.oid
)
SELECT n.nspname || '.' || r.relname, string_agg(f.oid::regclass::text, ', ' ORDER BY f.relname)
FROM below b JOIN pg_class f ON f.oid = b.oid AND f.relkind = 'f'
JOIN pg_class r ON r.oid = b.root JOIN pg_namespace n ON n.oid = r.relnamespace
GROUP BY 1 ORDER BY 1
