"""A flip between two messages changes nothing that a client sees."""

import sys
from pathlib import Path

import psycopg
import pytest

from harness import Pgjanus, wait_until
from relay_program import Later

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script.moving import MOVES, run_move  # noqa: E402
from test_wire_script import LOGIN, compare  # noqa: E402


@pytest.fixture(scope="module")
def migration(factory):
    """A server, and a pgjanus that mirrors it; every test flips, to and fro."""
    source, target = factory.make("source"), factory.make("target")
    program = Pgjanus(factory.directory / "wire-flip", source.plain_owner(), target.rds_owner())
    try:
        source.script("CREATE TABLE something (a int PRIMARY KEY)", "app", "app")
        program.start()
        program.do("prepare")
        program.do("load")
        program.wait_in_sync()
        yield source, program
    finally:
        program.stop()
        source.stop("immediate")
        target.stop("immediate")


def flip(program, *arguments):
    """To the other side. The guards are the subject of other tests, hence --force."""
    program.wait_in_sync()
    verb = "cutover" if program.status()["primary"] == "source" else "rollback"
    return program.cli(verb, "--force", *arguments)


@pytest.mark.parametrize("one", [one for one in MOVES if not one.stays], ids=str)
def test_a_flip_between_two_messages_is_not_seen(one, migration):
    source, program = migration

    def between():
        result = flip(program)
        assert result.code == 0, result
    moved = run_move(one, ("127.0.0.1", program.port), LOGIN, between)
    # At a server itself nothing happens in between; no setting that is looked at differs by side.
    compare(run_move(one, (source.host, source.port), LOGIN), moved)


@pytest.mark.parametrize("one", [one for one in MOVES if one.stays], ids=str)
def test_a_flip_waits_for_what_is_under_way_and_gives_up(one, migration):
    source, program = migration
    primary = program.status()["primary"]

    def between():
        result = flip(program, "--wait", "300ms")
        assert result.code != 0, f"the session was moved: {result}"
        assert program.status()["primary"] == primary
    stayed = run_move(one, ("127.0.0.1", program.port), LOGIN, between)
    compare(run_move(one, (source.host, source.port), LOGIN), stayed)


def test_a_cancel_request_reaches_the_new_primary(migration):
    """With the key of its log-in, a client cancels what it runs on the server that it was moved to."""
    _, program = migration
    with program.connect() as client:
        client.execute("SELECT 1")
        result = flip(program)
        assert result.code == 0, result
        query = Later(lambda: client.execute("SELECT pg_sleep(60)"))

        def heard():
            client.cancel()
            return not query.running()
        wait_until(heard, what="the query to be cancelled")
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.value()
        assert client.execute("SELECT 1").fetchone() == (1,)
