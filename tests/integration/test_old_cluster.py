"""A primary that has used up as many transaction ids as fit an integer, or all of them: rows of the catalog lie on
both sides of where ids and their ages wrap, while everything goes on."""

import pytest

from harness import equal_within, wait_until
from harness.cluster import as_server_user, run as run_command
from test_ddl import alike, run

PAGES_A_SEGMENT, IDS_A_PAGE = 32, 32768  # Of pg_xact.
STEP = 1_500_000_000


def wind_on(server, number):
    """The next transaction id will be this one (pg_resetwal), in steps that leave everything frozen and no older than what
    the server still accepts writes with."""
    server.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    for at in [*range(STEP, number, STEP), number]:
        server.stop()
        run_command(as_server_user([server._program("pg_resetwal"), "-x", str(at), server.data]))
        segment = server.data / "pg_xact" / f"{at // (IDS_A_PAGE * PAGES_A_SEGMENT):04X}"
        run_command(as_server_user(["dd", "if=/dev/zero", f"of={segment}", "bs=8192", f"count={PAGES_A_SEGMENT}"]))
        server.start()
        for database, in server.execute("SELECT datname FROM pg_database"):
            server.execute("VACUUM FREEZE", database=database)


def use_up(server, count):
    server.execute("CREATE TEMP TABLE used (n int); DO $$ BEGIN FOR n IN 1.." + str(count) + " LOOP"
                   " BEGIN INSERT INTO used VALUES (n); EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$",
                   database="app")


@pytest.mark.parametrize("number", [2 ** 31, 2 ** 32])
def test_ids_wrap_while_everything_goes_on(cluster, target, programs, number):
    source = cluster("source")
    wind_on(source, number - 4000)
    url = source.plain_owner()
    source.script("CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept SELECT i, 'old' FROM generate_series(1, 100) i;"
                  "CREATE TABLE heap (v int); INSERT INTO heap SELECT i % 7 FROM generate_series(1, 100) i", "app", "app")
    pgjanus = programs(url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    for _ in range(3):
        use_up(source, 2500)
        run(pgjanus, "UPDATE kept SET v = v || '.' WHERE id % 3 = 0", "DELETE FROM heap WHERE v = 1", "INSERT INTO heap VALUES (1), (1), (9)")
    assert int(source.execute("SELECT pg_current_xact_id()::text")[0][0]) > number
    run(pgjanus, "ALTER TABLE kept ADD COLUMN more int DEFAULT 7", "CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh VALUES (1), (2)")
    with source.connect("app") as left, target.connect("app") as right:
        class Sides:
            source, target = left, right
        alike(pgjanus, source, target, Sides)
        # Capture that is taken away is still missed.
        source.execute("ALTER TABLE kept DISABLE TRIGGER pgjanus_update", database="app")
        source.execute("UPDATE kept SET v = 'unseen'", database="app")
        wait_until(lambda: source.execute("SELECT tgenabled FROM pg_trigger WHERE tgname = 'pgjanus_update' AND tgrelid = 'kept'::regclass",
                                          database="app")[0][0] == "A", 30, "capture to be restored")
        pgjanus.wait_in_sync()
        equal_within(left, right, 30)
        assert pgjanus.do("verify").json["differences"] == []
        pgjanus.do("cutover", "--force")
        run(pgjanus, "UPDATE kept SET v = 'on the target' WHERE id = 1")
        pgjanus.do("rollback", "--force")
        pgjanus.wait_in_sync()
        equal_within(left, right, 30)
