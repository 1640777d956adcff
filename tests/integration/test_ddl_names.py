"""Tables that are alike exchange their names: each keeps its rows, its capture and its place in the journal."""

import threading

import psycopg
import pytest

from harness import equal_within, wait_until
from test_ddl import BASE, alike, run, schema_of

TABLES = """
CREATE TABLE day (id int PRIMARY KEY, w text); INSERT INTO day SELECT i, 'day' FROM generate_series(1, 10) i;
CREATE TABLE night (id int PRIMARY KEY, w text); INSERT INTO night SELECT i, 'night' FROM generate_series(5, 15) i;
CREATE TABLE dusk (id int, w text); INSERT INTO dusk SELECT i % 3, 'dusk' FROM generate_series(1, 10) i;
CREATE TABLE dawn (id int, w text); INSERT INTO dawn SELECT i % 2, 'dawn' FROM generate_series(1, 10) i;
"""
EXCHANGE = """
BEGIN;
ALTER TABLE day RENAME TO passing; ALTER TABLE night RENAME TO day; ALTER TABLE passing RENAME TO night;
ALTER TABLE dusk RENAME TO passing; ALTER TABLE dawn RENAME TO dusk; ALTER TABLE passing RENAME TO dawn;
COMMIT;
"""


def writes(number):
    return (f"UPDATE day SET w = 'day {number}' WHERE id % 3 = 1", f"INSERT INTO night VALUES (1000 + {number}, 'x')",
            f"UPDATE night SET w = 'night {number}' WHERE id % 4 = 1", f"DELETE FROM day WHERE id = 1000 + {number} - 3",
            f"INSERT INTO dusk VALUES ({number}, 'x')", f"DELETE FROM dawn WHERE id = {number} - 2",
            f"UPDATE dusk SET w = 'dusk {number}' WHERE id % 5 = 1")


@pytest.fixture
def pgjanus(source, target, programs):
    return programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()


@pytest.fixture
def mirrored(app, pgjanus):
    app(BASE + TABLES)
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    return pgjanus


def test_through_the_proxy(source, target, sides, mirrored):
    for number in range(3):
        run(mirrored, EXCHANGE, *writes(number))
    alike(mirrored, source, target, sides)
    assert "capture_lost" not in mirrored.log(), "nobody took any trigger away"


def test_past_the_proxy(source, target, sides, mirrored):
    """Until it is noticed, a second at most, names are those of other tables: what is read by them counts for nothing,
    in batches as in a comparison, which may begin then and must find no difference."""
    with psycopg.connect(source.owner_url, autocommit=True) as past, mirrored.connect() as client:
        for number in range(21):
            past.execute(EXCHANGE)
            if number % 8 == 3:
                mirrored.do("verify")
            for where, statement in enumerate(writes(number)):
                (past if where % 2 else client).execute(statement)
    wait_until(lambda: schema_of(source) == schema_of(target), 30, "the schemas to be equal")
    equal_within(sides.source, sides.target)
    alike(mirrored, source, target, sides)


def test_while_a_load_runs(source, target, sides, app, configured):
    """Some of them are mirrored already, others wait for their turn or are being copied."""
    app(BASE + TABLES)
    app("; ".join(f"CREATE TABLE {name} (id int PRIMARY KEY, body text); INSERT INTO {name} SELECT i, repeat('x', 300) FROM generate_series(1, {rows}) i"
                  for name, rows in (("big", 30000), ("large", 9000), ("broad", 8000))))
    configured.write("[load]\nworkers = 1\nrows_per_second = 2000\n")
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    wait_until(lambda: {"mirrored"} == states(target, "day", "dusk", "night", "dawn"), 30, "the small tables to be mirrored")
    wait_until(lambda: {"loading"} == states(target, "big", "large", "broad"), 30, "the large ones to be planned")
    for number in range(3):
        run(configured, EXCHANGE, *writes(number))
    run(configured, "BEGIN", "ALTER TABLE broad RENAME TO passing", "ALTER TABLE large RENAME TO broad", "ALTER TABLE passing RENAME TO large", "COMMIT",
        "UPDATE broad SET body = 'z' WHERE id % 100 = 3", "DELETE FROM large WHERE id % 100 = 4")
    configured.write("[load]\nworkers = 1\n")
    _, err = verb.communicate(timeout=120)
    assert verb.returncode == 0, err
    run(configured, *writes(3))
    alike(configured, source, target, sides)
    configured.do("verify")


def states(server, *tables):
    rows = server.execute("SELECT state FROM pgjanus.tables WHERE table_name = ANY(%s)", (list(tables),), database="app")
    return {state for (state,) in rows}
