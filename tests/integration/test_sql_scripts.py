"""psql plays tests/sql directly, through pgjanus passing through, mirroring, and pooling: the same bytes."""

import difflib
import os
import re
import subprocess

import pytest

from harness import Pgjanus
from harness.program import ROOT

SQL = ROOT / "tests" / "sql"
SCRIPTS = ("types", "sessions", "writes")
WAYS = {  # psql's options: statement by statement, one string, rows by cursor, implicit transactions.
    "plain": (),
    "cursor": ("-v", "FETCH_COUNT=7"),
    "no autocommit": ("-v", "AUTOCOMMIT=off", "-v", "ON_ERROR_ROLLBACK=on"),
}


def prepared(factory, name):
    server = factory.make(name)
    server.owner_url = server.plain_owner() if name != "target" else server.rds_owner()
    if name != "target":
        play(server.owner_url, "base")
    return server


@pytest.fixture(scope="module")
def direct(factory):
    server = prepared(factory, "direct")
    said = {}

    def transcript(script, way):
        if (script, way) not in said:
            said[script, way] = play(server.owner_url, script, WAYS[way])
        return said[script, way]
    yield transcript
    server.stop("immediate")


@pytest.fixture(scope="module", params=["passing through", "mirroring", "transaction pooling"])
def proxy(request, factory):
    source, target = prepared(factory, "source"), prepared(factory, "target")
    program = Pgjanus(factory.directory / request.param.replace(" ", "-"), source.owner_url, target.owner_url,
                      environment={"PGJANUS_POOL": "transaction" if "pooling" in request.param else "session"}).start()
    if request.param == "mirroring":
        program.do("prepare")
        program.do("load")
        program.wait_in_sync()
    yield program
    program.stop()
    source.stop("immediate")
    target.stop("immediate")


def play(url, script, options=()):
    """What psql says about a script, both streams in their order, without what two runs never share."""
    file = f"/tmp/pgjanus-sql-{os.getpid()}"
    text = (SQL / f"{script}.sql").read_text().replace("PGJANUS_SQL_FILE", file)
    try:
        done = subprocess.run(["psql", "-X", "-a", "-v", "VERBOSITY=verbose", *options, url], input=text.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"})
    finally:
        if os.path.exists(file):
            os.unlink(file)
    said = done.stdout.decode("utf-8", "backslashreplace")
    # A table that is made while pgjanus mirrors has its capture by the time \d is asked.
    said = re.sub(r"Triggers firing always:\n(    pgjanus_\w+ AFTER .* EXECUTE FUNCTION pgjanus\.capture_\w+\(\)\n)+", "", said)
    said = re.sub(r"PID \d+|pg_temp_\d+|(?<=\n)\w{3} \w{3} .* \d{4} (?=\(every)|\b(pg_toast_)\d+|port \d+|0x[0-9a-f]{12}|PGJANUS_SQL_FILE|"
                  + re.escape(file), "some", said)
    assert done.returncode == 0, said[-3000:]
    return said.splitlines()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_the_same_bytes(script, way, direct, proxy):
    expected = direct(script, way)
    found = play(proxy.url, script, WAYS[way])
    difference = "\n".join(difflib.unified_diff(expected, found, "direct", "through pgjanus", lineterm="", n=2))
    assert not difference, difference[:20000]
    assert len(expected) > 200, expected
