"""DDL of tables that are mirrored already, while a load goes on with others; and what the load's end makes of it."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import wait_until
from test_ddl import BASE, alike, pgjanus, run  # noqa: F401 - a fixture

# Partitioned, so that no pack of small tables waits with it.
HELD = ("CREATE TABLE held (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE held_1 PARTITION OF held DEFAULT;"
        "INSERT INTO held SELECT generate_series(1, 50);")
PAIR = ("CREATE TABLE this (id int PRIMARY KEY, t text); INSERT INTO this VALUES (1, 'this');"
        "CREATE TABLE that (id int PRIMARY KEY, n int); INSERT INTO that VALUES (1, 1)")


def states(sides):
    return dict(sides.target.execute("SELECT table_name, state FROM pgjanus.tables").fetchall())


@contextlib.contextmanager
def loading(target, sides, program):
    """A load under way that has come to its end for all tables but `held`. Behind the block it may end, and has to."""
    with ThreadPoolExecutor(1) as side, target.connect("app", autocommit=False) as somebody:  # There pg_dump passes by.
        somebody.execute("LOCK TABLE held IN SHARE MODE")
        load = side.submit(program.do, "load")
        try:
            wait_until(lambda: [state for table, state in states(sides).items() if table != "held"].count("mirrored") ==
                       len(states(sides)) - 1, 30, lambda: f"the others to be mirrored: {states(sides)}")
            yield
        finally:
            somebody.execute("COMMIT")
        load.result()


@pytest.fixture
def prepared(app, pgjanus):  # noqa: F811
    app(BASE + HELD + PAIR)
    pgjanus.do("prepare")
    return pgjanus


@pytest.mark.parametrize("changes", (
    ("ALTER TABLE accounts ALTER balance TYPE text USING 'x' || balance", "UPDATE accounts SET balance = 'y' WHERE id < 5"),
    ("ALTER TABLE heap ALTER number TYPE bigint", "INSERT INTO heap VALUES ('large', 1099511627776)"),
    ("ALTER TABLE accounts ALTER owner DROP NOT NULL", "UPDATE accounts SET owner = NULL WHERE id < 5"),
    ("ALTER TABLE this DROP CONSTRAINT this_pkey", "INSERT INTO this SELECT * FROM this"),
), ids=("values", "larger", "null", "twice"))
def test_values_that_the_tables_of_before_refuse(changes, source, target, sides, prepared):
    """Not a reason to end: replaying begins, and what they are values of is there."""
    with loading(target, sides, prepared):
        run(prepared, *changes)
    alike(prepared, source, target, sides)
    prepared.do("verify")


@pytest.mark.parametrize("change", (
    "DROP TABLE this; CREATE TABLE this (id int PRIMARY KEY, t text); INSERT INTO this VALUES (1, 'new'), (2, 'new')",
    "DROP TABLE heap; CREATE TABLE heap (word text, number int); INSERT INTO heap VALUES ('new', 1), ('new', 1)",
    "DROP TABLE days_1; CREATE TABLE days_1 PARTITION OF days DEFAULT; INSERT INTO days VALUES ('2026-01-05', 1, 'new')",
    "ALTER TABLE this RENAME TO old; CREATE TABLE this (LIKE old INCLUDING ALL); INSERT INTO this VALUES (7, 'new')",
    "DROP TABLE this",
    "ALTER TABLE this RENAME TO old; ALTER TABLE days_1 RENAME TO this; ALTER TABLE old RENAME TO days_1",
), ids=("made anew", "without a key", "a partition", "renamed", "dropped", "a partition's name"))
def test_another_table_has_the_name_when_the_load_begins(change, source, target, sides, prepared):
    run(prepared, f"BEGIN; {change}; COMMIT")
    prepared.do("load")
    alike(prepared, source, target, sides)
    prepared.do("verify")


def test_tables_are_dropped_that_wait_for_their_turn(app, source, target, sides, configured):
    app("CREATE TABLE big (id int PRIMARY KEY, t text); INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, 9000) i;"
        "CREATE TABLE other (LIKE big INCLUDING ALL); INSERT INTO other SELECT * FROM big WHERE id < 4000;"
        "CREATE TABLE loose AS TABLE other")
    configured.write("[load]\nworkers = 1\nrows_per_second = 2000\n")
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    wait_until(lambda: set(states(sides).values()) == {"loading"}, 30, "the load to be under way")
    run(configured, "DROP TABLE loose", "DROP TABLE other")
    configured.write("[load]\nworkers = 1\n")
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    alike(configured, source, target, sides)


ROTATE = ("BEGIN; CREATE TABLE e_1 (LIKE e INCLUDING ALL); WITH gone AS (DELETE FROM e_rest WHERE l = 1 RETURNING *) INSERT INTO e_1 SELECT * FROM gone;"
          "ALTER TABLE e ATTACH PARTITION e_1 FOR VALUES IN (1); COMMIT;"
          "BEGIN; ALTER TABLE e DETACH PARTITION e_rest; ALTER TABLE e_rest RENAME TO archive; CREATE TABLE e_rest PARTITION OF e DEFAULT;"
          "INSERT INTO e SELECT i, 0, 'new' FROM generate_series(1, 200) i; COMMIT")


@pytest.mark.parametrize("way", ("stopped", "killed", "not begun"))
def test_partitions_rotate_while_a_load_waits(way, app, source, target, sides, configured):
    """They are where the app has them before the load goes on, or its rows would go into those of before and leave with them."""
    app("CREATE TABLE e (id int, l int, a text, PRIMARY KEY (id, l)) PARTITION BY LIST (l); CREATE TABLE e_rest PARTITION OF e DEFAULT; CREATE INDEX ON e (a);"
        "INSERT INTO e SELECT i, i % 5, repeat('x', 100) FROM generate_series(1, 12000) i")
    configured.write("[load]\nworkers = 1\nrows_per_second = 2000\n")
    configured.start()
    configured.do("prepare")
    if way != "not begun":
        verb = configured.cli_process("load")
        wait_until(lambda: set(states(sides).values()) == {"loading"}, 30, "the load to be under way")
    if way == "stopped":
        configured.do("load", "--stop")
    if way == "killed":  # With the partitions noted on the source, and none of them on the target.
        with target.connect("app", autocommit=False) as somebody:
            somebody.execute("SELECT FROM e_rest LIMIT 1")
            app(ROTATE)
            wait_until(lambda: "event=table_is_new table=public.archive" in configured.log(), 30, "the table to be listed")
            configured.kill9()
    else:
        app(ROTATE)
    if way == "stopped":
        wait_until(lambda: "event=ddl_followed" in configured.log(), 30, "the mirror to follow meanwhile")
    if way != "not begun":
        verb.wait(timeout=30)
    configured.write("[load]\nworkers = 1\n")
    if way == "killed":
        configured.start()
    configured.do("load")
    alike(configured, source, target, sides)
    configured.do("verify")


INDEXES = ("CREATE TABLE many (id int PRIMARY KEY, a text, n int CONSTRAINT many_n UNIQUE, f int CONSTRAINT many_f REFERENCES many); CREATE INDEX many_a ON many (a);"
           "CREATE TABLE loose (id int, l int) PARTITION BY HASH (id); CREATE TABLE loose_1 PARTITION OF loose FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
           "INSERT INTO many SELECT i, i, i FROM generate_series(1, 50) i; INSERT INTO loose SELECT i, i FROM generate_series(1, 50) i")


@pytest.mark.parametrize("changes", (
    ("ALTER INDEX many_a RENAME TO other", "ALTER TABLE many RENAME CONSTRAINT many_n TO many_other", "ALTER TABLE many RENAME CONSTRAINT many_f TO many_ff"),
    ("ALTER INDEX many_a RENAME TO other", "CREATE INDEX many_a ON many (n, a)"),
    ("ALTER TABLE loose ADD PRIMARY KEY (id)", "UPDATE loose SET l = 7 WHERE id < 9"),
), ids=("renamed", "another one", "a tree's key"))
def test_the_load_has_built_it_as_it_is_by_now(changes, app, source, target, sides, pgjanus):  # noqa: F811
    app(INDEXES)
    pgjanus.do("prepare")
    run(pgjanus, *changes)
    pgjanus.do("load")
    alike(pgjanus, source, target, sides)


def test_what_a_load_that_replays_has_still_to_build(app, source, target, sides, pgjanus):  # noqa: F811
    """A key that goes from a table which was renamed before; and what names an index that does not stand yet."""
    app(BASE + HELD + PAIR)
    pgjanus.do("prepare")
    with loading(target, sides, pgjanus):
        run(pgjanus, "BEGIN; ALTER TABLE this RENAME TO x; ALTER TABLE that RENAME TO this; ALTER TABLE x RENAME TO that; COMMIT",
            "UPDATE this SET n = 7")
        wait_until(lambda: "ddl_followed" in pgjanus.log(), 30, "replaying to begin")
        run(pgjanus, "ALTER TABLE that DROP CONSTRAINT this_pkey", "CREATE INDEX heap_words ON heap (word)", "CLUSTER heap USING heap_words",
            "CREATE UNIQUE INDEX accounts_owner ON accounts (owner)",
            "ALTER TABLE accounts REPLICA IDENTITY USING INDEX accounts_owner")
    alike(pgjanus, source, target, sides)
    run(pgjanus, "INSERT INTO that SELECT * FROM that")
    alike(pgjanus, source, target, sides)


def test_columns_exchange_names_before_a_copy_gets_its_lock(app, source, target, sides, pgjanus):
    """Rows that were copied by the names of now, into columns that the mirror renames afterwards, are copied again."""
    app("CREATE TABLE t (id int PRIMARY KEY, c text, e text); INSERT INTO t SELECT i, 'c' || i, 'e' || i FROM generate_series(1, 50) i")
    pgjanus.do("prepare")
    with target.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        verb = pgjanus.cli_process("load")
        wait_until(lambda: target.execute("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted", database="app")[0][0], 30, "the load to wait")
        app("BEGIN; ALTER TABLE t RENAME c TO x; ALTER TABLE t RENAME e TO c; ALTER TABLE t RENAME x TO e; COMMIT")
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    alike(pgjanus, source, target, sides)
    pgjanus.do("verify")


def test_an_index_comes_and_goes_while_a_load_is_at_its_last_step(app, source, target, sides, pgjanus):  # noqa: F811
    """The load's last dump has it, and no look has seen it. What the target has of its own stays."""
    app(BASE + HELD + "CREATE TABLE below (id int PRIMARY KEY); CREATE MATERIALIZED VIEW above AS SELECT id FROM below")
    pgjanus.do("prepare")
    with ThreadPoolExecutor(1) as side, target.connect("app", autocommit=False) as one, target.connect("app", autocommit=False) as other:
        one.execute("LOCK TABLE held IN SHARE MODE")
        load = side.submit(pgjanus.do, "load")
        try:
            wait_until(lambda: list(states(sides).values()).count("mirrored") == len(states(sides)) - 1, 30, "the others to be mirrored")
            other.execute("LOCK TABLE below IN ACCESS EXCLUSIVE MODE")  # REFRESH waits for it.
            app("CREATE INDEX passing ON accounts (owner); CREATE STATISTICS passing_too ON id, owner FROM accounts")
            sides.target.execute("CREATE INDEX its_own ON accounts (balance)")
            one.execute("COMMIT")
            wait_until(lambda: sides.target.execute("SELECT 1 FROM pg_statistic_ext WHERE stxname = 'passing_too'").fetchall(), 30, "the last step")
            app("DROP INDEX passing; DROP STATISTICS passing_too")
        finally:
            one.execute("COMMIT")
            other.execute("COMMIT")
        load.result()
    sides.target.execute("DROP INDEX its_own")
    alike(pgjanus, source, target, sides)
