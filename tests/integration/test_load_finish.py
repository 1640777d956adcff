"""The end of a table's load, by itself: capture for the way back, whoever exchanges names meanwhile; and no flip without it."""

import contextlib
import os
import signal

import pytest

from harness import wait_until
from test_ddl import alike, run
from test_ddl_load_columns import FAST

TREE = "CREATE TABLE {0} (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE {0}_1 PARTITION OF {0} DEFAULT; INSERT INTO {0} SELECT i, {1} FROM generate_series(1, 100) i;"
# As slow as the setting says, so that there is time between a table's copy and its end.
SLOW_INDEX = ("CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
              "$$BEGIN PERFORM pg_sleep(coalesce(nullif(current_setting('test.sleep', true), ''), '0')::float); RETURN $1; END$$;")
EXCHANGE = "BEGIN; ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b; COMMIT"
CAPTURE = """SELECT c.relname, substring(p.proname from 'capture_([0-9]+)')::int, t.id FROM pgjanus.tables t
             LEFT JOIN pg_class c ON c.oid = to_regclass(t.table_name) LEFT JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname = 'pgjanus_insert'
             LEFT JOIN pg_proc p ON p.oid = g.tgfoid ORDER BY 1"""
LOADING = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgjanus load%%' AND "


@contextlib.contextmanager
def stopped(sides, program):
    """The load's server process on the mirror, between two tries to get its lock; unless it is gone in between."""
    idle = "SELECT state LIKE 'idle%%', query FROM pg_stat_activity WHERE pid = %s"

    def stop():
        if "no lock on" in program.log():
            return [None]
        [pid] = sides.target.execute(LOADING + "query ~ 'LOCK TABLE ONLY|ROLLBACK|pg_locks'").fetchone()
        os.kill(pid, signal.SIGSTOP)
        state, query = sides.target.execute(idle, (pid,)).fetchone()
        if state and (query == "ROLLBACK" or "pg_locks" in query):
            return [pid]
        os.kill(pid, signal.SIGCONT)
        return None

    [pid] = wait_until(stop, 30, "a pause between two tries", every=0.05)
    try:
        yield
    finally:
        if pid:
            os.kill(pid, signal.SIGCONT)


def test_names_exchanged_before_capture_is_put(app, source, target, sides, configured):
    app(SLOW_INDEX + TREE.format("a", 1) + TREE.format("b", 2) + "CREATE INDEX ON a (slow(n))")
    target.execute("ALTER DATABASE app SET test.sleep = '0.03'")
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    wait_until(lambda: sides.target.execute(LOADING + "query LIKE 'CREATE INDEX%%' AND state = 'active'").fetchone(), 30, "the index")
    with target.connect("app", autocommit=False) as row, target.connect("app", autocommit=False) as somebody:
        row.execute("SELECT FROM pgjanus.tables WHERE table_name = 'a' FOR UPDATE")
        wait_until(lambda: sides.target.execute(LOADING + "query LIKE '%%FOR SHARE%%' AND wait_event_type = 'Lock'").fetchone(), 30, "its end")
        somebody.execute("LOCK TABLE ONLY a IN SHARE UPDATE EXCLUSIVE MODE")
        row.rollback()
        with stopped(sides, configured):
            run(configured, EXCHANGE)
            somebody.rollback()
            names = "SELECT to_regclass('a') = (SELECT inhparent FROM pg_inherits WHERE inhrelid = 'b_1'::regclass)"
            wait_until(lambda: sides.target.execute(names).fetchone()[0], 30, "the mirror to follow")
    target.execute("ALTER DATABASE app RESET test.sleep")
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, err
    configured.wait_in_sync()
    assert [captured == number for _, captured, number in sides.target.execute(CAPTURE).fetchall()] == [True, True]
    configured.do("verify")
    configured.do("cutover")
    run(configured, "UPDATE a SET n = 10 WHERE id = 5", "UPDATE b SET n = 20 WHERE id = 7", "DELETE FROM b WHERE id = 9")
    alike(configured, source, target, sides)
    assert "capture_brought" not in configured.log()


@pytest.mark.parametrize("how", ("ALTER TABLE a DISABLE TRIGGER ALL", "DROP TRIGGER pgjanus_update ON a"), ids=("off", "dropped"))
def test_a_flip_brings_the_capture_that_the_mirror_lacks(how, app, source, target, sides, configured):
    app("CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT i, 1 FROM generate_series(1, 10) i")
    configured.write(FAST)
    configured.start()
    configured.do("prepare")
    configured.do("load")
    configured.do("verify")
    sides.target.execute(how)
    configured.do("cutover")
    with configured.connect() as client:
        client.execute("UPDATE a SET n = 2 WHERE id = 5")
        assert sides.source.execute("SELECT n FROM a WHERE id = 5").fetchone() == (2,)  # The reply says that both have it.
    assert "capture_lost" not in configured.log() and "capture_brought" in configured.log()
    alike(configured, source, target, sides)
