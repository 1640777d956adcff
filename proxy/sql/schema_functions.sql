-- The functions of schema pgjanus, but for the fence (schema.sql) and each table's capture. They can be run again: a newer
-- program renews those that an older one left (proxy/engine/renew.cpp), so one that takes other arguments has another name.

-- Stands on the tables of a mirror that is being loaded, where the capture triggers' transition
-- tables would cost a copy of every row: a statement of anyone but us meets the fence.
CREATE OR REPLACE FUNCTION pgjanus.guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('pgjanus.apply', true) = 'on' AND
     (session_user = current_user OR pg_has_role(session_user, current_user, 'USAGE')) THEN
    RETURN NULL;
  END IF;
  INSERT INTO pgjanus.journal (xid, table_id) VALUES (pg_current_xact_id(), 0);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION pgjanus.guard() FROM PUBLIC;

-- Before an UPDATE, or a MERGE that updates, of a partitioned table: rows that move between
-- partitions are looked for one by one until the statement's capture function ends that. A MERGE
-- puts such rows into no transition table (tried on 15.20; see proxy/capture/README.md). The mark is
-- one letter a statement under way: triggers nest.
CREATE OR REPLACE FUNCTION pgjanus.rows_may_move() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('pgjanus.apply', true) = 'on' THEN
    IF session_user = current_user OR pg_has_role(session_user, current_user, 'USAGE') THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM set_config('pgjanus.rows_move',
                     concat(current_setting('pgjanus.rows_move', true), 'x'), true);
  RETURN NULL;
END $$;

-- Sequences (design.md section 9, step 3). Which ones: everything that belongs to the app, but for those
-- of columns that only this side has: these go on counting while it is the mirror.
CREATE OR REPLACE VIEW pgjanus.app_sequences AS
  SELECT c.oid AS oid, n.nspname::text AS schema_name, c.relname::text AS name,
         s.seqincrement AS increment, s.seqmin AS minimum, s.seqmax AS maximum,
         s.seqstart AS start, s.seqcycle AS cycle, s.seqcache AS cache
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
  WHERE c.relkind = 'S' AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pgjanus', 'pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg\_%'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
                    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      JOIN pg_catalog.pg_class o ON o.oid = d.refobjid
      JOIN pg_catalog.pg_namespace h ON h.oid = o.relnamespace
      JOIN pgjanus.tables t ON coalesce(t.local_schema, t.schema_name) = h.nspname
        AND coalesce(t.local_name, t.table_name) = o.relname AND a.attname = ANY (t.own_columns)
      WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass);

-- Where each sequence stands: exact, read from the sequences themselves.
CREATE OR REPLACE FUNCTION pgjanus.sequence_values()
RETURNS TABLE (schema_name text, name text, last_value bigint, is_called boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s record;
BEGIN
  FOR s IN SELECT * FROM pgjanus.app_sequences ORDER BY 2, 3 LOOP
    RETURN QUERY EXECUTE format('SELECT %L::text, %L::text, last_value, is_called FROM %I.%I',
                                s.schema_name, s.name, s.schema_name, s.name);
  END LOOP;
END $$;

-- Bounds that let no further number be drawn, for a sequence that stands at `last`. MINVALUE must
-- stay below MAXVALUE and START between them, hence the neighbour behind it; at the very end of a type's range
-- there is only the one ahead, which can be drawn once. (So can the first number of a sequence that was
-- never used: is_called = false cannot be stopped.)
CREATE OR REPLACE FUNCTION pgjanus.stopping_options(increment bigint, minimum bigint, maximum bigint,
                                         last bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN increment > 0
    THEN format('MINVALUE %s MAXVALUE %s START %s NO CYCLE',
                CASE WHEN minimum < last THEN minimum WHEN at_end THEN last ELSE last - 1 END,
                CASE WHEN minimum >= last AND at_end THEN last + 1 ELSE last END, last)
    ELSE format('MINVALUE %s MAXVALUE %s START %s NO CYCLE',
                CASE WHEN maximum <= last AND at_end THEN last - 1 ELSE last END,
                CASE WHEN maximum > last THEN maximum WHEN at_end THEN last ELSE last + 1 END, last) END
  FROM (SELECT last IN (-32768, 32767, -2147483648, 2147483647,
                        -9223372036854775808, 9223372036854775807) AS at_end) place
$$;

-- Stops every sequence where it stands and keeps its definition. ALTER SEQUENCE waits for
-- transactions that drew a value and drops the numbers that sessions have cached.
CREATE OR REPLACE FUNCTION pgjanus.stop_sequences() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s record; last bigint;
BEGIN
  FOR s IN SELECT * FROM pgjanus.app_sequences ORDER BY 2, 3 LOOP
    EXECUTE format('ALTER SEQUENCE %I.%I NO CYCLE', s.schema_name, s.name);  -- The lock, first.
    EXECUTE format('SELECT last_value FROM %I.%I', s.schema_name, s.name) INTO last;
    INSERT INTO pgjanus.kept (kind, schema_name, table_name, name, definition)
    VALUES ('sequence', s.schema_name, s.name, '', to_jsonb(s) - 'oid')
    ON CONFLICT (kind, schema_name, table_name, name) DO NOTHING;
    EXECUTE format('ALTER SEQUENCE %I.%I %s', s.schema_name, s.name,
                   pgjanus.stopping_options(s.increment, s.minimum, s.maximum, last));
  END LOOP;
END $$;

-- Sets sequences of a mirror to the primary's values; a stopped one stays stopped.
CREATE OR REPLACE FUNCTION pgjanus.set_sequences(schemas text[], names text[], lasts bigint[],
                                      called boolean[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s record;
BEGIN
  FOR s IN
    SELECT a.*, v.last, v.called, EXISTS (SELECT FROM pgjanus.kept k WHERE k.kind = 'sequence'
             AND k.schema_name = a.schema_name AND k.table_name = a.name) AS stopped
    FROM unnest(schemas, names, lasts, called) AS v(schema_name, name, last, called)
    JOIN pgjanus.app_sequences a USING (schema_name, name)
  LOOP
    IF s.stopped THEN
      -- Wide enough for the new value first, then tight around it.
      EXECUTE format('ALTER SEQUENCE %I.%I MINVALUE %s MAXVALUE %s', s.schema_name, s.name,
                     least(s.minimum, s.last), greatest(s.maximum, s.last));
    END IF;
    PERFORM setval(s.oid::regclass, s.last, s.called);
    IF s.stopped THEN
      EXECUTE format('ALTER SEQUENCE %I.%I %s', s.schema_name, s.name,
                     pgjanus.stopping_options(s.increment, s.minimum, s.maximum, s.last));
    END IF;
  END LOOP;
END $$;

-- Gives the sequences of a new primary their definitions back.
CREATE OR REPLACE FUNCTION pgjanus.restore_sequences() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s record;
BEGIN
  FOR s IN SELECT k.schema_name, k.table_name, k.definition AS d FROM pgjanus.kept k
           JOIN pgjanus.app_sequences a ON a.schema_name = k.schema_name AND a.name = k.table_name
           WHERE k.kind = 'sequence' LOOP
    EXECUTE format('ALTER SEQUENCE %I.%I MINVALUE %s MAXVALUE %s START %s %s', s.schema_name,
                   s.table_name, s.d ->> 'minimum', s.d ->> 'maximum', s.d ->> 'start',
                   CASE WHEN (s.d ->> 'cycle')::boolean THEN 'CYCLE' ELSE 'NO CYCLE' END);
  END LOOP;
  DELETE FROM pgjanus.kept WHERE kind = 'sequence';
END $$;

-- Gives a new primary its triggers and constraints back: constraints NOT VALID, so that no scan
-- stands in the flip; they are validated afterwards. A partitioned table cannot have a NOT VALID
-- foreign key (PostgreSQL manual, ALTER TABLE): that one is added whole.
CREATE OR REPLACE FUNCTION pgjanus.restore_kept() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE k record; definition text; partitioned boolean;
BEGIN
  FOR k IN SELECT * FROM pgjanus.kept WHERE kind <> 'sequence' AND NOT restored ORDER BY kind LOOP
    IF to_regclass(format('%I.%I', k.schema_name, k.table_name)) IS NULL THEN
      CONTINUE;  -- The app dropped the table meanwhile.
    END IF;
    IF k.kind IN ('trigger', 'rule') THEN
      EXECUTE format('ALTER TABLE ONLY %I.%I ENABLE %s %s %I', k.schema_name, k.table_name,
                     CASE k.definition ->> 'enabled' WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA'
                                                     ELSE '' END, k.kind, k.name);
      DELETE FROM pgjanus.kept d WHERE (d.kind, d.schema_name, d.table_name, d.name)
                                     = (k.kind, k.schema_name, k.table_name, k.name);
      CONTINUE;
    END IF;
    definition := k.definition ->> 'definition';
    SELECT c.relkind = 'p' AND k.kind = 'foreign key' INTO partitioned FROM pg_class c
      WHERE c.oid = to_regclass(format('%I.%I', k.schema_name, k.table_name));
    IF NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = k.name AND
                   c.conrelid = to_regclass(format('%I.%I', k.schema_name, k.table_name))) THEN
      EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s%s', k.schema_name, k.table_name,
                     k.name, definition,
                     CASE WHEN partitioned OR definition ~ ' NOT VALID$' THEN '' ELSE ' NOT VALID' END);
    END IF;
    UPDATE pgjanus.kept u SET restored = true
      WHERE (u.kind, u.schema_name, u.table_name, u.name)
          = (k.kind, k.schema_name, k.table_name, k.name);
  END LOOP;
END $$;
