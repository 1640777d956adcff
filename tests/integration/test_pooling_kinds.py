"""Transaction pooling for clients of several kinds: each driver sends start-up parameters of its own, and its servers fit no other."""

import threading

import pytest

from harness import wait_until
from relay_program import Later
from test_pooling import pid, pooling, value  # noqa: F401

CLIENTS, TURNS = 10, 40


@pytest.mark.parametrize("kinds, size", [(2, 4), (3, 4), (3, 2), (2, 1), (12, 4)])
def test_nobody_waits_for_ever_behind_another_kind(pooling, kinds, size):  # noqa: F811
    relay = pooling(f"size={size}", "pool_wait=60000")
    seen, gate = set(), threading.Barrier(CLIENTS)

    def work(number):
        mine = f"{number % kinds + 4}MB"
        gate.wait(60)
        with relay.connect(options=f"-c work_mem={mine}") as client:
            for _ in range(TURNS):
                with client.transaction():
                    seen.add(pid(client))
                    assert value(client, "SELECT current_setting('work_mem')") == mine
    works = [Later(lambda n=number: work(n)) for number in range(CLIENTS)]
    for one in works:
        one.value(60)
    if kinds <= size:  # Otherwise they cannot but take turns.
        assert len(seen) < CLIENTS * TURNS / 4, f"{len(seen)} servers for {CLIENTS * TURNS} transactions"
    assert len(relay.tell("servers").split()) <= size


def test_a_kind_that_comes_later_gets_its_servers(pooling):  # noqa: F811
    """Those who are always at it never leave a server idle: who waits takes one from them."""
    relay = pooling("size=2", "pool_wait=60000")
    stop = threading.Event()

    def busy():
        with relay.connect() as client:
            while not stop.is_set():
                value(client, "SELECT 1")
    works = [Later(busy) for _ in range(6)]
    try:
        with relay.connect(options="-c work_mem=5MB") as late:
            for _ in range(20):
                assert value(late, "SELECT current_setting('work_mem')") == "5MB"
    finally:
        stop.set()
    for one in works:
        one.value(60)


@pytest.fixture
def limited(pair):
    """limited(count): so many servers are all that the role gets, whatever `size` says."""
    limit = "ALTER ROLE app CONNECTION LIMIT {}".format
    there = "SELECT FROM pg_stat_activity WHERE usename = 'app'"

    def to(count):
        wait_until(lambda: not pair[0].execute(there), 20, "the test before to have left")  # It would count.
        pair[0].execute(limit(count))
    yield to
    pair[0].execute(limit(-1))


@pytest.mark.parametrize("idle", (True, False), ids=("idle", "busy"))
def test_another_kind_gets_a_server_where_postgres_has_no_more(pooling, limited, idle):  # noqa: F811
    """One of those that are there goes for it, as with our own limit."""
    limited(3)
    relay = pooling("size=20", "pool_wait=60000")
    stop, gate = threading.Event(), threading.Barrier(6)

    def busy():
        with relay.connect() as client:
            gate.wait(60)
            for _ in range(20):
                value(client, "SELECT pg_sleep(0.01)")
            while not (idle or stop.is_set()):
                value(client, "SELECT pg_sleep(0.01)")
    works = [Later(busy) for _ in range(6)]
    try:
        wait_until(lambda: len(relay.tell("servers").split()) == 3, 20, "the first kind to have all servers")
        if idle:
            for one in works:
                one.value(60)
        for turn in range(4):
            with relay.connect(options=f"-c work_mem={turn % 2 + 4}MB") as late:
                assert value(late, "SELECT current_setting('work_mem')") == f"{turn % 2 + 4}MB"
    finally:
        stop.set()
    for one in works:
        one.value(60)
    assert 1 < len(relay.tell("servers").split()) <= 3
