-- What `finish` leaves of schema pgjanus on a side: the state row. Triggers on the app's tables are
-- gone by now, each in a transaction of its own.
DO $drop$
DECLARE object text;
BEGIN
  FOR object IN
    SELECT format('TABLE pgjanus.%I', c.relname) FROM pg_class c
    WHERE c.relnamespace = 'pgjanus'::regnamespace AND c.relkind = 'r' AND c.relname <> 'state'
    UNION ALL
    SELECT format('FUNCTION pgjanus.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid))
    FROM pg_proc p WHERE p.pronamespace = 'pgjanus'::regnamespace
  LOOP
    EXECUTE 'DROP ' || object || ' CASCADE';
  END LOOP;
END $drop$
