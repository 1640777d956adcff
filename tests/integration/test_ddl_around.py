"""DDL on a direct connection that moves values, and writes through pgjanus before it can have been found."""

import time

import pytest

from harness import wait_until
from test_ddl import alike, run, schema_of

TABLES = 4  # A look may come by chance between the two.
KEYED = "CREATE TABLE {t} (id int PRIMARY KEY, a int, b int); INSERT INTO {t} SELECT i, i, -i FROM generate_series(1, 9) i;"
GENERATED = ("CREATE TABLE {t} (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);"
             "INSERT INTO {t} SELECT i, i FROM generate_series(1, 9) i;")
TREE = ("CREATE TABLE {t} (id int, a int, PRIMARY KEY (id, a)) PARTITION BY LIST (a); CREATE TABLE {t}_1 PARTITION OF {t} FOR VALUES IN (1);"
        "CREATE TABLE {t}_rest PARTITION OF {t} DEFAULT; INSERT INTO {t} SELECT i, i % 2 FROM generate_series(1, 9) i;")
ENUM = "CREATE TYPE {t}_e AS ENUM ('x', 'y'); CREATE TABLE {t} (id int PRIMARY KEY, a {t}_e); INSERT INTO {t} SELECT i, 'x' FROM generate_series(1, 9) i;"
COMPOSITE = "CREATE TYPE {t}_c AS (x int, y int); CREATE TABLE {t} (id int PRIMARY KEY, a {t}_c); INSERT INTO {t} SELECT i, ROW(i, i)::{t}_c FROM generate_series(1, 9) i;"
ROW_TYPE = COMPOSITE.replace("CREATE TYPE {t}_c AS", "CREATE TABLE {t}_c")
FUNCTION = ("CREATE FUNCTION {t}_f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';"
            "CREATE TABLE {t} (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS ({t}_f(a)) STORED); INSERT INTO {t} SELECT i, i FROM generate_series(1, 9) i;")
SWAP = "BEGIN; ALTER TABLE {t} RENAME a TO c; ALTER TABLE {t} RENAME b TO a; ALTER TABLE {t} RENAME c TO b; COMMIT"
LABELS = "BEGIN; ALTER TYPE {t}_e RENAME VALUE 'x' TO 'z'; ALTER TYPE {t}_e RENAME VALUE 'y' TO 'x'; ALTER TYPE {t}_e RENAME VALUE 'z' TO 'y'; COMMIT"
UPDATE = "UPDATE {t} SET a = 700 WHERE id < 4"


@pytest.mark.parametrize("killed", (False, True), ids=("", "killed"))
@pytest.mark.parametrize("schema, change, write", (
    (KEYED, SWAP, UPDATE),
    (KEYED.replace(" PRIMARY KEY", ""), SWAP, UPDATE),
    (GENERATED, "ALTER TABLE {t} ALTER g DROP EXPRESSION", "UPDATE {t} SET g = 700 WHERE id < 4"),
    (TREE, "ALTER TABLE {t} DETACH PARTITION {t}_1", "INSERT INTO {t} SELECT i, 1 FROM generate_series(20, 29) i"),
    (TREE, "DROP TABLE {t}_1", "INSERT INTO {t} SELECT i, 1 FROM generate_series(20, 29) i"),
    (ENUM, LABELS, "UPDATE {t} SET a = 'x' WHERE id < 4"),
    (COMPOSITE, "ALTER TYPE {t}_c DROP ATTRIBUTE y, ADD ATTRIBUTE z int", "UPDATE {t} SET a = ROW(1, 700) WHERE id < 4"),
    (COMPOSITE.replace(" PRIMARY KEY", ""), "ALTER TYPE {t}_c DROP ATTRIBUTE y, ADD ATTRIBUTE z int", "UPDATE {t} SET a = ROW(1, 700) WHERE id < 4"),
    (ROW_TYPE, "ALTER TABLE {t}_c DROP y, ADD z int", "UPDATE {t} SET a = ROW(1, 700) WHERE id < 4"),
    (FUNCTION, "CREATE OR REPLACE FUNCTION {t}_f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1000'", UPDATE),
), ids=("names", "names without a key", "generated", "detached", "dropped", "labels", "attributes", "attributes without a key", "columns of a row type", "function"))
def test_a_look_comes_too_late(schema, change, write, killed, app, source, target, sides, configured):
    names = [f"t{i}" for i in range(TABLES)]
    app("".join(schema.format(t=name) for name in names))
    configured.write("[load]\nworkers = 2\n")
    configured.start()
    configured.do("prepare")
    configured.do("load")
    with configured.connect() as client, source.connect("app") as direct:
        for name in names:
            for statement in ("SET ROLE app", *change.format(t=name).split("; ")):
                direct.execute(statement)
            client.execute(write.format(t=name))
    if killed:
        configured.kill9()
        configured.start()
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(configured, source, target, sides)


@pytest.mark.parametrize("change, write", ((SWAP, UPDATE), (SWAP.replace("b", "id"), "UPDATE {t} SET a = 700 WHERE id = 3")), ids=("names", "the key's name"))
def test_there_and_back_between_two_looks(change, write, app, source, target, sides, pgjanus):
    """What the next look sees is as it was; rows that were read in between had each other's values."""
    names = [f"t{i}" for i in range(TABLES)]
    app("".join(KEYED.format(t=name) for name in names))
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client, source.connect("app") as direct:
        for name in names:
            for there in (True, False):
                for statement in ("SET ROLE app", *change.format(t=name).split("; ")):
                    direct.execute(statement)
                if there:
                    client.execute(write.format(t=name))
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


def test_a_table_does_not_fit_when_the_look_comes(app, source, target, sides, pgjanus):
    """It is not among the paired ones then."""
    names = [f"t{i}" for i in range(TABLES)]
    app("".join(ENUM.format(t=name) + f"ALTER TABLE {name} ADD c int DEFAULT 4;" for name in names))
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client, source.connect("app") as direct:
        for name in names:
            for statement in ("SET ROLE app", *LABELS.format(t=name).split("; ")):
                direct.execute(statement)
            client.execute(f"UPDATE {name} SET a = 'x' WHERE id < 4")
            direct.execute(f"ALTER TABLE {name} RENAME c TO d")
            client.execute(f"UPDATE {name} SET d = 1 WHERE id = 9")
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


def test_text_search_says_otherwise(app, sides, configured):
    """Another row of its catalog is none of its own: it was not noticed."""
    app("CREATE TEXT SEARCH CONFIGURATION cfg (COPY = simple); CREATE TABLE t (id int PRIMARY KEY)")
    configured.write("[load]\nworkers = 2\n")
    configured.start()
    configured.do("prepare")
    configured.do("load")
    change = "ALTER TEXT SEARCH CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH english_stem"
    run(configured, change)
    wait_until(lambda: "public.cfg was changed" in (configured.status()["mirror"]["error"] or ""), 30, "the mirror to stand still")
    sides.target.execute(change)
    with configured.admin() as operator:
        operator.execute("SKIP")
    configured.wait_in_sync()


@pytest.mark.parametrize("key", [", PRIMARY KEY (id, a)", ""], ids=["keyed", "keyless"])
def test_a_partition_comes_and_goes_between_two_looks(app, source, target, sides, pgjanus, key):
    """A batch in between sees its row, which the mirror would keep in the default partition: no journal says that it left with its own."""
    names = [f"t{i}" for i in range(TABLES)]
    app("CREATE TABLE other (id serial PRIMARY KEY); " + "".join(TREE.format(t=name).replace(", PRIMARY KEY (id, a)", key) for name in names))
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client, source.connect("app") as direct:
        direct.execute("SET ROLE app")
        for name in names:
            direct.execute(f"BEGIN; CREATE TABLE {name}_7 PARTITION OF {name} FOR VALUES IN (7); INSERT INTO {name} VALUES (1, 7); COMMIT")
            client.execute("INSERT INTO other DEFAULT VALUES")
            direct.execute(f"DROP TABLE {name}_7")
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


TRIGGER = "CREATE TRIGGER {t}_g BEFORE UPDATE OF a ON {t} FOR EACH ROW EXECUTE FUNCTION f()"


@pytest.mark.parametrize("made, meanwhile", (
    (TRIGGER, SWAP), (TRIGGER, "ALTER TRIGGER {t}_g ON {t} RENAME TO {t}_h"),
    ("CREATE INDEX {t}_i ON {t} (a)", "ALTER INDEX {t}_i RENAME TO {t}_j"),
    ("CREATE STATISTICS {t}_s ON a, b FROM {t}", "ALTER STATISTICS {t}_s RENAME TO {t}_t"),
), ids=("columns", "trigger", "index", "statistics"))
def test_names_change_while_the_schema_is_read(made, meanwhile, app, source, target, sides, pgjanus):
    """What the server says of a trigger has the names of now; what was asked for is the snapshot's. A partition that is locked holds the look in between."""
    names = [f"t{i}" for i in range(TABLES)]
    app("".join(KEYED.format(t=name) for name in names) + TREE.format(t="p") +
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    pgjanus.do("prepare")
    pgjanus.do("load")
    waits = "SELECT FROM pg_locks WHERE relation = 'p_1'::regclass AND NOT granted"
    with source.connect("app") as holder, source.connect("app") as direct:
        direct.execute("SET ROLE app")
        for name in names:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE p_1 IN ACCESS EXCLUSIVE MODE")
            direct.execute(f"BEGIN; CREATE TYPE {name}_whole AS ENUM (); {made.format(t=name)}; COMMIT")
            wait_until(lambda: direct.execute(waits).fetchone() is not None, 30, "a look", every=0.001)
            direct.execute(meanwhile.format(t=name))
            holder.execute("COMMIT")
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


def test_a_partition_is_described_before_it_is_seen(app, source, target, sides, pgjanus):
    """Whoever describes the tables once more between two looks must not take what is not on the mirror yet for known."""
    names = [f"t{i}" for i in range(TABLES)]
    app("".join(TREE.format(t=name) for name in names))
    pgjanus.do("prepare")
    pgjanus.do("load")
    with source.connect("app") as direct, pgjanus.admin() as operator:
        direct.execute("SET ROLE app")
        for name in names:
            direct.execute(f"CREATE TABLE {name}_7 PARTITION OF {name} FOR VALUES IN (7)")
            operator.execute("RETRY")
            direct.execute(f"INSERT INTO {name} VALUES (1, 7)")
            wait_until(lambda name=name: sides.target.execute(f"SELECT count(*) FROM {name} WHERE a = 7").fetchone() == (1,), 30, "the row", every=0.001)
            direct.execute(f"DROP TABLE {name}_7")
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
    alike(pgjanus, source, target, sides)


def test_a_partition_comes_and_goes_before_the_catalog_of_a_flip_is_read(app, source, target, sides, pgjanus):
    """Nobody looks until then: its row waits."""
    app(TREE.format(t="t"))
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with target.connect("app") as direct, source.connect("app", autocommit=False) as locker:
        locker.execute("LOCK TABLE pgjanus.shape IN EXCLUSIVE MODE")  # As storing takes with thousands of tables.
        pgjanus.do("cutover")
        direct.execute("SET ROLE app")
        direct.execute("BEGIN; CREATE TABLE t_7 PARTITION OF t FOR VALUES IN (7); INSERT INTO t VALUES (1, 7); COMMIT")
        seen, until = False, time.monotonic() + 0.4
        while not seen and time.monotonic() < until:
            seen = sides.source.execute("SELECT 1 FROM t WHERE a = 7").fetchone() is not None
        direct.execute("DROP TABLE t_7")
    pgjanus.wait_in_sync()
    assert "ddl_may_be_missed" not in pgjanus.log()
    alike(pgjanus, source, target, sides)
