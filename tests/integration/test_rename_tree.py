"""A partitioned table that has another name on the target: its partitions, keys and indexes follow it there."""

import pytest

from harness import wait_until

SETTINGS = '[[rename]]\nsource = "public.p"\ntarget = "auth.q"\n'
TABLES = """
CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 900);
CREATE TABLE p (id int PRIMARY KEY, x text) PARTITION BY RANGE (id);
"""
CHANGES = ("CREATE TABLE p5 PARTITION OF p FOR VALUES FROM (500) TO (600)", "INSERT INTO p VALUES (501, 'd')",
           "ALTER TABLE p ATTACH PARTITION l FOR VALUES FROM (200) TO (300)", "INSERT INTO p VALUES (220, 'd')",
           "ALTER TABLE p ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES r", "CREATE INDEX p_x ON p (x)")
TREE = ("SELECT c.relname, k.conname, pg_get_indexdef(i.indexrelid) ~ 'UNIQUE' FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid "
        "LEFT JOIN pg_constraint k ON k.conrelid = c.oid WHERE c.relname IN ('pa', 'p5', 'l') ORDER BY 1, 2, 3")


@pytest.fixture
def renamed(source, target, app, configured):
    app(TABLES + "CREATE TABLE pa PARTITION OF p FOR VALUES FROM (0) TO (100);"
        "INSERT INTO p SELECT i, 'x' FROM generate_series(1, 50) i; CREATE TABLE l (id int PRIMARY KEY, x text); INSERT INTO l VALUES (201, 'l')")
    configured.write(SETTINGS)
    configured.start()
    for verb in ("prepare", "load"):
        configured.do(verb)
    configured.wait_in_sync()
    return configured


def same(sides):
    rows = "SELECT id, x, tableoid::regclass::text FROM {} ORDER BY 1"
    return (sides.source.execute(rows.format("p")).fetchall() == sides.target.execute(rows.format("auth.q")).fetchall()
            and sides.source.execute(TREE).fetchall() == sides.target.execute(TREE).fetchall())


def test_partitions_keys_and_indexes_come_both_ways(sides, renamed):
    with renamed.connect(autocommit=True) as client:
        for statement in CHANGES:
            client.execute(statement)
        wait_until(lambda: same(sides), 30, "the tree on the target")
        renamed.wait_in_sync()
        for verb in ("verify", "cutover"):
            renamed.do(verb)
        client.execute("CREATE TABLE p7 PARTITION OF p FOR VALUES FROM (700) TO (800)")
        client.execute("INSERT INTO p VALUES (701, 'back')")
        wait_until(lambda: sides.source.execute("SELECT 1 FROM p7").fetchall(), 30, "the partition on the source")
        renamed.wait_in_sync()
        for verb in ("verify", "rollback"):
            renamed.do(verb)
        wait_until(lambda: same(sides), 30, "keys to be valid")
