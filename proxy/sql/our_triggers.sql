-- Triggers of ours on the app's relations, one row a relation: its name for SQL, and theirs.
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), array_agg(quote_ident(t.tgname) ORDER BY t.tgname)
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = 'pgjanus'
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname <> 'pgjanus'
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname
