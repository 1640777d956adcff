"""Histories of migrations as frameworks run them, through the proxy while others write: both sides end alike.

The scripts are in tests/migrations; each goes up, some way down, and up again. PGJANUS_TEST_POOLS chooses the pool modes.
"""

import os
import sys

import pytest

from harness import Pgjanus, wait_until
from harness.program import ROOT
from test_ddl import BASE, Writer, alike
from test_driver_matrix import NODE, POOLS, run

HISTORIES = ROOT / "tests" / "migrations"
SCRIPTS = {
    **{name: [sys.executable, str(HISTORIES / f"{name}_history.py")] for name in ("django", "alembic")},
    **{name: ["node", str(HISTORIES / f"{name}_history.js")] for name in ("knex", "sequelize", "drizzle")},
}


@pytest.fixture(scope="module", params=POOLS)
def migration(request, factory):
    """(source, target, pgjanus), mirroring."""
    source, target = factory.make("source"), factory.make("target")
    source.owner_url, target.owner_url = source.plain_owner(), target.rds_owner()
    source.script(BASE, "app", "app")
    program = Pgjanus(factory.directory / f"histories-{request.param}", source.owner_url, target.owner_url,
                      environment={"PGJANUS_POOL": request.param, "PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()
    for verb in ("prepare", "load"):
        program.do(verb)
    program.wait_in_sync()
    yield source, target, program
    program.stop()
    source.stop("immediate")
    target.stop("immediate")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_history_of_migrations_leaves_both_sides_alike(name, migration):
    source, target, program = migration
    if name in ("knex", "sequelize", "drizzle"):
        assert (NODE / "installed.json").exists(), "`deploy/setup --npm build/node tests/drivers` (tests/run calls it) gets node's packages"
    class sides:  # noqa: N801 - as the fixture of that name
        pass
    with source.connect("app") as sides.source, target.connect("app") as sides.target:
        with Writer(program.url) as writer:
            said = run(SCRIPTS[name], program.url, limit=240)
            writer.progress()
        wait_until(lambda: program.status()["mirror"]["state"] in ("in_sync", "stalled"), 60, "the mirror to settle")
        assert program.status()["mirror"]["state"] == "in_sync", (said, program.status()["mirror"], program.log()[-6000:])
        try:
            alike(program, source, target, sides)
        except AssertionError:
            print(said, program.log()[-6000:], sep="\n---\n")
            raise
