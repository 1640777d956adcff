"""The process ends while a verb works with the mirror loop. Most telling under a sanitizer."""

import pytest

from harness import wait_until

SCHEMA = "CREATE TABLE kept (id int PRIMARY KEY, what text); INSERT INTO kept VALUES (1, 'a')"


@pytest.fixture
def mirrored(pgjanus, app):
    app(SCHEMA)
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    return pgjanus


def stuck_applier(target):
    """A lock that each batch waits for (a second at a time) and gives up on: the loop is busy all
    the time and stays in sync for a while."""
    connection = target.connect("app", autocommit=False)
    connection.execute("LOCK TABLE pgjanus.boundary IN EXCLUSIVE MODE")
    return connection


def wait_for_fresh_wait(target):
    with target.connect("app") as looking:
        wait_until(lambda: looking.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%mirror applier%' "
            "AND wait_event_type = 'Lock' AND now() - query_start < interval '0.2 s'").fetchone(),
            20, "the mirror loop to wait for the lock", every=0.005)


def test_while_a_flip_drains(mirrored, source, target):
    with stuck_applier(target):
        cutover = mirrored.cli_process("cutover", "--timeout", "30s")
        wait_until(lambda: mirrored.status()["held"] == "flip", 20, "the flip to hold clients")
        wait_for_fresh_wait(target)
        mirrored.process.terminate()
        assert mirrored.exited(40) == 0, mirrored.log()[-4000:]
        cutover.communicate()
        assert cutover.returncode != 0
    mirrored.start()
    mirrored.wait_in_sync()
    assert mirrored.status()["primary"] == "source"
    mirrored.do("cutover")
