"""Transaction pooling and flips: who moves, who waits, who ends; and reads aside."""

import threading

import psycopg
import pytest

from harness import wait_until
from relay_program import Later, flip, side
from test_pooling import pins, pooling, value  # noqa: F401 - fixtures among them


def test_a_flip_under_load(pooling):
    relay = pooling("size=4")
    stop, counts = threading.Event(), []

    def work(number):
        done = 0
        with relay.connect(prepare_threshold=0) as client:
            client.execute(f"SET work_mem = '{number + 1}MB'")
            while not stop.is_set():
                with client.transaction():
                    assert value(client, "SHOW work_mem") == f"{number + 1}MB"
                    assert value(client, "SELECT %s::text", ("x",)) == "x"
                done += 1
        counts.append(done)
    works = [Later(lambda n=number: work(n)) for number in range(12)]
    with relay.connect() as observer:
        for to in ("target", "source", "target"):
            relay.tell(f"warm {to}")
            flip(relay, to)
            assert side(observer) == to
    stop.set()
    for one in works:
        one.value()
    assert len(counts) == 12 and all(counts)


def test_one_that_waits_for_a_server_gets_one_of_the_new_primary(pooling):
    relay = pooling("size=1")
    with relay.connect() as holder, relay.connect() as client:
        holder.execute("BEGIN")
        waiting = Later(lambda: side(client))
        wait_until(lambda: "waiting_for_server" in relay.tell("clients"), what="the client to wait")
        relay.tell("hold")
        holder.execute("COMMIT")
        assert relay.tell("quiesce 5000") == "0"
        relay.tell("primary target")
        relay.tell("release")
        assert waiting.value() == "target"


def test_a_pinned_session_moves_or_ends(pooling):
    relay = pooling("size=3")
    with relay.connect() as listener, relay.connect() as owner, relay.connect() as client:
        listener.execute("LISTEN news")
        owner.execute("CREATE TEMP TABLE mine (a int)")
        assert pins(relay) == ["LISTEN", "temporary table", ""]
        assert relay.tell("pinned 5000") == "1 | temporary table"
        flip(relay)
        assert side(client) == "target"
        pins(relay)  # Idle sessions move a moment after the gate has opened.
        client.execute("NOTIFY news, 'after the flip'")
        assert next(listener.notifies()).payload == "after the flip"
        with pytest.raises(psycopg.OperationalError, match="temporary table"):
            owner.execute("SELECT 1")
        listener.execute("UNLISTEN *")
        assert side(listener) == "target"
        assert pins(relay) == ["", ""]


def test_reads_aside_take_turns_too(pooling):
    relay = pooling("size=1")
    relay.tell("plain side")
    relay.tell("sync on")
    relay.tell("reads mirror")
    with relay.connect() as client, relay.connect() as other:
        for one in (client, other):
            assert side(one) == "target"
        assert value(client, "SELECT name FROM side WHERE name <> %s", ("x",)) == "target"
        # No server free over there: the primary serves it.
        client.execute("SET work_mem = '9MB'")
        assert value(client, "SELECT current_setting('work_mem') FROM side") == "9MB"
        assert len(relay.tell("servers").split()) == 2
