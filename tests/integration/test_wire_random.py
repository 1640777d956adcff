"""Random batches of many clients on few servers get, byte for byte, the answers of a server of one's own.

Plays seeds 1 to 12; PGJANUS_SEED=… another one, PGJANUS_RANDOM_SEEDS=100 so many new ones.
"""

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import wait_until
from relay_program import Relay
from wire_script import at_random

LOGIN = ("app", "app-secret", "app")


def accepts(server):
    try:
        server.script("SELECT 1", "app", "app")
        return True
    except Exception:  # noqa: BLE001 - whatever a server says while it recovers
        return False


def seeds():
    given = os.environ.get("PGJANUS_SEED")
    if given:
        return [int(given)]
    more = os.environ.get("PGJANUS_RANDOM_SEEDS")
    # Always the same ones: about one in a hundred meets a difference that proxy/session/README.md names.
    return random.sample(range(1 << 31), int(more)) if more else range(1, 13)


@pytest.mark.parametrize("pool, size, also", [
    ("transaction", 1, at_random.DDL), ("transaction", 4, at_random.PINS), ("transaction", 4, []),
    ("session", 4, [*at_random.DDL, *at_random.PINS])], ids=["one server, DDL", "pins", "servers change", "session"])
def test_random_batches_get_the_servers_answers(pair, tmp_path, pool, size, also):
    # Both servers have the same; directly it is the second one.
    relay = Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / "relay.log", f"pool={pool}", "threads=1", f"size={size}")
    try:
        for seed in seeds():
            for server in pair:
                at_random.setup(server)
            try:
                at_random.play(seed, (pair[1].host, pair[1].port), ("127.0.0.1", relay.port), LOGIN, also)
            except at_random.ServerDied:  # Postgres 15 does, by DISCARD ALL, BEGIN, an error, and Close.
                for server in pair:
                    wait_until(lambda one=server: accepts(one), what="the server to be back")
    finally:
        relay.stop()
