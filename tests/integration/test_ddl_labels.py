"""Labels of enums, and attributes of types, that change: keys, and whole rows of tables without one, are noted as text, by those of then."""

import pytest

from harness import wait_until
from test_ddl import alike, run, schema_of

RENAME = ["ALTER TYPE mood RENAME VALUE 'x' TO 'z'"]
SWAP = [*RENAME, "ALTER TYPE mood RENAME VALUE 'y' TO 'x'", "ALTER TYPE mood RENAME VALUE 'z' TO 'y'"]
KEYS = {"key": "CREATE TABLE t (e mood PRIMARY KEY, n int)", "no key": "CREATE TABLE t (e mood, n int)",
        "nested": "CREATE DOMAIN of_moods AS mood[]; CREATE TYPE pair AS (e of_moods, n int); CREATE TABLE t (id int, e pair)"}


def values(key, label):
    return f"(1, ROW(ARRAY['{label}']::mood[], 1)::pair)" if key == "nested" else f"('{label}', 1)"


@pytest.fixture
def of_moods(app, pgjanus):
    def begin(key):
        app("CREATE TYPE mood AS ENUM ('x', 'y'); " + KEYS[key])
        pgjanus.do("prepare")
        pgjanus.do("load")
        pgjanus.wait_in_sync()
    return begin


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("renames", (SWAP, RENAME, SWAP + SWAP), ids=("swap", "rename", "there and back"))
def test_labels_in_what_the_journal_notes(key, renames, source, target, sides, pgjanus, of_moods):
    of_moods(key)
    insert = "INSERT INTO t VALUES " + values(key, "x")
    half = len(renames) // 2 if len(renames) > len(SWAP) else 0  # There and back: noted by the labels in between.
    run(pgjanus, "BEGIN", *renames[:half], insert, *renames[half:], "COMMIT")
    alike(pgjanus, source, target, sides)


@pytest.mark.parametrize("key", ("key", "no key"))
def test_labels_around_us(key, source, target, sides, pgjanus, of_moods):
    of_moods(key)
    with pgjanus.connect() as client, source.connect("app") as direct:
        for label in ("x", "y", "x"):
            client.execute("DELETE FROM t")
            client.execute("INSERT INTO t VALUES " + values(key, label))
            for statement in ("SET ROLE app", "BEGIN", *SWAP, "COMMIT"):
                direct.execute(statement)
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


@pytest.mark.parametrize("schema, write", (
    ("CREATE TABLE t (id int PRIMARY KEY, e mood)", "INSERT INTO t VALUES ({n}, 'x')"), (KEYS["key"], "DELETE FROM t; INSERT INTO t VALUES ('x', {n})"),
    (KEYS["no key"], "INSERT INTO t VALUES ('x', {n})")), ids=("value", "key", "no key"))
def test_there_and_back_around_us(schema, write, app, source, target, sides, pgjanus):
    """What was written in between was read by the labels of then. The next look finds the same labels, whose rows were written."""
    app("CREATE TYPE mood AS ENUM ('x', 'y'); " + schema)
    pgjanus.do("prepare")
    pgjanus.do("load")
    pgjanus.wait_in_sync()
    rows = "SELECT array_agg(t::text ORDER BY t::text) FROM t"
    with pgjanus.connect() as client, source.connect("app") as direct:
        direct.execute("SET ROLE app")
        for n in range(3):
            direct.execute("BEGIN; " + "; ".join(SWAP) + "; COMMIT")
            client.execute(write.format(n=n))
            direct.execute("BEGIN; " + "; ".join(SWAP) + "; COMMIT")
    wait_until(lambda: sides.source.execute(rows).fetchone() == sides.target.execute(rows).fetchone(), 10, "a look")
    alike(pgjanus, source, target, sides)


@pytest.mark.parametrize("killed", (False, True), ids=("", "killed"))
@pytest.mark.parametrize("key", ("key", "no key"))
def test_who_wrote_by_the_labels_of_before_commits_late(key, killed, source, target, sides, pgjanus, of_moods):
    """Nothing keeps labels from being renamed while somebody writes."""
    of_moods(key)
    with source.connect("app", autocommit=False) as writer:
        writer.execute("SET ROLE app")
        writer.execute("INSERT INTO t VALUES " + values(key, "x"))
        run(pgjanus, "BEGIN", *SWAP, "COMMIT")
        wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
        if killed:
            pgjanus.kill9()
            pgjanus.start()
            pgjanus.wait_in_sync()
        writer.commit()
    alike(pgjanus, source, target, sides)


@pytest.mark.parametrize("made, key", (("TYPE pair AS", " PRIMARY KEY"), ("TYPE pair AS", ""), ("TABLE pair", "")), ids=("key", "no key", "row type"))
@pytest.mark.parametrize("changes", (["ADD c int"], ["DROP b"], ["DROP b, ADD c int"], ["ADD c int", "DROP c"]))
def test_attributes_in_what_the_journal_notes(made, key, changes, app, source, target, sides, pgjanus):
    app(f"CREATE {made} (a int, b int); CREATE TABLE t (e pair{key}, n int); INSERT INTO t SELECT ROW(i, 7)::pair, i FROM generate_series(1, 9) i")
    alter, word = f"ALTER {made.split()[0]} pair ", "COLUMN" if "TABLE" in made else "ATTRIBUTE"
    pgjanus.do("prepare")
    pgjanus.do("load")
    pgjanus.wait_in_sync()
    with pgjanus.connect() as late, pgjanus.connect() as client:
        late.autocommit = False
        late.execute("DELETE FROM t WHERE n = 1")
        client.execute("BEGIN")
        for n, change in enumerate(changes, start=2):
            client.execute(f"DELETE FROM t WHERE n = {n}")
            client.execute(alter + change.replace("ADD", "ADD " + word).replace("DROP", "DROP " + word))
        client.execute("DELETE FROM t WHERE n = 8; COMMIT")
        wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
        late.commit()
    alike(pgjanus, source, target, sides)


@pytest.mark.parametrize("key", (" PRIMARY KEY", ""), ids=("key", "no key"))
@pytest.mark.parametrize("late", (False, True), ids=("", "commits late"))
def test_a_view_whose_row_type_is_noted_gets_a_column(late, key, app, source, target, sides, pgjanus):
    """Views come behind the rows, but not those whose row type these have."""
    app(f"CREATE TABLE base (a int, b int); CREATE VIEW v AS SELECT a FROM base; CREATE TABLE t (e v{key}, n int); INSERT INTO t SELECT ROW(i)::v, i FROM generate_series(1, 9) i")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as writer, pgjanus.connect() as client:
        writer.autocommit = False
        if late:
            writer.execute("DELETE FROM t WHERE n = 1")
        run(pgjanus, "BEGIN", "DELETE FROM t WHERE n = 2", "ALTER TABLE base ADD c int", "CREATE OR REPLACE VIEW v AS SELECT a, c FROM base",
            "DELETE FROM t WHERE n = 8", "INSERT INTO t VALUES (ROW(10, 20)::v, 10)", "COMMIT")
        client.execute("INSERT INTO t VALUES (ROW(11, 21)::v, 11)")
        wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
        writer.commit()
    alike(pgjanus, source, target, sides)
