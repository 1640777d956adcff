-- The second part of schema_functions.sql: functions that bring objects of a mirror to a definition, whatever they
-- are now (proxy/ddl).

-- A sequence's type and options. It stays where it stands, as far as its bounds have that; the primary's number is
-- copied afterwards, as always. One that was stopped by a flip stays so, and keeps the bounds for its next promotion.
CREATE OR REPLACE FUNCTION pgjanus.define_sequence(in_schema text, named text, type text, increment bigint,
  minimum bigint, maximum bigint, start bigint, cache bigint, cycle text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE last bigint; called boolean;
BEGIN
  EXECUTE format('SELECT greatest(least(last_value, %s), %s), is_called FROM %I.%I', $6, $5, $1, $2) INTO last, called;
  EXECUTE format('ALTER SEQUENCE %I.%I AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s '
                 'RESTART WITH %s CACHE %s %s', $1, $2, $3, $4, $5, $6, $7, last, $8,
                 CASE WHEN $9 = 't' THEN 'CYCLE' ELSE 'NO CYCLE' END);
  PERFORM setval(format('%I.%I', $1, $2)::regclass, last, called);
  UPDATE pgjanus.kept k SET definition = k.definition || jsonb_build_object('minimum', $5,
    'maximum', $6, 'start', $7, 'cycle', $9 = 't')
  WHERE k.kind = 'sequence' AND k.schema_name = $1 AND k.table_name = $2;
  IF FOUND THEN
    EXECUTE format('ALTER SEQUENCE %I.%I %s', $1, $2, pgjanus.stopping_options($4, $5, $6, last));
  END IF;
END $$;

-- Links a sequence to a column. Postgres wants one owner for sequence and table, and gives a serial column's to
-- the table's; one that replaying made is ours, and the table may be of a role that we are merely a member of.
CREATE OR REPLACE FUNCTION pgjanus.link_sequence(sequence regclass, relation regclass, column_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE owner name;
BEGIN
  SELECT pg_get_userbyid(t.relowner) INTO owner FROM pg_class t, pg_class s
  WHERE t.oid = relation AND s.oid = sequence AND s.relowner <> t.relowner;
  IF FOUND THEN  -- The owner of a linked one cannot change.
    EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', sequence);
    EXECUTE format('ALTER SEQUENCE %s OWNER TO %I', sequence, owner);
  END IF;
  EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, relation, column_name);
END $$;

-- Storage parameters of a table or index, and of a table's TOAST table; those that are not wanted are reset.
CREATE OR REPLACE FUNCTION pgjanus.define_options(relation text, wanted text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE c pg_class; unwanted text; what text;
BEGIN
  SELECT * INTO STRICT c FROM pg_class k WHERE k.oid = relation::regclass;
  what := format('ALTER %s %s', CASE WHEN c.relkind IN ('i', 'I') THEN 'INDEX' ELSE 'TABLE' END, relation);
  SELECT string_agg(split_part(o, '=', 1), ', ') INTO unwanted FROM (SELECT unnest(c.reloptions) UNION ALL
    SELECT 'toast.' || unnest(t.reloptions) FROM pg_class t WHERE t.oid = c.reltoastrelid) now(o)
  WHERE split_part(o, '=', 1) <> ALL (SELECT split_part(w, '=', 1) FROM unnest(wanted) w);
  IF unwanted IS NOT NULL THEN EXECUTE format('%s RESET (%s)', what, unwanted); END IF;
  IF wanted <> '{}' THEN EXECUTE format('%s SET (%s)', what, array_to_string(wanted, ', ')); END IF;
END $$;

-- Only the owner may move an extension; a superuser may have done it already.
CREATE OR REPLACE FUNCTION pgjanus.place_extension(named text, in_schema text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
             WHERE e.extname = named AND n.nspname <> in_schema) THEN
    EXECUTE format('ALTER EXTENSION %I SET SCHEMA %I', named, in_schema);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pgjanus.define_identity(relation text, column_name text, wanted text, definition text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE now text; here text;
BEGIN
  SELECT a.attidentity, quote_ident(n.nspname) INTO STRICT now, here FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attrelid = relation::regclass AND a.attname = column_name AND NOT a.attisdropped;
  definition := replace(definition, 'SEQUENCE NAME @.', 'SEQUENCE NAME ' || here || '.');  -- Where its table stands.
  EXECUTE format('ALTER TABLE %s ALTER COLUMN %I %s', relation, column_name,
    CASE WHEN wanted = '' THEN 'DROP IDENTITY IF EXISTS' WHEN now = '' THEN 'ADD' || definition
         ELSE 'SET GENERATED ' || CASE wanted WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END END);
END $$;

-- A constraint that was given an index. Where the mirror has none of that name, or the target's table is partitioned,
-- which allows no USING INDEX, the constraint builds its own.
CREATE OR REPLACE FUNCTION pgjanus.adopt_index(relation text, named text, definition text, index_name text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE found regclass; kind text;
BEGIN
  SELECT c.oid, c.relkind INTO found, kind FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
  WHERE x.indrelid = relation::regclass AND c.relname = index_name
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'));
  IF kind = 'I' THEN EXECUTE format('DROP INDEX %s', found); END IF;
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', relation, named, CASE WHEN kind = 'i' THEN
    concat(substring(definition, '^PRIMARY KEY|^UNIQUE'), ' USING INDEX ', quote_ident(index_name), substring(definition, ' DEFERRABLE[A-Z ]*$'))
    ELSE definition END);
END $$;

-- The index of a partition that belongs to an index of its parent: attaching a partition, or making the
-- parent's index, has often made it already, under a name of Postgres' choice, or has found another that is alike.
CREATE OR REPLACE FUNCTION pgjanus.place_index(parent text, partition text, named text, creation text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE found regclass; called text; inside text; own regclass;
BEGIN
  SELECT quote_ident(n.nspname) INTO inside FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = partition::regclass;
  SELECT x.indexrelid INTO own FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
  WHERE x.indrelid = partition::regclass AND c.relname = named;
  SELECT c.oid, c.relname INTO found, called FROM pg_inherits i
  JOIN pg_index x ON x.indexrelid = i.inhrelid JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = parent::regclass AND x.indrelid = partition::regclass;
  IF found IS NULL THEN
    IF own IS NULL THEN EXECUTE creation; END IF;
    EXECUTE format('ALTER INDEX %s ATTACH PARTITION %s.%I', parent, inside, named);
  ELSIF called <> named THEN
    IF own IS NOT NULL THEN EXECUTE format('ALTER INDEX %s RENAME TO %I', own, 'pgjanus_aside_' || own::oid); END IF;
    EXECUTE format('ALTER INDEX %s RENAME TO %I', found, named);
    IF own IS NOT NULL THEN EXECUTE format('ALTER INDEX %s RENAME TO %I', own, called); END IF;
  END IF;
END $$;

-- The foreign key that a partition has from its parent, called as it is on the primary.
CREATE OR REPLACE FUNCTION pgjanus.place_foreign_key(parent text, parent_name text, partition text, named text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE called text;
BEGIN
  SELECT k.conname INTO called FROM pg_constraint k JOIN pg_constraint up ON up.oid = k.conparentid
  WHERE k.conrelid = partition::regclass AND k.confrelid = up.confrelid
    AND up.conrelid = parent::regclass AND up.conname = parent_name;
  IF called <> named THEN
    EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', partition, called, named);
  END IF;
END $$;

-- A constraint that was validated on the primary; one that is kept for the promotion remembers it.
CREATE OR REPLACE FUNCTION pgjanus.validate(relation text, constraint_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = relation::regclass AND k.conname = constraint_name
             AND NOT k.convalidated) THEN
    EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relation, constraint_name);
  END IF;
  UPDATE pgjanus.kept k SET definition = jsonb_build_object('validated', true,
    'definition', regexp_replace(k.definition ->> 'definition', ' NOT VALID$', ''))
  WHERE k.kind IN ('check', 'foreign key') AND k.name = constraint_name
    AND format('%I.%I', k.schema_name, k.table_name) = relation;
END $$;

-- A composite type's attribute, and the column of it that tables of this type have. DROP ATTRIBUTE … CASCADE would take
-- along what depends on such a column and is to be changed behind it.
CREATE OR REPLACE FUNCTION pgjanus.drop_attribute(composite text, attribute text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE typed regclass[]; one regclass;
BEGIN
  SELECT coalesce(array_agg(t.oid::regclass), '{}') INTO typed FROM pg_class t
  WHERE t.reloftype = (SELECT c.reltype FROM pg_class c WHERE c.oid = composite::regclass);
  FOREACH one IN ARRAY typed LOOP EXECUTE format('ALTER TABLE %s NOT OF', one); END LOOP;
  EXECUTE format('ALTER TYPE %s DROP ATTRIBUTE IF EXISTS %I', composite, attribute);
  FOREACH one IN ARRAY typed LOOP
    EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', one, attribute);
    EXECUTE format('ALTER TABLE %s OF %s', one, composite);
  END LOOP;
END $$;

-- What cannot be dropped yet gives up its name (proxy/ddl/aside.hpp), and those that are only its own: renaming is never
-- refused. A table's or materialized view's; it leaves its parents, whose rows would go into it, and with it:
CREATE OR REPLACE FUNCTION pgjanus.set_aside(relation text, aside text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE one record;
BEGIN
  FOR one IN SELECT h.inhparent::regclass AS parent, k.relispartition FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid
    WHERE h.inhrelid = relation::regclass LOOP
    IF one.relispartition THEN EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', one.parent, relation);
    ELSE EXECUTE format('ALTER TABLE %s NO INHERIT %s', relation, one.parent); END IF;
  END LOOP;
  FOR one IN SELECT 'INDEX' AS kind, x.indexrelid::regclass::text AS called, x.indexrelid AS id FROM pg_index x WHERE x.indrelid = relation::regclass
    UNION ALL SELECT 'SEQUENCE', s.oid::regclass::text, s.oid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = relation::regclass AND d.deptype IN ('a', 'i')
    UNION ALL SELECT 'STATISTICS', format('%I.%I', n.nspname, s.stxname), s.oid
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = relation::regclass LOOP
    EXECUTE format('ALTER %s %s RENAME TO %I', one.kind, one.called, 'pgjanus_gone_' || one.id);
  END LOOP;
  EXECUTE format('ALTER TABLE %s RENAME TO %I', relation, aside);
END $$;

-- A type's; a range has another one of several ranges, and functions that make both: the server's own, so only a superuser may
-- rename these, and only then the name is free for another range.
CREATE OR REPLACE FUNCTION pgjanus.set_type_aside(type text, aside text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE several regtype; one record;
BEGIN
  SELECT (to_jsonb(g) ->> 'rngmultitypid')::oid INTO several FROM pg_range g WHERE g.rngtypid = type::regtype;
  FOR one IN SELECT d.objid AS id, d.objid::regprocedure::text AS called FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
    AND pg_has_role(p.proowner, 'USAGE') WHERE d.classid = 'pg_proc'::regclass
    AND d.refclassid = 'pg_type'::regclass AND d.refobjid IN (type::regtype, several) AND d.deptype = 'i' LOOP
    EXECUTE format('ALTER FUNCTION %s RENAME TO %I', one.called, 'pgjanus_gone_' || one.id);
  END LOOP;
  IF several IS NOT NULL THEN EXECUTE format('ALTER TYPE %s RENAME TO %I', several, 'pgjanus_gone_' || several::oid); END IF;
  EXECUTE format('ALTER TYPE %s RENAME TO %I', type, aside);
END $$;

-- A column's, with those of children and of tables of the type; rows that come now need no value of it, nor does a sequence that
-- may be stopped give one. Not of a row type whose values stand in columns: these are read and written with all attributes.
CREATE OR REPLACE FUNCTION pgjanus.set_column_aside(relation text, named text, aside text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE c pg_class; one regclass; attribute pg_attribute;
BEGIN
  SELECT * INTO STRICT c FROM pg_class k WHERE k.oid = relation::regclass;
  SELECT u.oid INTO one FROM pg_type t JOIN pg_attribute a ON a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped
  JOIN pg_class u ON u.oid = a.attrelid AND u.relkind IN ('r', 'p', 'c') WHERE t.oid = c.reltype AND t.oid <> 0 LIMIT 1;
  IF FOUND THEN RAISE EXCEPTION '% has a column of the type of %', one, relation; END IF;
  FOR one IN WITH RECURSIVE below (id, depth) AS (
      SELECT k.oid, 0 FROM pg_class k WHERE k.oid = c.oid OR (c.relkind = 'c' AND k.reloftype = c.reltype)
      UNION ALL SELECT h.inhrelid, b.depth + 1 FROM below b JOIN pg_inherits h ON h.inhparent = b.id)
    SELECT b.id FROM below b JOIN pg_class k ON k.oid = b.id AND k.relkind <> 'c' GROUP BY b.id ORDER BY max(b.depth) LOOP
    SELECT * INTO attribute FROM pg_attribute a WHERE a.attrelid = one AND a.attname = named AND NOT a.attisdropped;
    CONTINUE WHEN NOT FOUND;
    IF attribute.attidentity <> '' THEN EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', one, named);
    ELSIF attribute.atthasdef AND attribute.attgenerated = '' THEN EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', one, named); END IF;
    IF attribute.attnotnull THEN EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', one, named); END IF;
    -- A domain may refuse it all the same: then the column stays as it is, and rows wait for its end.
    IF attribute.attgenerated = '' THEN EXECUTE format('SELECT NULL::%s', format_type(attribute.atttypid, attribute.atttypmod)); END IF;
  END LOOP;
  EXECUTE format(CASE c.relkind WHEN 'c' THEN 'ALTER TYPE %s RENAME ATTRIBUTE %I TO %I CASCADE'
                 ELSE 'ALTER TABLE %s RENAME COLUMN %I TO %I' END, relation, named, aside);
END $$;

-- Drops it, wherever it stands by now.
CREATE OR REPLACE FUNCTION pgjanus.drop_aside(kind text, aside text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE command text;
BEGIN
  LOOP
    command := NULL;
    IF kind = 'column' THEN  -- A type's, and a parent's, take others along.
      SELECT format(CASE c.relkind WHEN 'c' THEN 'SELECT pgjanus.drop_attribute(%L, %L)' ELSE 'ALTER TABLE %s DROP COLUMN %I' END,
        c.oid::regclass, aside) INTO command FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.attname = aside AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'c', 'f')
      ORDER BY c.relkind = 'c' DESC, a.attinhcount, c.oid LIMIT 1;
    ELSIF kind = 'constraint' THEN
      SELECT CASE WHEN k.conrelid <> 0 THEN format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, aside)
        ELSE format('ALTER DOMAIN %s DROP CONSTRAINT %I', k.contypid::regtype, aside) END INTO command
      FROM pg_constraint k WHERE k.conname = aside ORDER BY k.coninhcount, k.oid LIMIT 1;
    ELSIF kind = 'function' THEN
      SELECT format('DROP ROUTINE %s', p.oid::regprocedure) INTO command FROM pg_proc p WHERE p.proname = aside;
    ELSIF kind = 'type' THEN
      SELECT format('DROP TYPE %s', t.oid::regtype) INTO command FROM pg_type t WHERE t.typname = aside AND t.typrelid = 0;
    ELSIF kind = 'schema' THEN
      SELECT format('DROP SCHEMA %I', n.nspname) INTO command FROM pg_namespace n WHERE n.nspname = aside;
    ELSE
      SELECT format('DROP %s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
        WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, c.oid::regclass) INTO command
      FROM pg_class c WHERE c.relname = aside;
    END IF;
    EXIT WHEN command IS NULL;
    EXECUTE command;
  END LOOP;
END $$;
