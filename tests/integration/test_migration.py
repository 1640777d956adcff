"""The whole migration by the contract's verbs, under load, on a schema of traps."""

import psycopg
import pytest

from harness import WORLD, WorldLoad, assert_equal, wait_until

FENCED = "this database is now the mirror"


def in_step(pgjanus, sides, load=None, **options):
    """Writes have stopped: what was promised is on both sides, and the sides are equal."""
    pgjanus.wait_in_sync()
    if load:
        load.check()
        load.check_kept(sides.source, sides.target)
    assert_equal(sides.source, sides.target, **options)


def fenced(server):
    """A write straight to this side is refused, whoever makes it."""
    for connection in (psycopg.connect(server.owner_url, autocommit=True), server.connect("app")):
        with connection:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match=FENCED) as refused:
                connection.execute("INSERT INTO ledger VALUES (-1, -1, 'past the proxy')")
            assert refused.value.diag.message_hint


def test_there_and_back_and_there_again(source, target, sides, app, pgjanus, seed):
    app(WORLD)
    load = WorldLoad(pgjanus.url, threads=5, seed=seed, pause=0.002)
    with load:
        for verb in ("check", "prepare", "load", "verify"):
            pgjanus.do(verb)
            load.progress(50)
        status = pgjanus.status()
        assert (status["phase"], status["primary"]) == ("mirroring", "source")
        fenced(target)
        for verb, primary, old in (("cutover", "target", source), ("rollback", "source", target),
                                   ("cutover", "target", source)):
            pgjanus.wait_in_sync()
            pgjanus.do(verb)
            assert pgjanus.status()["primary"] == primary
            fenced(old)
            load.progress(100)
    in_step(pgjanus, sides, load)

    # Quiet flips: now the sequences must agree to the last number as well.
    pgjanus.do("rollback")
    in_step(pgjanus, sides, sequences=True)
    with WorldLoad(pgjanus.url, threads=3, seed=seed, first=100) as again:
        again.progress(100)
        pgjanus.do("verify")
    in_step(pgjanus, sides, again)
    pgjanus.do("cutover")
    in_step(pgjanus, sides, sequences=True)

    pgjanus.do("finish", "--confirm", "app")
    assert pgjanus.status()["phase"] == "finished"
    with pgjanus.connect() as client:
        client.execute("INSERT INTO ledger VALUES (-2, 1, 'after finish')")
    assert sides.target.execute("SELECT note FROM ledger WHERE worker = -2").fetchone()
    left = sides.target.execute("SELECT tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
                                "WHERE p.pronamespace = 'pgjanus'::regnamespace").fetchall()
    assert not left, "finish removes the triggers from the primary"
    fenced(source)

    # A proxy that starts later serves the right side.
    pgjanus.restart()
    with pgjanus.connect() as client:
        assert client.execute("SELECT inet_server_port()").fetchone() == (target.port,)


def test_two_phase_commit_and_writers_past_the_proxy_are_mirrored(source, sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    with pgjanus.connect() as client:
        client.execute("BEGIN; INSERT INTO notes (body) VALUES ('prepared'); "
                       "PREPARE TRANSACTION 'kept'")
        client.execute("BEGIN; INSERT INTO notes (body) VALUES ('never'); "
                       "PREPARE TRANSACTION 'lost'")
        client.execute("INSERT INTO notes (body) VALUES ('between')")
        wait_until(lambda: sides.target.execute("SELECT body FROM notes").fetchall()
                   == [("between",)], 20, "the row between on the target")
        client.execute("COMMIT PREPARED 'kept'")
        client.execute("ROLLBACK PREPARED 'lost'")
    with psycopg.connect(source.owner_url, autocommit=True) as direct:
        direct.execute("INSERT INTO notes (body) VALUES ('direct')")
    wait_until(lambda: sorted(sides.target.execute("SELECT body FROM notes").fetchall())
               == [("between",), ("direct",), ("prepared",)], 20, "all rows on the target")
    assert_equal(sides.source, sides.target)


def test_planted_differences_are_named_and_healed(sides, app, pgjanus):
    app("CREATE TABLE items (id int, part text, body text, at timestamptz, PRIMARY KEY (id, part));"
        "INSERT INTO items SELECT n, 'p' || n % 3, 'body', '2025-01-01' FROM "
        "generate_series(1, 5000) n; CREATE TABLE plain (id int PRIMARY KEY, body text);"
        "INSERT INTO plain SELECT n, '' FROM generate_series(1, 100) n")
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with sides.target.transaction():
        sides.target.execute("SET LOCAL pgjanus.apply = 'on'; SET LOCAL session_replication_role "
                             "= replica")
        sides.target.execute("DELETE FROM items WHERE id = 77")
        sides.target.execute("INSERT INTO items VALUES (9000, 'extra', NULL, NULL)")
        sides.target.execute("UPDATE items SET at = at + interval '1 microsecond' WHERE id = 4999")
        sides.target.execute("UPDATE plain SET body = NULL WHERE id = 3")
    found = pgjanus.cli("verify")
    assert found.code == 3, found
    differences = {(d["table"], tuple(sorted(d["key"].items())), d["kind"])
                   for d in found.json["differences"]}
    assert differences == {
        ("public.items", (("id", "77"), ("part", "p2")), "missing"),
        ("public.items", (("id", "9000"), ("part", "extra")), "extra"),
        ("public.items", (("id", "4999"), ("part", "p1")), "changed"),
        ("public.plain", (("id", "3"),), "changed")}, found
    # A flip on known differences is refused by the guard.
    refused = pgjanus.cli("cutover")
    assert refused.code in (2, 4), refused
    assert "verified" in refused.stdout + refused.stderr
    repaired = pgjanus.cli("verify", "--repair")
    assert repaired.code == 0, repaired
    assert_equal(sides.source, sides.target)
    pgjanus.do("cutover")


def test_dropping_the_schema_is_the_way_out_without_pgjanus(source, sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    with pgjanus.connect() as client:
        client.execute("INSERT INTO notes (body) VALUES ('before')")
        pgjanus.kill9()
        app("DROP SCHEMA pgjanus CASCADE")
        with psycopg.connect(source.owner_url, autocommit=True) as direct:
            direct.execute("INSERT INTO notes (body) VALUES ('free')")
    assert not sides.source.execute("SELECT FROM pg_trigger WHERE NOT tgisinternal").fetchall()


def test_dropping_the_schema_under_a_running_proxy_ends_mirroring_and_not_the_app(
        sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    with pgjanus.connect() as client:
        client.execute("INSERT INTO notes (body) VALUES ('before')")
        app("DROP SCHEMA pgjanus CASCADE")
        for number in range(20):
            client.execute("INSERT INTO notes (body) VALUES (%s)", (f"free {number}",))
        wait_until(lambda: pgjanus.status()["mirror"]["state"] in ("off", "stalled"), 30,
                   "the status to say that mirroring ended")
    assert sides.source.execute("SELECT count(*) FROM notes").fetchone() == (21,)


def test_a_second_proxy_is_refused(source, target, app, pgjanus, programs):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    second = programs(source.owner_url, target.owner_url).start(ready=False)
    wait_until(lambda: not second.running() or "another" in second.log(), 30,
               "the second proxy to be refused")
    try:
        assert second.http("/readyz")[0] == 503
    except OSError:  # It ends, at once or while it is being asked.
        wait_until(lambda: not second.running(), 30, "the refused proxy to end")
    with pgjanus.connect() as client:
        client.execute("INSERT INTO notes (body) VALUES ('the first serves on')")
    pgjanus.wait_in_sync()


def test_before_prepare_the_app_finds_no_lock_of_ours_and_a_second_proxy_is_refused(source, target, app, pgjanus,
                                                                                    programs):
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    wait_until(lambda: source.execute(locks) == [(0,)], 20, "our lock on the source to go")
    assert target.execute(locks) == [(1,)]
    second = programs(source.owner_url, target.owner_url).start(ready=False)
    wait_until(lambda: not second.running(), 40, "the second proxy to end")
    assert "another pgjanus runs this migration: on the target" in second.log()
    # Another target does not help it: the source is led from `prepare` on.
    pgjanus.do("prepare")
    assert source.execute(locks) == [(1,)]


def test_a_flip_that_an_open_transaction_holds_up_is_undone_and_names_it(sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with pgjanus.connect(application_name="slow report") as slow, pgjanus.connect() as other:
        slow.execute("BEGIN")
        slow.execute("INSERT INTO notes (body) VALUES ('not yet')")
        undone = pgjanus.cli("cutover", "--wait", "200ms", "--timeout", "500ms")
        assert undone.code in (4, 5), undone
        assert "slow report" in undone.stdout + undone.stderr
        dry = pgjanus.cli("cutover", "--dry-run")
        assert any(b["application_name"] == "slow report" for b in dry.json["blockers"]), dry
        other.execute("INSERT INTO notes (body) VALUES ('goes on')")
        slow.execute("COMMIT")
        assert pgjanus.status()["primary"] == "source"
        pgjanus.do("cutover")
        slow.execute("INSERT INTO notes (body) VALUES ('moved')")
    pgjanus.wait_in_sync()
    assert_equal(sides.source, sides.target)
    assert sides.target.execute("SELECT count(*) FROM notes").fetchone() == (3,)


def test_a_flip_waits_for_a_lock_that_somebody_holds_on_the_mirror(sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    with pgjanus.connect(autocommit=False) as client:
        client.execute("INSERT INTO notes (body) VALUES ('met a lock')")
        with sides.target.transaction():
            sides.target.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
            cutover = pgjanus.cli_process("cutover", "--wait", "30s")
            wait_until(lambda: pgjanus.status()["held"] == "flip", 20, "the flip to hold the others")
            client.commit()
            wait_until(lambda: "event=table_held_up" in pgjanus.log() or cutover.poll() is not None, 20, "the drain to meet the lock")
    out, err = cutover.communicate(timeout=60)
    assert cutover.returncode == 0, (out, err)
    assert_equal(sides.source, sides.target)


def test_a_flip_waits_for_tables_that_somebody_has_locked_already(sides, app, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    with sides.target.transaction():
        sides.target.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        sides.source.execute("INSERT INTO notes (body) VALUES ('met a lock')")
        wait_until(lambda: "wait for a lock" in (pgjanus.status()["mirror"]["error"] or ""), 20, "the mirror to meet the lock")
        refused = pgjanus.cli("cutover", "--wait", "100ms")
        assert refused.code == 2 and "guard in_sync" in str(refused), refused
        cutover = pgjanus.cli_process("cutover", "--wait", "60s")
        assert "tables wait for a lock" in cutover.stderr.readline()
        assert pgjanus.status()["held"] == "none"
    out, err = cutover.communicate(timeout=60)
    assert cutover.returncode == 0, (out, err)
    assert_equal(sides.source, sides.target)


def test_abort_leaves_nothing_behind(sides, app, pgjanus):
    app(WORLD)
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    refused = pgjanus.cli("abort", "--confirm", "something else")
    assert refused.code != 0
    pgjanus.do("abort", "--confirm", "app")
    for side in (sides.source, sides.target):
        assert side.execute("SELECT to_regnamespace('pgjanus')").fetchone() == (None,)
    assert not sides.source.execute(
        "SELECT tgname FROM pg_trigger WHERE tgname LIKE '%pgjanus%'").fetchall()
    with pgjanus.connect() as client:
        client.execute("INSERT INTO ledger VALUES (1, 1, 'the app goes on')")
