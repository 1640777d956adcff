"""Raw messages through pgjanus get byte for byte the answers of the server itself."""

import difflib
import sys
from pathlib import Path

import pytest

from harness import ClusterFactory, Pgjanus

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import CASES, run_case  # noqa: E402

LOGIN = ("app", "app-secret", "app")


POOLS = ("session", "transaction")
PLAYS = [(pool, one) for pool in POOLS for one in CASES if pool == "session" or not one.own_server]


@pytest.fixture(scope="module")
def servers(factory: ClusterFactory):
    source, target = factory.make("source"), factory.make("target")
    source.owner_url, target.owner_url = source.plain_owner(), target.rds_owner()
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


@pytest.fixture(scope="module")
def proxied(servers, factory):
    """proxied(pool): the address of a pgjanus in that pool mode, started at first use; one at a time."""
    running = {}

    def address(pool):
        if pool not in running:
            while running:
                running.popitem()[1].stop()
            running[pool] = Pgjanus(factory.directory / f"wire-{pool}", *(one.owner_url for one in servers),
                                    environment={"PGJANUS_POOL": pool}).start()
        return "127.0.0.1", running[pool].port
    yield address
    for program in running.values():
        program.stop()


@pytest.fixture(scope="module")
def direct(servers):
    """The transcript of a case at the server itself; played once."""
    transcripts = {}

    def play(one):
        if one.sentence not in transcripts:
            transcripts[one.sentence] = run_case(one, (servers[0].host, servers[0].port), LOGIN, direct=True)
        return transcripts[one.sentence]
    return play


def compare(expected, found):
    difference = "\n".join(difflib.unified_diff(expected, found, "direct", "through pgjanus",
                                                lineterm="", n=2))
    assert not difference, difference


def names(value):
    return value if isinstance(value, str) else str(value)


@pytest.mark.parametrize("pool, one", PLAYS, ids=names)
def test_answers_are_the_servers(pool, one, proxied, direct):
    compare(direct(one), run_case(one, proxied(pool), LOGIN))


@pytest.mark.parametrize("pool, one", [(pool, one) for pool, one in PLAYS if not one.bulk], ids=names)
def test_answers_are_the_servers_byte_by_byte(pool, one, proxied, direct):
    compare(direct(one), run_case(one, proxied(pool), LOGIN, segment=1))
