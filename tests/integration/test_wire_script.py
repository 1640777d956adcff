"""Raw messages through pgjanus get byte for byte the answers of the server itself."""

import difflib
import sys
from pathlib import Path

import pytest

from harness import ClusterFactory, Pgjanus

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import CASES, run_case  # noqa: E402

LOGIN = ("app", "app-secret", "app")


@pytest.fixture(scope="module")
def pair(factory: ClusterFactory):
    """The addresses of a server and of a pgjanus whose primary it is; one pair for all cases."""
    source, target = factory.make("source"), factory.make("target")
    program = Pgjanus(factory.directory / "wire-script", source.plain_owner(), target.rds_owner())
    try:
        program.start()
        yield (source.host, source.port), ("127.0.0.1", program.port)
    finally:
        program.stop()
        source.stop("immediate")
        target.stop("immediate")


@pytest.fixture(scope="module")
def direct(pair):
    """The transcript of a case at the server itself; played once."""
    transcripts = {}

    def play(one):
        if one.sentence not in transcripts:
            transcripts[one.sentence] = run_case(one, pair[0], LOGIN, direct=True)
        return transcripts[one.sentence]
    return play


def compare(expected, found):
    difference = "\n".join(difflib.unified_diff(expected, found, "direct", "through pgjanus",
                                                lineterm="", n=2))
    assert not difference, difference


@pytest.mark.parametrize("one", CASES, ids=str)
def test_answers_are_the_servers(one, pair, direct):
    compare(direct(one), run_case(one, pair[1], LOGIN))


@pytest.mark.parametrize("one", [one for one in CASES if not one.bulk], ids=str)
def test_answers_are_the_servers_byte_by_byte(one, pair, direct):
    compare(direct(one), run_case(one, pair[1], LOGIN, segment=1))
