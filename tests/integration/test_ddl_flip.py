"""DDL in the moment in which a flip's gate opens: the new primary's catalog is still being read."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import psycopg
import pytest

from harness import assert_equal, equal_within, wait_until
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


def test_pgjanus_is_killed_where_ddl_follows_a_flip(source, target, sides, app, programs, seed):
    """What a loop begins with is stored before DDL may change it: whoever comes next finds it."""
    chooser = random.Random(seed)
    app(BASE)
    app("; ".join(f"CREATE TABLE swap_{n} (id int PRIMARY KEY, a text UNIQUE); CREATE VIEW look_{n} AS SELECT a FROM swap_{n}" for n in range(4)))
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)

    def change(number, before, ready):
        try:
            with pgjanus.connect(prepare_threshold=None) as connection:
                ready.release()
                while port(connection) == before:
                    pass
                for statement in (f"ALTER TABLE swap_{number} DROP COLUMN a CASCADE", f"CREATE INDEX ON swap_{number} (id)",
                                  f"ALTER TABLE swap_{number} ADD COLUMN b int DEFAULT {number}"):
                    connection.execute(statement)
        except psycopg.OperationalError:
            pass  # It was killed.
    for number, verb in enumerate(("cutover", "rollback") * 2):
        wait_until(lambda: pgjanus.cli("verify").code == 0, 60, "a clean verification", every=0.2)
        ready = threading.Semaphore(0)
        with pgjanus.connect() as client, ThreadPoolExecutor(1) as clients:
            changing = clients.submit(change, number, port(client), ready)
            assert ready.acquire(timeout=20)
            pgjanus.do(verb, "--force")
            wait([changing], timeout=chooser.uniform(0, 0.4))
            pgjanus.kill9()
            changing.result()
        pgjanus.start()
        pgjanus.wait_in_sync()
        wait_until(lambda: catalogs(sides.source) == catalogs(sides.target), 30, "the columns and indexes of both sides")
    assert_equal(sides.source, sides.target)


def test_the_next_process_holds_ddl_until_it_knows_what_to_begin_with(source, target, sides, app, programs):
    """Killed before that was stored. DDL through its successor must not be taken for what was there."""
    app(BASE)
    app("CREATE SCHEMA many; " + "; ".join(f"CREATE TABLE many.t{n} (id int PRIMARY KEY, t text UNIQUE)" for n in range(200)))
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)

    def change(number):
        def connected():
            with pgjanus.connect(prepare_threshold=None) as connection:
                connection.execute(f"CREATE TABLE next_{number} (id int PRIMARY KEY); INSERT INTO next_{number} VALUES (1)")
            return True
        wait_until(connected, 30, "the next process", every=0)
    for number, (verb, mirror) in enumerate((("cutover", sides.source), ("rollback", sides.target)) * 2):
        pgjanus.wait_in_sync()
        wait_until(lambda: pgjanus.cli("verify").code == 0, 60, "a clean verification", every=0.2)
        pgjanus.do(verb)
        pgjanus.kill9()
        mirror.execute("SET pgjanus.apply = 'on'; DELETE FROM pgjanus.shape")
        changing = threading.Thread(target=change, args=(number,))
        changing.start()
        pgjanus.start()
        changing.join()
        wait_until(lambda: mirror.execute("SELECT to_regclass(%s)", (f"next_{number}",)).fetchone()[0], 30, "the table on the mirror")
        pgjanus.wait_in_sync()
    assert_equal(sides.source, sides.target)


def catalogs(connection):
    return connection.execute(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = "
        "'public'::regnamespace AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2").fetchall()


def test_what_bypasses_us_while_a_flip_waits_goes_along(source, target, sides, app, programs):
    """The guards have looked already, and nobody looks at the old primary's catalog any more once it is the mirror."""
    app(BASE)
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    for number, (verb, ddl) in enumerate((
            ("cutover", "ALTER TABLE notes ADD COLUMN late int DEFAULT 1; CREATE INDEX ON notes (late)"),
            ("rollback", "ALTER TABLE notes RENAME TO remarks; ALTER TABLE days ADD COLUMN late text"),
            ("cutover", "CREATE TABLE late (id int PRIMARY KEY)"))):
        with pgjanus.connect() as client, psycopg.connect((source, target)[number % 2].owner_url, autocommit=True) as past:
            client.execute("BEGIN; INSERT INTO heap VALUES ('open', 1)")
            flip = pgjanus.cli_process(verb)
            wait_until(lambda: pgjanus.status()["held"] == "flip", 20, "the flip to wait for the transaction", every=0)
            past.execute(ddl)
            client.execute("COMMIT")
            _, said = flip.communicate(timeout=60)
        if number < 2:
            assert flip.returncode == 0, said
            # By what the loop of this direction has read before the flip a column would be left out.
            run(pgjanus, ("UPDATE notes SET late = id WHERE id < 50", "UPDATE days SET late = what WHERE seq < 50")[number])
            wait_until(lambda: not sides.source.execute("SELECT 1 FROM pgjanus.kept WHERE restored").fetchone(), 20, "constraints to be valid")
            pgjanus.wait_in_sync()
            assert_equal(sides.source, sides.target)
            continue
        # The mirror may have seen it before; capture cannot be put while nobody may write.
        if flip.returncode != 0:
            assert "run it again" in said, said
            wait_until(lambda: target.execute("SELECT to_regclass('late')", database="app") != [(None,)], 20, "the table to come")
            pgjanus.wait_in_sync()
            pgjanus.do(verb)
    run(pgjanus, "INSERT INTO remarks (body, late) VALUES ('after', 7)", "UPDATE days SET late = what WHERE seq < 9", "INSERT INTO late VALUES (1)")
    pgjanus.wait_in_sync()
    pgjanus.do("rollback", "--force")
    wait_until(lambda: not sides.source.execute("SELECT 1 FROM pgjanus.kept").fetchone(), 20, "constraints to be valid")
    alike(pgjanus, source, target, sides, sequences=False)


def test_columns_of_other_types_are_noted_as_those_print(app, sides, pgjanus):
    """What a session sets for dates and numbers must not reach the mirror, after ALTER COLUMN TYPE as before, in both directions."""
    app("CREATE TABLE keyless (at timestamp, v text); CREATE TABLE keyed (day date PRIMARY KEY, v int);"
        "INSERT INTO keyless VALUES ('2026-01-01', '1'), ('2026-01-01', '1'); INSERT INTO keyed VALUES ('2026-01-01', 1), ('2026-02-01', 2)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)

    def write(day):
        with pgjanus.connect(options="-c TimeZone=Europe/Berlin -c DateStyle=SQL,DMY -c extra_float_digits=0") as client:
            client.execute(f"INSERT INTO keyless VALUES ('2026-01-{day} 12:00', '0.1'), ('2026-01-{day} 12:00', '0.1'), (NULL, '0.3')")
            client.execute(f"INSERT INTO keyed VALUES ('2026-03-{day}', 1), ('2026-04-{day}', 2)")
            for _ in range(2):  # The second finds what the first left.
                client.execute("UPDATE keyless SET at = at + '1 day'; UPDATE keyed SET day = day + interval '1 year', v = v + 1")
                equal_within(sides.source, sides.target)
            client.execute(f"DELETE FROM keyless WHERE at > '2026-01-02'; DELETE FROM keyed WHERE day > '2028-03-{day}'")
        equal_within(sides.source, sides.target)

    write("05")
    with pgjanus.connect() as client:
        client.execute("ALTER TABLE keyless ALTER at TYPE timestamptz, ALTER v TYPE float8 USING v::float8 / 3; ALTER TABLE keyed ALTER day TYPE timestamptz")
    write("06")
    pgjanus.do("cutover", "--force")
    write("07")
    pgjanus.do("rollback", "--force")
    write("08")
