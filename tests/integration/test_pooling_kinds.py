"""Transaction pooling for clients of several kinds: each driver sends start-up parameters of its own, and its servers fit no other."""

import threading

import pytest

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
