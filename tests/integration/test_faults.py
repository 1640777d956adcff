"""Processes and servers die at random moments, flips included. PGJANUS_SEED repeats a run."""

import random

import pytest

from harness import WORLD, WorldLoad, assert_equal, equal_within, wait_until


@pytest.fixture
def durable(cluster):
    """Source and target with fsync on: what they acknowledge survives their death."""
    source, target = cluster("source", fsync=True), cluster("target", fsync=True)
    source.owner_url, target.owner_url = source.plain_owner(), target.rds_owner()
    source.script(WORLD, "app", "app")
    return source, target


def settle(pgjanus, source, target, load):
    """After the faults: in sync by itself, everything promised on both sides, both equal."""
    pgjanus.wait_in_sync(90)
    with source.connect("app") as left, target.connect("app") as right:
        load.check_kept(left, right)
        equal_within(left, right, 30)


def flip_to(pgjanus, verb, limit=90):
    """Repeats a flip until it is done (it may be: exit 0 then, too)."""
    def done():
        result = pgjanus.cli(verb)
        return result.code == 0 or None
    wait_until(done, limit, f"{verb} to succeed", every=0.2)


def test_pgjanus_killed_at_random_moments(durable, programs, seed):
    source, target = durable
    chooser = random.Random(seed)
    pgjanus = programs(source.owner_url, target.owner_url).start()
    load = WorldLoad(pgjanus.url, threads=4, seed=seed, pause=0.002).start()
    load.progress(20)

    # While it prepares and loads; what was under way goes on or is asked for again.
    for verb in ("prepare", "load"):
        for _ in range(2):
            running = pgjanus.cli_process(verb)
            try:
                running.wait(timeout=chooser.uniform(0.02, 0.8))
            except Exception:  # noqa: BLE001 - it is still running: the case we want
                pass
            pgjanus.restart()
            running.wait(timeout=30)
            running.communicate()
        wait_until(lambda verb=verb: pgjanus.cli(verb).code == 0, 120, f"{verb} to succeed",
                   every=0.2)
        load.progress(20)
    wait_until(lambda: pgjanus.cli("verify").code == 0, 60, "a clean verification", every=0.2)

    # While it mirrors, and at random moments of flips.
    for number in range(8):
        verb = "cutover" if pgjanus.status()["primary"] == "source" else "rollback"
        running = pgjanus.cli_process(verb) if number % 4 else None
        moment = chooser.choice([0.01, 0.03, 0.06, 0.1, 0.2, 0.4]) * chooser.random() * 2
        if running:
            try:
                running.wait(timeout=moment)
            except Exception:  # noqa: BLE001 - as above
                pass
        pgjanus.restart()
        if running:
            running.communicate()
        load.progress(20, limit=60)
        pgjanus.wait_in_sync(90)
    load.stop()
    settle(pgjanus, source, target, load)
    flip_to(pgjanus, "cutover")
    settle(pgjanus, source, target, load)
    flip_to(pgjanus, "rollback")
    with source.connect("app") as left, target.connect("app") as right:
        pgjanus.wait_in_sync()
        assert_equal(left, right, sequences=True)


@pytest.mark.parametrize("primary", ["source", "target"])
def test_the_mirror_stops_is_killed_and_hangs(durable, programs, seed, primary):
    source, target = durable
    chooser = random.Random(seed)
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    if primary == "target":
        pgjanus.do("cutover")
    mirror = target if primary == "source" else source
    with WorldLoad(pgjanus.url, threads=4, seed=seed, pause=0.002) as load:
        load.progress(50)
        for kind in chooser.sample(["kill9", "stop", "freeze"], 3):
            getattr(mirror, kind)()
            wait_until(lambda: pgjanus.status()["mirror"]["state"] not in ("in_sync",), 30,
                       f"the loss of the mirror ({kind}) to be said")
            load.progress(50, limit=40)
            assert pgjanus.http("/readyz")[0] == 200
            mirror.thaw() if kind == "freeze" else mirror.start()
            pgjanus.wait_in_sync(90)
    load.check()
    settle(pgjanus, source, target, load)
    pgjanus.do("verify")
    pgjanus.do("rollback" if primary == "target" else "cutover")
    settle(pgjanus, source, target, load)


@pytest.mark.parametrize("primary", ["source", "target"])
def test_the_primary_is_killed_and_comes_back(durable, programs, seed, primary):
    source, target = durable
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    if primary == "target":
        pgjanus.do("cutover")
    server = source if primary == "source" else target
    with WorldLoad(pgjanus.url, threads=4, seed=seed, pause=0.002) as load:
        load.progress(50)
        for kind in ("kill9", "stop", "kill9"):
            getattr(server, kind)()
            server.start()
            load.progress(50, limit=60)
    settle(pgjanus, source, target, load)
    pgjanus.do("verify")


def test_a_server_dies_during_flips(durable, programs, seed):
    source, target = durable
    chooser = random.Random(seed)
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with WorldLoad(pgjanus.url, threads=4, seed=seed, pause=0.002) as load:
        for _ in range(6):
            verb = "cutover" if pgjanus.status()["primary"] == "source" else "rollback"
            victim = chooser.choice([source, target])
            running = pgjanus.cli_process(verb)
            try:
                running.wait(timeout=chooser.random() * 0.3)
            except Exception:  # noqa: BLE001 - it is still running: the case we want
                pass
            victim.kill9()
            victim.start()
            running.communicate(timeout=60)
            load.progress(30, limit=60)
            pgjanus.wait_in_sync(90)
    settle(pgjanus, source, target, load)
    wait_until(lambda: pgjanus.cli("verify").code == 0, 60, "a clean verification", every=0.5)


def test_pgjanus_that_slept_goes_on(durable, programs, seed):
    source, target = durable
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with WorldLoad(pgjanus.url, threads=3, seed=seed) as load:
        load.progress(30)
        pgjanus.freeze()
        with source.connect("app") as direct:
            direct.execute("INSERT INTO ledger VALUES (-7, 1, 'while it slept')")
        pgjanus.thaw()
        load.progress(30)
        pgjanus.do("cutover")
        load.progress(30)
    load.check()
    settle(pgjanus, source, target, load)


def test_the_backlog_of_a_long_transaction_is_shown_and_goes(durable, programs):
    """Boundaries pass while it is open; its rows are in none of them. In the end the journal is small again."""
    source, target = durable
    pgjanus = programs(source.owner_url, target.owner_url).start()
    with source.connect("app", user="app") as app:
        app.execute("CREATE TABLE long (id int PRIMARY KEY, n int)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)

    def mirror(field):
        return pgjanus.status()["mirror"][field]
    with pgjanus.connect(autocommit=False) as client, pgjanus.connect() as other:
        client.execute("INSERT INTO long SELECT i, 0 FROM generate_series(1, 120000) i")
        other.execute("INSERT INTO long VALUES (0, 0)")
        before = mirror("boundary_at")
        wait_until(lambda: mirror("boundary_at") != before, 30, "a boundary behind the transaction's beginning")
        target.stop("immediate")
        client.commit()
    wait_until(lambda: mirror("backlog_keys") == 120_000, 30, lambda: f"the backlog, not {mirror('backlog_keys')} keys")
    target.start()
    refused = pgjanus.cli("cutover", "--force")
    assert refused.code != 0 or mirror("backlog_keys") == 0, refused
    pgjanus.wait_in_sync(120)
    wait_until(lambda: mirror("backlog_keys") == 0, 30, "no backlog")
    with source.connect("app") as left, target.connect("app") as right:
        equal_within(left, right, 30)
        wait_until(lambda: left.execute("SELECT count(*) FROM pgjanus.journal").fetchone() == (0,), 60, "the journal to be empty")
