"""DDL on tables that a load has described and not copied yet, or is at: no row comes without a column, no capture by the key of before."""

import pytest

from harness import wait_until
from test_ddl import alike, run

# The first takes the only worker for longer than any of this waits, until the limit is lifted.
SLOW = "[load]\nyield = \"off\"\nworkers = 1\nrows_per_second = 1000\n"
FAST = "[load]\nyield = \"off\"\nworkers = 1\n"
BIG = "CREATE TABLE big (id int PRIMARY KEY, t text); INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, 60000) i;"


@pytest.fixture
def waiting(app, sides, configured):
    """begin(schema): a load that is at `big`, and has described the tables of `schema`. end(verb) lets it go on, and waits."""

    def begin(schema):
        app(BIG + schema)
        configured.write(SLOW)
        configured.start()
        configured.do("prepare")
        verb = configured.cli_process("load")
        part = "SELECT count(*) FROM pgjanus.chunks WHERE relation = 'public.big'"
        wait_until(lambda: sides.target.execute(part).fetchone()[0] > 0, 30, "a plan of the big table")
        return verb

    def end(verb):
        assert verb.poll() is None, "the load is over already"
        configured.write(FAST)
        _, err = verb.communicate(timeout=60)
        assert verb.returncode == 0, err

    return begin, end


def there(sides, table, column, condition="true"):
    return sides.target.execute("SELECT count(*) FROM pg_attribute a WHERE attrelid = to_regclass(%s) AND attname = %s "
                                "AND attnum > 0 AND " + condition, (table, column)).fetchone()[0] == 1


@pytest.mark.parametrize("key", ("", "PRIMARY KEY"), ids=("without a key", "with a key"))
@pytest.mark.parametrize("change, follows", (
    ("ALTER TABLE small ADD x int; UPDATE small SET x = id WHERE id < 10", "true"),
    ("ALTER TABLE small ADD x int DEFAULT 5; ALTER TABLE small ALTER x DROP DEFAULT", "NOT a.atthasdef"),
    ("ALTER TABLE small ALTER g DROP EXPRESSION; ALTER TABLE small RENAME g TO x", "attgenerated = ''"),
), ids=("added", "filled", "generated"))
def test_columns_that_came_after_the_table_was_described(key, change, follows, waiting, source, target, sides, configured):
    begin, end = waiting
    verb = begin(f"CREATE TABLE small (id int {key}, g int GENERATED ALWAYS AS (id * 2) STORED);"
                 "INSERT INTO small SELECT generate_series(1, 100)")
    run(configured, change)
    wait_until(lambda: there(sides, "small", "x", follows), 30, "the mirror to follow")
    end(verb)
    alike(configured, source, target, sides)


def test_a_generated_column_becomes_an_ordinary_one_behind_its_copy(app, source, target, sides, configured):
    """The mirror follows once the load is through."""
    app("CREATE TABLE small (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO small SELECT generate_series(1, 100)")
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    configured.do("load")
    run(configured, "ALTER TABLE small ALTER g DROP EXPRESSION; UPDATE small SET g = 1 WHERE id = 5")
    alike(configured, source, target, sides)


@pytest.mark.parametrize("partitioned", (False, True), ids=("in a pack", "by itself"))
def test_another_key_before_capture_is_made(partitioned, waiting, source, target, sides, configured):
    """What the mirror's triggers note counts once it is the primary."""
    begin, end = waiting
    verb = begin("CREATE TABLE small (id int PRIMARY KEY, k int NOT NULL) " + ("PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF small DEFAULT;"
                 if partitioned else ";") + "INSERT INTO small SELECT i, -i FROM generate_series(1, 100) i")
    run(configured, "ALTER TABLE small DROP CONSTRAINT small_pkey; ALTER TABLE small ALTER id DROP NOT NULL" if partitioned else
        "ALTER TABLE small DROP CONSTRAINT small_pkey; ALTER TABLE small ADD PRIMARY KEY (k)")
    listed = "SELECT key_columns FROM pgjanus.tables WHERE table_name = 'small'"
    wait_until(lambda: sides.target.execute(listed).fetchone() != (["id"],), 30, "the mirror's list to follow")
    end(verb)
    configured.do("verify")
    configured.do("cutover")
    run(configured, "UPDATE small SET k = k - 1000 WHERE id < 5", "UPDATE small SET id = id + 1000 WHERE id = 7", "DELETE FROM small WHERE id = 9")
    alike(configured, source, target, sides)


@pytest.mark.parametrize("key", ("", "PRIMARY KEY"), ids=("whole", "in chunks"))
def test_ddl_does_not_wait_for_a_copy(key, app, source, target, sides, configured):
    """Nor does what others wrote meanwhile: the load lets its table go, and copies that part again."""
    app(f"CREATE TABLE big (id int {key}, t text); INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, 60000) i; CREATE TABLE done (id int PRIMARY KEY)")
    configured.write(SLOW.replace("workers = 1", "workers = 3"))
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    state = "SELECT state FROM pgjanus.tables WHERE table_name = 'done'"
    wait_until(lambda: sides.target.execute(state).fetchone() == ("mirrored",), 30, "the other table to be mirrored")
    gives_way(verb, "x", source, target, sides, configured)
    configured.write(SLOW)
    verb = configured.cli_process("load", "public.big")  # Once more, beside the mirror loop.
    gives_way(verb, "y", source, target, sides, configured)


def gives_way(verb, column, source, target, sides, configured):
    locked = "SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND mode = 'RowExclusiveLock' AND granted"
    wait_until(lambda: sides.target.execute(locked).fetchone()[0] > 0, 30, "rows to be copied")
    before = sides.target.execute("SELECT count(*) FROM done").fetchone()[0]
    run(configured, f"ALTER TABLE big ADD {column} int DEFAULT 3", f"INSERT INTO done VALUES ({before})")
    wait_until(lambda: sides.target.execute("SELECT count(*) FROM done").fetchone()[0] > before, 30, "the row of another table")
    assert there(sides, "big", column) and verb.poll() is None
    configured.write(FAST)
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    alike(configured, source, target, sides)


def test_another_table_has_the_name_of_a_chunk(waiting, source, target, sides, configured):
    begin, end = waiting
    verb = begin("CREATE TABLE mid (id int PRIMARY KEY, t text, n int); INSERT INTO mid SELECT i, repeat('x', 300), i FROM generate_series(1, 9000) i;"
                 "CREATE TABLE small (id int PRIMARY KEY, t text)")
    planned = "SELECT count(*) FROM pgjanus.chunks WHERE relation = 'public.mid'"
    wait_until(lambda: sides.target.execute(planned).fetchone()[0] > 0, 30, "a plan of the table")
    run(configured, "BEGIN; ALTER TABLE small RENAME TO other; ALTER TABLE mid RENAME TO small; ALTER TABLE other RENAME TO mid; COMMIT")
    end(verb)
    alike(configured, source, target, sides)


def test_a_partition_leaves_before_a_copy_of_the_whole_tree(app, source, target, sides, configured):
    """On the mirror it is there still, and takes rows that are in another one by now."""
    tree = ("CREATE TABLE p (id int, l int, PRIMARY KEY (id, l)) PARTITION BY LIST (l); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
            "CREATE TABLE rest PARTITION OF p DEFAULT;")
    app(tree + "INSERT INTO p SELECT i, i % 3 FROM generate_series(1, 3000) i")
    target.execute("SET ROLE app; " + tree, database="app")  # With its key: copied whole.
    configured.write(SLOW)
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    locked = "SELECT count(*) FROM pg_locks WHERE relation = 'p'::regclass AND mode = 'RowExclusiveLock' AND granted"
    wait_until(lambda: sides.target.execute(locked).fetchone()[0] > 0, 30, "rows to be copied")
    with target.connect("app", autocommit=False) as somebody:
        somebody.execute("SELECT FROM p1 LIMIT 1")  # DETACH waits.
        run(configured, "BEGIN; ALTER TABLE p DETACH PARTITION p1; INSERT INTO p SELECT i, 1 FROM generate_series(4001, 4100) i; COMMIT")
        configured.write(FAST)
        state = "SELECT state FROM pgjanus.tables WHERE table_name = 'p'"
        wait_until(lambda: sides.target.execute(state).fetchone() != ("loading",), 30, "the rows to be there")
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    alike(configured, source, target, sides)


@pytest.mark.parametrize("rows", (40, 20000), ids=("in a pack", "alone"))
def test_columns_exchange_their_names_before_indexes_are_built(rows, waiting, source, target, sides, configured):
    """Those of the schema as it was described go by names of before: each index stands on the column that the primary's is on."""
    begin, end = waiting
    tables = "".join(f"CREATE TABLE {name} (id int PRIMARY KEY, a int, b int); INSERT INTO {name} SELECT i, i, 1 FROM generate_series(1, {rows}) i;"
                     f"CREATE UNIQUE INDEX {name}_unique ON {name} (a); CREATE INDEX {name}_plain ON {name} (a, b);" for name in ("t", "u"))
    verb = begin(tables)
    for name in ("t", "u"):
        run(configured, f"BEGIN; ALTER TABLE {name} RENAME a TO c; ALTER TABLE {name} RENAME b TO a; ALTER TABLE {name} RENAME c TO b; COMMIT")
    wait_until(lambda: there(sides, "u", "b", "attnum = 2"), 20, "the mirror to follow")
    end(verb)
    configured.wait_in_sync()
    indexes = "SELECT indexdef FROM pg_indexes WHERE tablename IN ('t', 'u') ORDER BY 1"
    assert sides.target.execute(indexes).fetchall() == sides.source.execute(indexes).fetchall()
    run(configured, "UPDATE t SET a = 2")
    alike(configured, source, target, sides)


@pytest.mark.parametrize("key", ("", " PRIMARY KEY"), ids=("whole", "in chunks"))
def test_a_type_loses_an_attribute_and_gets_one_before_it_is_copied(key, waiting, source, target, sides, configured):
    """Its values travel by the places of attributes, and the mirror has those of before."""
    begin, end = waiting
    verb = begin(f"CREATE TYPE pair AS (x int, y int); CREATE TABLE t (id int{key}, p pair); INSERT INTO t SELECT i, ROW(i, i)::pair FROM generate_series(1, 50) i;")
    with target.connect("app", autocommit=False) as somebody, source.connect("app") as direct:
        somebody.execute("SELECT FROM pgjanus.boundary FOR UPDATE")  # The mirror follows later.
        direct.execute("ALTER TYPE pair DROP ATTRIBUTE y, ADD ATTRIBUTE z int")
        direct.execute("UPDATE t SET p = ROW(1, id * 7)::pair")
        configured.write(FAST.replace("workers = 1", "workers = 4"))
        came = "SELECT count(*) FROM t"
        wait_until(lambda: "load_retried" in configured.log() or sides.target.execute(came).fetchone()[0] == 50, 20, "a copy")
    end(verb)
    configured.wait_in_sync()
    alike(configured, source, target, sides)


@pytest.mark.parametrize("column", ("pair", "pair[]"))
@pytest.mark.parametrize("key", ("", " PRIMARY KEY"), ids=("whole", "in chunks"))
def test_a_row_type_of_another_table_loses_a_column_before_it_is_copied(column, key, app, source, target, sides, configured):
    """As above; that table is not copied along with it, where its columns would tell."""
    value = "ARRAY[ROW({})::pair]" if column == "pair[]" else "ROW({})::pair"
    app(BIG + f"CREATE TABLE pair (x int, y int); CREATE TABLE t (id int{key}, p {column}); INSERT INTO t SELECT i, {value.format('i, i')} FROM generate_series(1, 50) i")
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    configured.do("load")
    configured.write(SLOW)
    verb = configured.cli_process("load", "public.big", "public.t")
    copying = "SELECT pid FROM pg_locks WHERE relation = 'big'::regclass AND mode = 'RowExclusiveLock' AND granted"
    wait_until(lambda: sides.target.execute(copying).fetchone(), 30, "rows to be copied")
    with target.connect("app", autocommit=False) as somebody, source.connect("app") as direct:
        somebody.execute("SELECT FROM pgjanus.boundary FOR UPDATE")  # The mirror follows later.
        direct.execute("ALTER TABLE pair DROP y, ADD z int")
        direct.execute(f"UPDATE t SET p = {value.format('1, id * 7')}")
        configured.write(FAST.replace("workers = 1", "workers = 4"))
        came = "SELECT count(*) FROM t"
        wait_until(lambda: "load_retried" in configured.log() or sides.target.execute(came).fetchone()[0] == 50, 20, "a copy")
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    configured.wait_in_sync()
    alike(configured, source, target, sides)
