"""Another program takes over a migration in its middle: what `prepare` left in schema pgjanus is an older one's."""

from harness import assert_equal, wait_until

TABLES = """
CREATE TABLE held (id int PRIMARY KEY, n int);
CREATE TABLE tree (id int PRIMARY KEY, h int REFERENCES held) PARTITION BY RANGE (id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (100);
CREATE SEQUENCE counted;
INSERT INTO held VALUES (1, 1); INSERT INTO tree VALUES (1, 1);
"""
# As a program left it that had fewer functions, and one with a fault.
OLDER = """
DROP FUNCTION pgjanus.place_foreign_key, pgjanus.define_sequence, pgjanus.place_index;
CREATE OR REPLACE FUNCTION pgjanus.stop_sequences() RETURNS void LANGUAGE sql AS 'SELECT';
UPDATE pgjanus.state SET extra = extra - 'functions'
"""
FUNCTIONS = """SELECT array_agg(p.oid::regprocedure::text || md5(p.prosrc) || coalesce(p.proacl::text, '') ORDER BY p.proname) FROM pg_proc p
               WHERE p.pronamespace = 'pgjanus'::regnamespace AND p.proname !~ '^capture_'"""


def test_the_functions_of_an_older_program_are_renewed(mirrored, sides):
    whole = [side.execute(FUNCTIONS).fetchone() for side in (sides.source, sides.target)]
    mirrored.kill9()
    for side in (sides.source, sides.target):
        side.execute(OLDER)
    mirrored.start()
    mirrored.wait_in_sync()
    assert mirrored.log().count("functions_renewed") == 2
    with mirrored.connect() as client:
        client.execute("ALTER TABLE tree DETACH PARTITION tree_1")
        client.execute("ALTER TABLE tree ATTACH PARTITION tree_1 FOR VALUES FROM (0) TO (200)")
        client.execute("CREATE INDEX seen ON tree (h); CREATE SEQUENCE another; ALTER SEQUENCE counted INCREMENT 5")
        client.execute("SELECT nextval('counted'), nextval('another')")
        client.execute("INSERT INTO tree VALUES (2, 1)")
    mirrored.wait_in_sync()
    for verb in ("verify", "cutover"):
        mirrored.do(verb)
    assert_equal(sides.source, sides.target)
    assert sides.source.execute("SELECT last_value FROM counted").fetchone() == \
        sides.target.execute("SELECT last_value FROM counted").fetchone()
    assert [side.execute(FUNCTIONS).fetchone() for side in (sides.source, sides.target)] == whole
    mirrored.stop()
    mirrored.start()
    wait_until(lambda: "primary_found" in mirrored.log().rsplit("functions_renewed", 1)[-1], 20, "the second start")
    assert mirrored.log().count("functions_renewed") == 2, "they are its own by now"


def test_the_tables_of_a_newer_program_are_left_alone(mirrored, sides):
    mirrored.stop()
    sides.target.execute("UPDATE pgjanus.state SET version = 2")
    mirrored.start(ready=False)
    wait_until(lambda: "schema pgjanus is of version 2, and this program knows version 1" in mirrored.log(), 20, "the refusal")
    sides.target.execute("UPDATE pgjanus.state SET version = 1")
    mirrored.wait_in_sync()
