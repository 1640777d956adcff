"""What a load has on either side gives way to DDL: in its last step too, under either login, and where a cancel is not heard."""

import os
import signal
import threading

import pytest

from harness import wait_until
from test_ddl import alike, run
from test_ddl_around import TREE
from test_ddl_load_columns import FAST, SLOW

BIG = "CREATE TABLE big (id int{key}, t text); INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, {rows}) i; CREATE TABLE done (id int PRIMARY KEY);"
COPYING = "SELECT pid FROM pg_locks WHERE relation = 'big'::regclass AND mode = 'RowExclusiveLock' AND granted"


def begin(app, sides, program, schema, limits):
    """A load that copies `big`, or has begun to. Of the other table it is through."""
    app(schema)
    program.write(limits)
    program.start()
    program.do("prepare")
    verb = program.cli_process("load")
    wait_until(lambda: sides.target.execute(COPYING).fetchone(), 30, "rows to be copied")
    return verb


def through(sides):
    state = "SELECT state FROM pgjanus.tables WHERE table_name = 'done'"
    wait_until(lambda: sides.target.execute(state).fetchone() == ("mirrored",), 30, "the other table to be mirrored")


def end(verb, program):
    program.write(FAST)
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err


def comes(sides, row, limit=10):
    wait_until(lambda: sides.target.execute("SELECT count(*) FROM done WHERE id = %s", (row,)).fetchone()[0], limit, "the row of another table")


@pytest.mark.parametrize("key", ("", " PRIMARY KEY"), ids=("whole", "in chunks"))
def test_labels_exchange_their_names_while_they_are_copied(key, app, source, target, sides, configured):
    """Values that are stored apart: reading them, the server looks at its catalog again."""
    verb = begin(app, sides, configured, f"CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE big (id int{key}, m mood, t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL;"
                 "INSERT INTO big SELECT i, (ARRAY['good', 'bad'])[1 + i % 2]::mood, repeat('x', 4000) FROM generate_series(1, 2000) i", SLOW.replace("1000", "300"))
    run(configured, "BEGIN; ALTER TYPE mood RENAME VALUE 'good' TO 'x'; ALTER TYPE mood RENAME VALUE 'bad' TO 'good'; ALTER TYPE mood RENAME VALUE 'x' TO 'bad'; COMMIT")
    first = "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'mood'::regtype ORDER BY enumsortorder"
    wait_until(lambda: sides.target.execute(first).fetchone() == ("bad",), 20, "the mirror to follow")
    end(verb, configured)
    configured.wait_in_sync()
    assert sides.target.execute("SELECT count(*) FROM big WHERE (id % 2 = 0) <> (m = 'bad')").fetchone() == (0,)
    alike(configured, source, target, sides)


@pytest.mark.parametrize("key", ("", " PRIMARY KEY"), ids=("whole", "in chunks"))
def test_labels_exchange_their_names_and_back_while_they_are_copied(key, app, source, target, sides, configured):
    """The mirror has nothing to follow: what was read in between is right by no name of either side."""
    verb = begin(app, sides, configured, f"CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE big (id int{key}, m mood, t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL;"
                 "INSERT INTO big SELECT i, (ARRAY['good', 'bad'])[1 + i % 2]::mood, repeat('x', 8000) FROM generate_series(1, 3000) i", SLOW.replace("1000", "500"))
    copied = lambda: sum(worker["rows"] for worker in configured.status()["load"]["workers"])  # noqa: E731
    exchange = "ALTER TYPE mood RENAME VALUE 'good' TO 'x'; ALTER TYPE mood RENAME VALUE 'bad' TO 'good'; ALTER TYPE mood RENAME VALUE 'x' TO 'bad'"
    with target.connect("app", autocommit=False) as somebody, source.connect("app", autocommit=False) as dba:
        somebody.execute("SELECT FROM pgjanus.boundary FOR UPDATE")  # The mirror looks before and behind, and not in between.
        dba.execute(exchange)
        dba.commit()
        wait_until(lambda: copied() > 1500, 30, "rows")
        dba.execute(exchange)
        dba.commit()
    end(verb, configured)
    configured.wait_in_sync()
    assert sides.target.execute("SELECT count(*) FROM big WHERE (id % 2 = 0) <> (m = 'good')").fetchone() == (0,)
    alike(configured, source, target, sides)


def test_ddl_does_not_wait_for_the_deletes_behind_a_copy(app, source, target, sides, configured):
    verb = begin(app, sides, configured, BIG.format(key=" PRIMARY KEY", rows=12000), "[load]\nyield = \"off\"\nworkers = 2\nrows_per_second = 4000\n")
    through(sides)
    run(configured, "UPDATE big SET t = 'y' WHERE id = 5")
    with target.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE big IN SHARE MODE")  # As soon as the rows are there; as if DELETE took long.
        deleting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgjanus load' AND query LIKE 'DELETE FROM%' AND state = 'active'"
        wait_until(lambda: sides.target.execute(deleting).fetchone()[0], 30, "the deletes")
        run(configured, "ALTER TABLE done ADD x int", "INSERT INTO done VALUES (2)")
        comes(sides, 2)
        assert sides.target.execute(deleting).fetchone()[0] and verb.poll() is None
    end(verb, configured)
    alike(configured, source, target, sides)


def test_ddl_does_not_wait_for_a_loads_last_step(app, source, target, sides, configured):
    app("CREATE TABLE big (id int PRIMARY KEY); CREATE TABLE done (id int PRIMARY KEY); CREATE FUNCTION slow() RETURNS int LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_sleep(coalesce(nullif(current_setting('test.sleep', true), ''), '0')::float); RETURN 1; END$$;"
        "CREATE MATERIALIZED VIEW mv AS SELECT count(*), slow() FROM public.big")
    target.execute("ALTER DATABASE app SET test.sleep = '30'")
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    refreshing = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgjanus load' AND query ILIKE 'REFRESH%' AND state = 'active'"
    wait_until(lambda: sides.target.execute(refreshing).fetchone()[0], 30, "REFRESH")
    target.execute("ALTER DATABASE app RESET test.sleep")
    run(configured, "ALTER TABLE big ADD x int", "INSERT INTO done VALUES (1)")
    comes(sides, 1)
    configured.do("load", "--stop")
    verb.communicate(timeout=30)


def test_a_load_under_the_other_login_gives_way(app, source, target, sides, configured):
    """Of two that take turns; both belong to the role that owns the tables."""
    app(BIG.format(key="", rows=20000))
    configured.write(SLOW.replace("workers = 1", "workers = 3"))
    configured.start()
    configured.do("prepare")
    configured.stop()
    target.execute("CREATE ROLE app_clone LOGIN IN ROLE app PASSWORD 'target-secret'")
    target.execute("GRANT SET ON PARAMETER session_replication_role TO app_clone")
    configured.target = target.url("app_clone", "target-secret", "app")
    configured.start()
    verb = configured.cli_process("load")
    through(sides)
    wait_until(lambda: sides.target.execute(COPYING).fetchone(), 30, "rows to be copied")
    run(configured, "CREATE VIEW v AS SELECT id FROM big", "INSERT INTO done VALUES (1)")
    comes(sides, 1)
    end(verb, configured)
    alike(configured, source, target, sides)


def test_the_apps_ddl_does_not_wait_for_a_mirror_that_hangs(app, source, target, sides, configured):
    """A server process that waits for us to take more of its rows hears of no cancel."""
    verb = begin(app, sides, configured, BIG.format(key="", rows=100000), FAST + "rows_per_second = 6000\n")
    [pid] = sides.target.execute(COPYING).fetchone()
    sending = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgjanus load' AND wait_event = 'ClientWrite' AND query LIKE 'COPY%'"
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: sides.source.execute(sending).fetchone()[0], 30, "the primary to wait")
        with source.connect("app") as somebody:
            somebody.execute("SET statement_timeout = '10s'")
            somebody.execute("ALTER TABLE big ADD x int")
    finally:
        os.kill(pid, signal.SIGCONT)
    end(verb, configured)
    alike(configured, source, target, sides)


def test_a_copy_that_the_mirror_has_ended_is_given_up(app, source, target, sides, configured):
    """And not at its end: libpq tells no error while it copies in."""
    verb = begin(app, sides, configured, BIG.format(key="", rows=20000), SLOW)
    [pid] = sides.target.execute(COPYING).fetchone()
    sides.target.execute("SELECT pg_cancel_backend(%s)", (pid,))
    wait_until(lambda: "load_retried" in configured.log(), 5, "the load to notice")
    end(verb, configured)
    alike(configured, source, target, sides)


def test_a_table_is_handed_over_while_anothers_partitions_come_and_go(app, source, target, sides, configured):
    """Reading it whole takes longer than any partition is there: the batch goes on without that tree."""
    app(TREE.format(t="t") + BIG.format(key=" PRIMARY KEY", rows=150000))
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    configured.do("load")
    configured.write(SLOW)
    verb = configured.cli_process("load", "public.big")
    wait_until(lambda: sides.target.execute(COPYING).fetchone(), 30, "rows to be copied")
    sides.source.execute("INSERT INTO pgjanus.journal (xid, table_id) SELECT pg_current_xact_id(), id FROM pgjanus.tables WHERE table_name = 'big'")
    over = threading.Event()

    def churn():
        with source.connect("app") as direct:
            direct.execute("SET ROLE app")
            for n in range(10, 10000):
                direct.execute(f"CREATE TABLE t_{n} PARTITION OF t FOR VALUES IN ({n}); INSERT INTO t VALUES (1, {n}); DROP TABLE IF EXISTS t_{n - 1}")
                if over.wait(0.14):
                    return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        configured.write(FAST)
        _, err = verb.communicate(timeout=100)
    finally:
        over.set()
        thread.join()
    assert verb.returncode == 0, err
    configured.wait_in_sync()
    alike(configured, source, target, sides)
