"""DDL in the moment in which a flip's gate opens: the new primary's catalog is still being read."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import assert_equal, wait_until
from test_ddl import BASE, alike, run


def port(connection):
    return connection.execute("SELECT inet_server_port() FROM accounts WHERE id = 1 FOR UPDATE").fetchone()


def alone(connection, drop):
    connection.execute(drop)


def inside(connection, drop):
    with connection.transaction():
        connection.execute("INSERT INTO heap VALUES ('inside', 1)")
        connection.execute(drop)


def pipelined(connection, drop):
    with connection.pipeline():
        connection.execute("INSERT INTO heap VALUES ('pipelined', 1)")
        connection.execute(drop)


def change(pgjanus, way, before, ready):
    with pgjanus.connect(prepare_threshold=None) as connection:
        assert port(connection) == before
        ready.release()
        wait_until(lambda: port(connection) != before, 60, "the flip", every=0)
        way(connection, f"ALTER TABLE {way.__name__} DROP COLUMN a CASCADE")


WAYS = (alone, inside, pipelined)


@pytest.mark.parametrize("pool", ("session", "transaction"))
def test_what_is_dropped_right_behind_a_flip_is_not_missed(pool, source, target, sides, app, programs):
    """The new primary's catalog is read when clients go on already: what it shows must not be pulled away from it."""
    app(BASE)
    app("CREATE SCHEMA many; " + "; ".join(f"CREATE TABLE many.t{n} (id int PRIMARY KEY, t text UNIQUE)" for n in range(200)))
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"},
                       arguments=["--pool", pool]).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    for verb in ("cutover", "rollback"):
        for way in WAYS:
            run(pgjanus, f"CREATE TABLE {way.__name__} (id int PRIMARY KEY, a text CHECK (a <> ''), UNIQUE (id, a)); "
                         f"CREATE VIEW look_{way.__name__} AS SELECT id, a FROM {way.__name__} WHERE id > 0")
        pgjanus.wait_in_sync()
        pgjanus.do("verify")
        ready = threading.Semaphore(0)
        with pgjanus.connect() as client, ThreadPoolExecutor(len(WAYS)) as clients:
            before = port(client)
            changes = [clients.submit(change, pgjanus, way, before, ready) for way in WAYS]
            assert all(ready.acquire(timeout=20) for _ in WAYS)
            pgjanus.do(verb)
            for changing in changes:
                changing.result()
        run(pgjanus, *(f"DROP TABLE {way.__name__}" for way in WAYS))
        pgjanus.wait_in_sync()
        assert_equal(sides.source, sides.target)
    wait_until(lambda: not sides.source.execute("SELECT 1 FROM pgjanus.kept").fetchone(), 20, "constraints to be valid")
    alike(pgjanus, source, target, sides, sequences=False)
    assert "ddl_may_be_missed" not in pgjanus.log()
