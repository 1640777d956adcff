"""The mirror is exact whatever the app does: random schemas, random transactions, both directions.

PGJANUS_SEED repeats a run; PGJANUS_CHANCE_STEPS makes it longer.
"""

import os
import random

import psycopg

from harness import equal_within, wait_until
from harness.chance import ChanceLoad, chance_schema

STEPS = int(os.environ.get("PGJANUS_CHANCE_STEPS", "300"))


def problems(pgjanus):
    return f"status: {pgjanus.status()}\n--- log\n{pgjanus.log()[-3000:]}"


def test_random_schemas_and_transactions_in_both_directions(source, pgjanus, sides, seed):
    tables = chance_schema(source.connect("app", "app"), seed)
    with ChanceLoad(source.owner_url, tables, threads=4, seed=seed) as load:
        load.progress(30)
        pgjanus.do("prepare")
        load.progress(30)
        pgjanus.do("load")
        load.progress(STEPS)
        verified = pgjanus.do("verify")
        assert verified.json["differences"] == []
    load.check()
    equal_within(sides.source, sides.target)

    # A prepared transaction holds up a flip; one that is in nobody's session for good.
    with ChanceLoad(pgjanus.url, tables, threads=4, seed=seed + 1, two_phase=False) as load:
        load.progress(STEPS)
        pgjanus.do("cutover", "--wait", "10s")
        load.progress(STEPS)
        assert pgjanus.do("verify").json["differences"] == []
        pgjanus.do("rollback", "--wait", "10s")
        load.progress(STEPS)
    load.check()
    equal_within(sides.source, sides.target)


def test_a_backlog_of_many_keys_is_one_exact_batch(source, target, pgjanus, sides, seed):
    tables = chance_schema(source.connect("app", "app"), seed)
    pgjanus.do("prepare")
    pgjanus.do("load")
    sides.target.close()
    target.stop("immediate")
    chooser = random.Random(seed)
    with ChanceLoad(source.owner_url, tables, threads=4, seed=seed) as load:
        load.progress(STEPS)
    load.check()
    with source.connect("app", "app") as connection:
        for table in tables:
            try:
                connection.execute(table.many(chooser))
            except psycopg.Error as error:
                assert error.sqlstate in ChanceLoad.REFUSED, error
    target.start()
    with ChanceLoad(source.owner_url, tables, threads=2, seed=seed + 1) as load:
        wait_until(lambda: pgjanus.status()["mirror"]["state"] == "in_sync", 60,
                   lambda: problems(pgjanus))
        load.progress(STEPS)
    load.check()
    with target.connect("app") as connection:
        equal_within(sides.source, connection)


def test_killed_again_and_again_it_stays_exact(source, pgjanus, sides, seed):
    tables = chance_schema(source.connect("app", "app"), seed)
    chooser = random.Random(seed)
    pgjanus.do("prepare")
    pgjanus.do("load")
    with ChanceLoad(source.owner_url, tables, threads=4, seed=seed) as load:
        for _ in range(6):
            load.progress(chooser.randrange(1, 60))
            pgjanus.restart()
        load.progress(30)
    load.check()
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "in_sync", 60, lambda: problems(pgjanus))
    equal_within(sides.source, sides.target)
    assert pgjanus.do("verify").json["differences"] == []
