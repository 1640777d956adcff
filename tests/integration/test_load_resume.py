"""Killed at random moments the load goes on with what is missing, and copies nothing twice.

PGJANUS_KILL_SECONDS=600 makes a long run of it, PGJANUS_KILL_ROWS=3000000 one with a large table; PGJANUS_SEED repeats one.
"""

import os
import random
import time

from harness import WriteLoad, equal_within, wait_until
from test_load import (BIG, busy, churn, mirroring, objects, prepare,  # noqa: F401 - fixtures
                       valid_everywhere)

SECONDS = float(os.environ.get("PGJANUS_KILL_SECONDS", "20"))
ROWS = int(os.environ.get("PGJANUS_KILL_ROWS", "40000"))
PATIENCE = 60 + ROWS // 10000

SMALL = "DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format(" \
        "'CREATE TABLE small_%1$s (id int PRIMARY KEY, t text, e text UNIQUE); " \
        "INSERT INTO small_%1$s SELECT i, md5(i::text), i FROM generate_series(1, 50) i; " \
        "CREATE INDEX ON small_%1$s (t)', n); END LOOP; END $$"


def begin_anew(sides):
    """Both sides as before `prepare`."""
    for side in (sides.source, sides.target):
        side.execute("DROP SCHEMA IF EXISTS pgjanus CASCADE")
    sides.target.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner; "
                         "GRANT USAGE ON SCHEMA public TO PUBLIC")
    sides.source.execute("DELETE FROM big WHERE id BETWEEN 10000000 AND 99999999")  # churn's own


def done_parts(target):
    """Parts whose rows are committed, each with the transaction that said so."""
    return {(table, part): xid for table, part, xid in target.execute(
        "SELECT table_id, part, xmin::text FROM pgjanus.chunks WHERE done").fetchall()}


def test_a_load_killed_again_and_again_copies_no_part_twice(app, source, target, sides, prepare,  # noqa: F811
                                                            mirroring, seed):  # noqa: F811
    app(BIG.format(rows=ROWS))
    app(SMALL.format(count=30))
    chooser = random.Random(seed)
    began, rounds, kills, kept = time.monotonic(), 0, {"pgjanus": 0, "target": 0, "source": 0}, 0
    while rounds == 0 or time.monotonic() - began < SECONDS:
        rounds += 1
        sources = kills["source"]
        if rounds > 1:
            begin_anew(sides)
        prepare()
        program = mirroring(workers=chooser.randrange(1, 5))
        with WriteLoad(source.owner_url, churn, threads=2, seed=seed + rounds, pause=0.005) as load:
            program.start()
            for _ in range(chooser.randrange(1, 5)):
                seen, steps = len(program.events), chooser.randrange(1, 8)
                wait_until(lambda: len(program.events) >= seen + steps or program.last("loaded"), PATIENCE,
                           lambda: f"progress; {program.events[-1:]}\n{program.log()}")
                if program.last("loaded"):
                    break
                before = done_parts(sides.target)
                victim = chooser.choice(("pgjanus", "pgjanus", "target", "source"))
                kills[victim] += 1
                if victim == "pgjanus":
                    program.kill()
                    program.start()
                else:
                    server = target if victim == "target" else source
                    server.kill9()
                    server.start()
                    sides = type(sides)(source=source.connect("app"), target=target.connect("app"))
                wait_until(lambda: program.last("loaded") or len(program.events) > 1, PATIENCE, "going on")
                after = done_parts(sides.target)
                assert {part: after.get(part) for part in before} == before, \
                    f"a part that was done was copied again (round {rounds})"
                kept += len(before)
            program.wait("loaded", limit=2 * PATIENCE)
            load.progress(20)
        if kills["source"] == sources:  # The writers go straight to it.
            load.check()
        equal_within(sides.source, sides.target, PATIENCE)
        assert objects(sides.source) == objects(sides.target)
        assert valid_everywhere(sides.target) == []
        program.kill()
    print(f"seed {seed}: {rounds} rounds, {kills} kills, {kept} finished parts stayed")


def test_an_index_whose_constraint_did_not_come_to_it_gets_it(app, sides, prepare, mirroring):  # noqa: F811
    """Of a table with several indexes they are built first, the constraint on one follows; killed in between."""
    app("CREATE TABLE solo (id int PRIMARY KEY); INSERT INTO solo SELECT generate_series(1, 9);"
        "CREATE TABLE parts (id int PRIMARY KEY, e int) PARTITION BY RANGE (id); CREATE INDEX ON parts (e);"
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (100); INSERT INTO parts VALUES (1, 1)")
    prepare()
    sides.target.execute("CREATE UNIQUE INDEX solo_pkey ON solo (id); CREATE UNIQUE INDEX parts_1_pkey ON parts_1 (id)")
    mirroring(workers=2).start().wait("loaded")
    assert objects(sides.source) == objects(sides.target)
    assert valid_everywhere(sides.target) == []
