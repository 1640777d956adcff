"""What an object of one kind has that others do not: labels, attributes, parameters of its own. All of it arrives."""

from harness import wait_until
from test_ddl import alike, run, schema_of

TABLES = """
CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE empty AS ENUM ();
CREATE TABLE base (id int PRIMARY KEY, v text, m mood, e empty);
INSERT INTO base SELECT i, 'v' || i, 'a' FROM generate_series(1, 20) i; UPDATE base SET m = 'b' WHERE id % 3 = 0;
CREATE MATERIALIZED VIEW early WITH (fillfactor = 60) AS SELECT id, e FROM base; CREATE INDEX early_id ON early (id);
ALTER MATERIALIZED VIEW early CLUSTER ON early_id; ALTER MATERIALIZED VIEW early ALTER COLUMN id SET STATISTICS 3;
"""


def test_labels_of_enums(source, target, sides, mirrored):
    run(mirrored, "ALTER TYPE empty ADD VALUE 'first'", "UPDATE base SET e = 'first'", "ALTER TYPE empty ADD VALUE 'zero' BEFORE 'first'")
    alike(mirrored, source, target, sides)
    # A new one takes the name of one that is renamed; one behind it takes its place by the new one's name.
    run(mirrored, "BEGIN", "ALTER TYPE mood RENAME VALUE 'a' TO 'old_a'", "ALTER TYPE mood ADD VALUE 'a' BEFORE 'b'",
        "ALTER TYPE mood ADD VALUE 'aa' AFTER 'a'", "ALTER TYPE mood RENAME TO \"Mood %s\"", "COMMIT",
        "INSERT INTO base (id, m) VALUES (30, 'a'), (31, 'aa'), (32, 'old_a')")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN", "ALTER TYPE \"Mood %s\" RENAME VALUE 'a' TO 'c'", "ALTER TYPE \"Mood %s\" RENAME VALUE 'b' TO 'a'",
        "ALTER TYPE \"Mood %s\" RENAME VALUE 'c' TO 'b'", "UPDATE base SET m = 'b' WHERE id = 1", "COMMIT")
    alike(mirrored, source, target, sides)


def test_what_rows_have_in_a_new_column_of_any_type(source, target, sides, mirrored):
    """A box is delimited by a semicolon; an array is one value."""
    run(mirrored, "CREATE TYPE pair AS (n int, t text)",
        """ALTER TABLE base ADD b box DEFAULT '(1,1),(0,0)', ADD c box[] DEFAULT '{(1,1),(0,0);(3,3),(2,2)}', ADD d text[] DEFAULT '{a,NULL,"x y"}',
           ADD f text DEFAULT '{"a\\', ADD g text DEFAULT '', ADD h text DEFAULT 'NULL', ADD i pair DEFAULT ROW(1, 'x,"y'), ADD j timestamptz DEFAULT now()""",
        "UPDATE base SET v = 'w' WHERE id % 2 = 0")
    alike(mirrored, source, target, sides)


def test_percent_signs_in_names(source, target, sides, mirrored):
    run(mirrored, 'CREATE SCHEMA "50%s"', 'CREATE TABLE "50%s"."a%s" (id serial PRIMARY KEY, "c%s" text)', 'CREATE TYPE "50%s".e AS ENUM (\'a\')',
        'CREATE DOMAIN "50%s"."d%" AS int CONSTRAINT positive CHECK (VALUE > 0)', 'CREATE VIEW "50%s".v AS SELECT 1 AS one',
        'CREATE FUNCTION "50%s".f() RETURNS int LANGUAGE sql AS \'SELECT 1\'', 'CREATE STATISTICS "50%s".s ON id, "c%s" FROM "50%s"."a%s"')
    run(mirrored, 'ALTER TABLE "50%s"."a%s" RENAME TO "b%%"', 'ALTER SEQUENCE "50%s"."a%s_id_seq" RENAME TO "s%"', 'ALTER TYPE "50%s".e RENAME TO "f%s"',
        'ALTER DOMAIN "50%s"."d%" RENAME CONSTRAINT positive TO "%s"', 'ALTER VIEW "50%s".v RENAME TO "%v"', 'ALTER FUNCTION "50%s".f() RENAME TO "%f"',
        'ALTER STATISTICS "50%s".s RENAME TO "%s"',
        'ALTER TABLE "50%s"."b%%" RENAME "c%s" TO "d%s"', 'CREATE INDEX "i%s" ON "50%s"."b%%" ("d%s")', 'ALTER INDEX "50%s"."i%s" RENAME TO "j%s"',
        'INSERT INTO "50%s"."b%%" ("d%s") VALUES (\'%s\')', 'CREATE SCHEMA "%s"', 'ALTER TYPE "50%s"."f%s" SET SCHEMA "%s"', 'ALTER SCHEMA "50%s" RENAME TO "60%s"')
    alike(mirrored, source, target, sides)


def test_a_statement_that_the_mirror_cannot_even_parse_is_named(sides, app, mirrored):
    mirrored.kill9()
    sides.target.execute("""UPDATE pgjanus.shape SET doc = jsonb_set(doc, '{drop}', '"DROP TABEL base"') WHERE kind = 'table' AND doc ->> 'name' = 'base'""")
    app("DROP TABLE base CASCADE")
    mirrored.start()
    wait_until(lambda: mirrored.status()["mirror"]["state"] == "stalled", 20, "the mirror to stall")
    assert 'syntax error at or near "TABEL"' in mirrored.status()["mirror"]["error"]


def test_tables_of_a_type_follow_its_attributes(source, target, sides, mirrored):
    run(mirrored, "CREATE TYPE ty AS (id int, x text, n int)", "CREATE TABLE typed OF ty (PRIMARY KEY (id))", "CREATE TABLE keyless OF ty",
        "INSERT INTO typed VALUES (1, 'a', 1), (2, 'b', 2)", "INSERT INTO keyless VALUES (1, 'a', 1), (1, 'a', 1)",
        "CREATE VIEW shown AS SELECT id, x FROM typed", "CREATE VIEW above AS SELECT * FROM shown")
    run(mirrored, "ALTER TYPE ty ADD ATTRIBUTE y int CASCADE", "INSERT INTO typed VALUES (3, 'c', 3, 4)", "UPDATE keyless SET y = 7")
    alike(mirrored, source, target, sides)
    # What shows a column that goes is changed before, which is behind it on the mirror.
    run(mirrored, "BEGIN", "CREATE OR REPLACE VIEW shown AS SELECT id, 'none'::text AS x FROM typed", "ALTER TYPE ty DROP ATTRIBUTE x CASCADE",
        "ALTER TYPE ty RENAME ATTRIBUTE y TO z CASCADE", "ALTER TYPE ty ALTER ATTRIBUTE n TYPE bigint CASCADE", "UPDATE typed SET z = 5 WHERE id = 1", "COMMIT",
        "DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless)", "ALTER TABLE typed ALTER z SET DEFAULT 3")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN", "ALTER TABLE typed NOT OF", "ALTER TABLE typed ADD COLUMN own text DEFAULT 'o'", "ALTER TABLE typed DROP COLUMN z", "COMMIT",
        "BEGIN", "ALTER TYPE ty RENAME ATTRIBUTE n TO passing CASCADE", "ALTER TYPE ty RENAME ATTRIBUTE z TO n CASCADE",
        "ALTER TYPE ty RENAME ATTRIBUTE passing TO z CASCADE", "COMMIT",
        "ALTER TABLE keyless ADD PRIMARY KEY (id)", "UPDATE keyless SET z = 9")
    alike(mirrored, source, target, sides)


def test_what_an_aggregate_is_made_of(source, target, sides, mirrored):
    run(mirrored, """CREATE AGGREGATE mysum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = int,
                     SORTOP = OPERATOR(pg_catalog.<), SSPACE = 100, PARALLEL = SAFE)""",
        "CREATE AGGREGATE count_up(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0', COMBINEFUNC = int8pl, FINALFUNC = int8abs, FINALFUNC_MODIFY = SHAREABLE)",
        "COMMENT ON AGGREGATE count_up(*) IS 'counts'", "CREATE FUNCTION step(numeric[], float8) RETURNS numeric[] LANGUAGE sql AS 'SELECT $1'",
        'CREATE AGGREGATE "of%s"(ORDER BY float8) (SFUNC = step, STYPE = numeric[])')
    alike(mirrored, source, target, sides)
    run(mirrored, "CREATE VIEW summed AS SELECT mysum(id), count_up(*) FROM base", 'ALTER AGGREGATE "of%s"(ORDER BY float8) RENAME TO other',
        "CREATE OR REPLACE AGGREGATE mysum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '1')")
    alike(mirrored, source, target, sides)
    run(mirrored, "DROP AGGREGATE other(ORDER BY float8)", "DROP VIEW summed", "DROP AGGREGATE count_up(*)")
    alike(mirrored, source, target, sides)


def test_parameters_of_toast_tables_and_targets_of_statistics(source, target, sides, mirrored):
    run(mirrored, "ALTER TABLE base SET (toast.autovacuum_enabled = false, fillfactor = 50)",
        "CREATE TABLE other (id int PRIMARY KEY, t text) WITH (toast.autovacuum_enabled = false, toast.vacuum_truncate = false, parallel_workers = 2)",
        "CREATE STATISTICS together ON id, v FROM base", "CREATE STATISTICS late ON id, m FROM base", "ALTER STATISTICS late SET STATISTICS 70",
        "CREATE INDEX sums ON base ((id + 1), v, (lower(v)))", "ALTER INDEX sums ALTER COLUMN 3 SET STATISTICS 300",
        "BEGIN", "CREATE INDEX more ON other ((id + 1))", "ALTER INDEX more ALTER COLUMN 1 SET STATISTICS 50", "COMMIT")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER TABLE other RESET (toast.vacuum_truncate)")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER TABLE base RESET (toast.autovacuum_enabled)", "ALTER STATISTICS together SET STATISTICS 200", "ALTER STATISTICS late SET STATISTICS -1",
        "ALTER INDEX sums ALTER COLUMN 1 SET STATISTICS 20", "ALTER INDEX sums ALTER COLUMN 3 SET STATISTICS -1")
    alike(mirrored, source, target, sides)


def test_what_a_materialized_view_has_of_its_own(source, target, sides, app, mirrored):
    run(mirrored, "BEGIN", "CREATE MATERIALIZED VIEW shown WITH (fillfactor = 90) AS SELECT id, v FROM base", "CREATE INDEX shown_id ON shown (id)",
        "ALTER MATERIALIZED VIEW shown CLUSTER ON shown_id", "ALTER MATERIALIZED VIEW shown ALTER COLUMN v SET STATISTICS 7", "COMMIT")
    alike(mirrored, source, target, sides)
    for changes in (("SET (fillfactor = 70, toast.autovacuum_enabled = false)", "SET WITHOUT CLUSTER", "ALTER COLUMN v SET STORAGE EXTERNAL"),
                    ("RESET (fillfactor)", "ALTER COLUMN id SET (n_distinct = 9)", "ALTER COLUMN v SET COMPRESSION pglz", "RENAME COLUMN v TO w"),
                    ("CLUSTER ON shown_id", "ALTER COLUMN id RESET (n_distinct)", "ALTER COLUMN w SET STATISTICS -1", "RENAME TO other")):
        for change in changes:
            run(mirrored, "ALTER MATERIALIZED VIEW shown " + change)
        alike(mirrored, source, target, sides)
    for change in ("ALTER COLUMN w SET STATISTICS 9", "SET WITHOUT CLUSTER", "SET (fillfactor = 20)"):
        app("ALTER MATERIALIZED VIEW other " + change)
        wait_until(lambda: schema_of(source) == schema_of(target), 20, "the mirror to follow what went around it: " + change)
    run(mirrored, "DROP MATERIALIZED VIEW other")
    alike(mirrored, source, target, sides)


def test_an_extension_that_moves(source, target, sides, app, mirrored):
    """The mirror's role may not move what its script made; somebody else may, and then it goes on."""
    sides.source.execute("ALTER ROLE app SUPERUSER")
    run(mirrored, "CREATE SCHEMA ext", "CREATE EXTENSION citext", "CREATE TABLE words (word citext PRIMARY KEY, n int)", "INSERT INTO words VALUES ('A', 1)")
    alike(mirrored, source, target, sides)
    app("ALTER EXTENSION citext SET SCHEMA ext; UPDATE words SET word = 'a', n = 2; CREATE TABLE more (c ext.citext)")
    wait_until(lambda: mirrored.status()["mirror"]["state"] == "stalled", 20, "the mirror to stall")
    assert "extension citext: must be owner of type" in mirrored.status()["mirror"]["error"]
    sides.target.execute("ALTER EXTENSION citext SET SCHEMA ext")
    with mirrored.admin() as admin:
        admin.execute("RETRY")
    wait_until(lambda: sides.target.execute("SELECT to_regclass('more')").fetchone()[0], 20, "the table on the mirror")
    run(mirrored, "INSERT INTO words VALUES ('B', 3), ('c', 4)", "INSERT INTO more VALUES ('x')", "UPDATE words SET word = 'b' WHERE n = 3")
    alike(mirrored, source, target, sides)


def test_row_level_security_forced_on_the_owner(source, target, sides, mirrored):
    """Nothing is filtered: the mirror stops, says what helps, and goes on once that is done."""
    run(mirrored, "ALTER TABLE base ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON base USING (id < 1000)")
    alike(mirrored, source, target, sides)
    sides.source.execute("ALTER TABLE base FORCE ROW LEVEL SECURITY; UPDATE base SET v = 'forced' WHERE id = 3")
    wait_until(lambda: "NO FORCE ROW LEVEL SECURITY" in (mirrored.status()["mirror"].get("error") or ""), 20, "the mirror to stop")
    sides.source.execute("ALTER TABLE base NO FORCE ROW LEVEL SECURITY")
    alike(mirrored, source, target, sides)
