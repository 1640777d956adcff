"""New tables whose way to the mirror is interrupted: listed and captured on the primary, and not on the mirror yet."""

import pytest

from harness import equal_within, wait_until
from test_ddl import BASE, alike, run

TABLE = "CREATE TABLE apart.fresh (id int PRIMARY KEY, word text); INSERT INTO apart.fresh SELECT i, 'new' FROM generate_series(1, 5) i"


@pytest.fixture
def pgjanus(source, target, programs):
    return programs(source.owner_url, target.owner_url).start()


def refuse_tables(target):
    """The mirror's role may make none in `apart` from now on; returns the statement that lets it."""
    role = target.owner_url.split("//")[1].split(":")[0]
    target.execute("ALTER SCHEMA apart OWNER TO postgres", database="app")
    target.execute(f"GRANT USAGE ON SCHEMA apart TO {role}", database="app")
    return f"ALTER SCHEMA apart OWNER TO {role}"


def test_pgjanus_is_killed_before_the_mirror_has_it(source, target, sides, app, pgjanus):
    """The next process begins with a table that the mirror lacks."""
    app(BASE + "; CREATE SCHEMA apart")
    pgjanus.do("prepare")
    allow = refuse_tables(target)
    run(pgjanus, TABLE)
    load = pgjanus.cli_process("load")
    wait_until(lambda: "event=table_is_new table=apart.fresh" in pgjanus.log(), 30, lambda: f"the table to be listed:\n{pgjanus.log()}")
    pgjanus.kill9()
    load.wait(timeout=30)
    target.execute(allow, database="app")
    pgjanus.start()
    run(pgjanus, "INSERT INTO apart.fresh VALUES (6, 'noted')")
    pgjanus.do("load")
    alike(pgjanus, source, target, sides)


def test_it_is_dropped_before_the_mirror_has_it(source, target, sides, app, pgjanus):
    """The catalog is what it was, and the list and the journal are not."""
    app(BASE + "; CREATE SCHEMA apart")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    allow = refuse_tables(target)
    run(pgjanus, TABLE)
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 30, "the mirror to refuse the table")
    run(pgjanus, "INSERT INTO apart.fresh VALUES (6, 'noted')", "DROP TABLE apart.fresh")
    run(pgjanus, "INSERT INTO heap VALUES ('after', 1)")
    alike(pgjanus, source, target, sides)
    target.execute(allow, database="app")
    run(pgjanus, TABLE)
    alike(pgjanus, source, target, sides)


def test_types_that_are_rolled_back_on_the_mirror(source, target, sides, app, pgjanus):
    """A statement prepared for a type of that batch must not outlive it: the next try's type is another."""
    app(BASE + "; CREATE TABLE first (id int PRIMARY KEY); CREATE TABLE later (id int PRIMARY KEY, n int)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    target.execute("CREATE UNIQUE INDEX its_own ON later (n)", database="app")
    run(pgjanus, "BEGIN; CREATE DOMAIN word AS text; ALTER TABLE first ADD w word DEFAULT 'x'; INSERT INTO first SELECT i FROM generate_series(1, 5) i; "
                 "INSERT INTO later VALUES (1, 1), (2, 1); COMMIT")
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 30, "the mirror to refuse the rows")
    target.execute("DROP INDEX its_own", database="app")
    alike(pgjanus, source, target, sides)


def test_skipping_while_it_is_tried(source, target, sides, app, pgjanus):
    """A try goes by one answer to the end: what went aside in it, to be dropped later, must not be left so."""
    app(BASE + "; CREATE TABLE viewed (id int PRIMARY KEY, c text, d text); INSERT INTO viewed VALUES (1, 'c', 'd');"
        "CREATE FUNCTION waits(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN $1; END $$")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    target.execute("CREATE VIEW its_own AS SELECT id, c FROM viewed", database="app")
    run(pgjanus, "BEGIN; ALTER TABLE viewed DROP COLUMN c; CREATE INDEX ON viewed (waits(d)); COMMIT")
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 30, "the mirror to refuse the drop")
    with target.connect("app") as holder, pgjanus.admin() as admin:
        holder.execute("SELECT pg_advisory_lock(7)")
        wait_until(lambda: holder.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone() == (1,), 30,
                   "the next try to come to the index")
        admin.execute("SKIP")
    pgjanus.wait_in_sync()
    columns = "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'viewed'::regclass AND attnum > 0 AND NOT attisdropped"
    assert target.execute(columns, database="app") == [(["id", "c", "d"],)]


LATE = """
CREATE FUNCTION pgjanus.late() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE OF role ON pgjanus.state DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION pgjanus.late();
"""


def test_ddl_right_behind_a_promotion_that_is_finished_after_a_kill(source, target, sides, app, pgjanus):
    """Killed while the decision was on its way. Whoever goes on promotes long before its loop looks at the catalog."""
    app("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT n, n, -n FROM generate_series(1, 50) n")
    app("CREATE SCHEMA many; " + "; ".join(f"CREATE TABLE many.t{n} (id int PRIMARY KEY, t text UNIQUE)" for n in range(50)))
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    source.script(LATE, "app")
    running = pgjanus.cli_process("cutover", "--force")
    wait_until(lambda: sides.source.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone() is not None, 30,
               "the decision, on its way", every=0.002)
    pgjanus.kill9()
    running.communicate(timeout=30)
    pgjanus.start(ready=False)
    wait_until(lambda: sides.target.execute("SELECT role FROM pgjanus.state").fetchone()[0] == "primary", 30, "the promotion", every=0)
    target.script("ALTER TABLE t RENAME a TO q; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME q TO b; ALTER TABLE t ADD c int DEFAULT 3", "app", "app")
    pgjanus.wait_ready()
    pgjanus.wait_in_sync()
    equal_within(sides.source, sides.target)
    assert "flip_finished_after_restart" in pgjanus.log()
    assert "ddl_may_be_missed" not in pgjanus.log()


def test_a_table_that_does_not_fit_is_never_in_sync(source, target, sides, app, pgjanus):
    """Neither once the tables are read again, be it for other DDL or by the next process. LOAD brings it."""
    app("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t SELECT n, n FROM generate_series(1, 50) n")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    pgjanus.kill9()
    app("ALTER TABLE t ADD c int")
    with sides.target.transaction():  # As if the DDL had been missed: the catalog to begin from is that of now.
        sides.target.execute("SET LOCAL pgjanus.apply = 'on'; DELETE FROM pgjanus.shape")
    pgjanus.start()
    app("INSERT INTO t VALUES (1000, 1, 1)")

    def lacking():
        batches = sides.target.execute("SELECT batch FROM pgjanus.boundary").fetchone()[0]
        with pgjanus.connect(autocommit=True) as client:
            client.execute("INSERT INTO u SELECT coalesce(max(id), 0) + 1 FROM u")
        wait_until(lambda: sides.target.execute("SELECT batch FROM pgjanus.boundary").fetchone()[0] > batches + 1, 20, "two more batches")
        mirror = pgjanus.status()["mirror"]
        assert mirror["state"] == "degraded" and "public.t" in mirror["error"], mirror

    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "degraded", 20, "the table to be given up")
    lacking()
    with pgjanus.connect(autocommit=True) as client:
        client.execute("CREATE TABLE other (id int PRIMARY KEY)")
    lacking()
    pgjanus.restart()
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "degraded", 20, "the next process to say so")
    lacking()
    sides.target.execute("ALTER TABLE t ADD c int")
    pgjanus.do("load", "public.t")
    pgjanus.wait_in_sync()
    assert sides.target.execute("SELECT count(*) FROM t WHERE id = 1000 AND c = 1").fetchone() == (1,)


def test_a_table_is_dropped_whose_keys_are_to_be_taken_once_more(source, target, sides, app, pgjanus):
    """Columns exchange names while nobody looks, so keys are taken from further back than the boundary; should that be refused at
    first, a table of those may be gone when it is tried again, and is in no journal since the boundary."""
    app(BASE + "; CREATE SCHEMA apart; CREATE TABLE pair (id int PRIMARY KEY, a int, b int); CREATE TABLE gone (id int PRIMARY KEY)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    allow = refuse_tables(target)
    run(pgjanus, "INSERT INTO pair VALUES (1, 1, 2)", "INSERT INTO gone VALUES (1)")
    alike(pgjanus, source, target, sides)
    pgjanus.kill9()
    source.script("ALTER TABLE pair RENAME a TO q; ALTER TABLE pair RENAME b TO a; ALTER TABLE pair RENAME q TO b; " + TABLE, "app", "app")
    pgjanus.start()
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 30, "the mirror to refuse the table")
    run(pgjanus, "DROP TABLE gone")
    tries = pgjanus.log().count("column public.pair.a")
    wait_until(lambda: pgjanus.log().count("column public.pair.a") > tries + 4, 30, "it to be tried again without that table")
    target.execute(allow, database="app")
    alike(pgjanus, source, target, sides)
