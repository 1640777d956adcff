"""Tables that were another's children between two looks; trees whose rows are not ours to delete."""

import psycopg

from harness import equal_within
from test_ddl import alike, run

TABLES = """
CREATE TABLE par (id int, x text);
CREATE TABLE p (id int PRIMARY KEY, x text) PARTITION BY RANGE (id);
CREATE TABLE t (id int PRIMARY KEY, x text, extra int); INSERT INTO t SELECT i, 'x', i FROM generate_series(1, 20) i;
CREATE TABLE u (id int PRIMARY KEY, x text); INSERT INTO u SELECT i, 'x' FROM generate_series(1, 20) i;
CREATE TABLE loose (x text); INSERT INTO loose VALUES ('a'), ('a');
"""


def test_columns_that_the_parent_has_not_or_that_change_besides(source, target, sides, mirrored):
    """What INHERIT and ATTACH leave is a catalog row that was written although nothing in it changed: one is enough."""
    run(mirrored, "BEGIN; ALTER TABLE t INHERIT par; UPDATE par SET x = 'new' WHERE id < 3; DELETE FROM par WHERE id = 4; ALTER TABLE t NO INHERIT par; COMMIT")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; ALTER TABLE p ATTACH PARTITION u FOR VALUES FROM (0) TO (100); UPDATE p SET x = 'new' WHERE id < 3; DELETE FROM p WHERE id = 4;"
        "INSERT INTO p VALUES (50, 'i'); ALTER TABLE p DETACH PARTITION u; ALTER TABLE u ADD COLUMN z int; COMMIT")
    alike(mirrored, source, target, sides)
    with psycopg.connect(source.owner_url, autocommit=True) as past:
        for statement in ("ALTER TABLE t INHERIT par", "UPDATE par SET x = 'past' WHERE id < 3", "ALTER TABLE t NO INHERIT par"):
            past.execute(statement)
    equal_within(sides.source, sides.target)
    mirrored.do("verify")


def test_a_grant_on_columns_reads_nothing_anew(source, target, sides, mirrored):
    read = "SELECT (SELECT max(xmin::text::bigint) FROM u), (SELECT max(xmin::text::bigint) FROM loose)"
    before = sides.target.execute(read).fetchone()
    run(mirrored, "GRANT SELECT (id, x) ON u TO PUBLIC; GRANT SELECT (x) ON loose TO PUBLIC", "ALTER TABLE par ADD COLUMN y int")
    alike(mirrored, source, target, sides)
    assert sides.target.execute(read).fetchone() == before


def test_the_targets_rows_of_an_excluded_tree_stay(source, target, sides, app, programs):
    app("CREATE TABLE log (id int, x text) PARTITION BY RANGE (id); CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE k (id int PRIMARY KEY)")
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s", "PGJANUS_EXCLUDE": "public.log*"}).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    sides.target.execute("INSERT INTO log SELECT i, 'of its own' FROM generate_series(1, 5) i")
    run(pgjanus, "ALTER TABLE log DETACH PARTITION log_1; ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM (0) TO (200)", "INSERT INTO k VALUES (1)")
    pgjanus.wait_in_sync()
    assert sides.target.execute("SELECT count(*) FROM log").fetchone() == (5,)
