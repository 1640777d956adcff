"""The mirror is exact whatever the app does: random schemas, random transactions, both directions.

PGJANUS_SEED repeats a run; PGJANUS_CHANCE_STEPS makes it longer.
"""

import os
import random

import psycopg

from harness import WriteLoad, equal_within, wait_until
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


MAINTENANCE = ["VACUUM FULL {0}", "VACUUM {0}", "ANALYZE {0}", "REINDEX TABLE {0}", "CLUSTER {0} USING {1}",
               "ALTER TABLE {0} SET (autovacuum_enabled = true)", "LOCK TABLE {0}; SELECT pg_sleep(0.4)"]


def maintain(connection, chooser, _worker, _count):
    """One command as administrators and autovacuum run it, straight on the primary."""
    table, index = chooser.choice(connection.execute(
        "SELECT i.indrelid::regclass::text, quote_ident(c.relname) FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'chance' AND c.relkind = 'i'").fetchall())
    command = chooser.choice(MAINTENANCE).format(table, index)
    connection.execute("SET lock_timeout = '5s'")
    try:
        if ";" in command:
            with connection.transaction():
                connection.execute(command)
        else:
            connection.execute(command)
    except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
        pass


def test_maintenance_and_deaths_during_the_load_and_after(source, target, pgjanus, sides, seed):
    tables = chance_schema(source.connect("app", "app"), seed)
    chooser = random.Random(seed)
    superuser = f"host={source.directory} port={source.port} dbname=app user=postgres"
    with ChanceLoad(source.owner_url, tables, threads=3, seed=seed) as load, \
            WriteLoad(superuser, maintain, threads=1, seed=seed, pause=0.05) as maintenance:
        load.progress(20)
        pgjanus.do("prepare")
        for _ in range(4):
            loading = pgjanus.cli_process("load")
            load.progress(chooser.randrange(1, 40))
            if chooser.random() < 0.5:
                pgjanus.restart()
            else:
                target.kill9()
                target.start()
            loading.communicate(timeout=60)
        pgjanus.do("load")
        load.progress(STEPS)
        pgjanus.restart()
        load.progress(STEPS // 3)
        wait_until(lambda: pgjanus.status()["mirror"]["state"] == "in_sync", 60, lambda: problems(pgjanus))
        assert pgjanus.do("verify").json["differences"] == []
    load.check()
    maintenance.check()
    with target.connect("app") as connection:
        equal_within(sides.source, connection)


def test_a_check_of_a_partitioned_table_that_stops_holding_is_lifted(app, sides, pgjanus):
    app("""CREATE TABLE visits (id int, until timestamptz, day int, PRIMARY KEY (id, day),
             CONSTRAINT later CHECK (until > clock_timestamp())) PARTITION BY LIST (day);
           CREATE TABLE visits_1 PARTITION OF visits FOR VALUES IN (1);""")
    pgjanus.do("prepare")
    pgjanus.do("load")
    app("BEGIN; INSERT INTO visits VALUES (1, clock_timestamp() + interval '0.3 s', 1);"
        "SELECT pg_sleep(0.5); COMMIT")
    equal_within(sides.source, sides.target)
    assert sides.target.execute("SELECT kind, table_name, name FROM pgjanus.kept").fetchall() == [
        ("check", "visits", "later")]
