"""A driver's script prints the same lines directly and through pgjanus, in each pool mode.

The scripts are in tests/drivers; they print values, columns, SQLSTATEs and messages, nothing that
may differ between two runs. PGJANUS_TEST_POOLS (session,transaction) chooses the modes.
"""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Pgjanus
from harness.program import ROOT

POOLS = os.environ.get("PGJANUS_TEST_POOLS", "session").split(",")
DRIVERS = ROOT / "tests" / "drivers"
NODE = ROOT / "build" / "node"
JDBC = Path("/usr/share/java/postgresql.jar")
PYTHON_SCRIPTS = ("psycopg2_driver", "psycopg3_driver", "asyncpg_driver", "sqlalchemy_driver", "django_driver")
NODE_SCRIPTS = ("node_pg", "postgres_js", "drizzle", "sequelize", "knex")
SCRIPTS = {
    **{name: [sys.executable, str(DRIVERS / f"{name}.py")] for name in PYTHON_SCRIPTS},
    **{name: ["node", str(DRIVERS / f"{name}.js")] for name in NODE_SCRIPTS},
    "jdbc": ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", str(JDBC), str(DRIVERS / "Jdbc.java")],
    "psql": ["psql", "-X", "-a", "-f", "psql.sql", "-d"],  # The URL follows.
}


@pytest.fixture(scope="module")
def pair(factory):
    """Two servers, for the whole file."""
    source, target = factory.make("source"), factory.make("target")
    source.owner_url, target.owner_url = source.plain_owner(), target.rds_owner()
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


@pytest.fixture(scope="module", params=POOLS)
def proxy(request, pair, factory):
    """A proxy between them, nothing prepared, in this pool mode."""
    program = Pgjanus(factory.directory / f"matrix-{request.param}", pair[0].owner_url,
                      pair[1].owner_url, environment={"PGJANUS_POOL": request.param}).start()
    yield program
    program.stop()


@pytest.fixture(scope="module")
def direct(pair):
    """direct(name): what the script prints at the server itself; run once."""
    said = {}

    def play(name):
        if name not in said:
            said[name] = transcript(SCRIPTS[name], pair[0].owner_url)
        return said[name]
    return play


def run(command, url, limit=120, **options):
    """What a command prints on both streams, in their order; it must succeed."""
    environment = {**os.environ, "DATABASE_URL": url, "NODE_PATH": str(NODE / "node_modules"), "TZ": "UTC",
                   "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([str(part) for part in command], env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=limit, check=False, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout


def transcript(command, url):
    # The port is the proxy's or the server's, the PID another run's.
    if command[0] == "psql":
        command = [*command, url]
    return re.sub(r"port \d+|:\d+/|PID \d+", "a number", run(command, url, cwd=DRIVERS)).splitlines()


def same(expected, found):
    difference = "\n".join(difflib.unified_diff(expected, found, "direct", "through pgjanus", lineterm="", n=2))
    assert not difference, difference[:20000]


def require_packages(name):
    """What a script needs must be there: a test that is skipped shows nothing."""
    if name in NODE_SCRIPTS:
        assert (NODE / "installed.json").exists(), (
            "node's packages are missing: `deploy/setup --npm build/node tests/drivers` (tests/run calls it) "
            "gets them from the npm registry; is it reachable?")
    if name == "jdbc":
        assert JDBC.exists(), "libpostgresql-jdbc-java is missing: deploy/setup test installs it"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_driver_cannot_tell_the_difference(name, proxy, direct):
    require_packages(name)
    expected = direct(name)
    assert name == "psql" or expected[-1] == "well", expected[-5:]
    same(expected, transcript(SCRIPTS[name], proxy.url))


SHAPES = """
DROP SCHEMA IF EXISTS shapes CASCADE;
CREATE SCHEMA shapes;
SET search_path = shapes;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE SEQUENCE counted INCREMENT -2 MAXVALUE 100 CYCLE;
CREATE TABLE parents (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, m mood, pairs pair[], p positive);
CREATE TABLE children (id bigint PRIMARY KEY DEFAULT nextval('counted'), parent int REFERENCES parents, body jsonb,
                       raw bytea, f float8, at timestamptz, doubled int GENERATED ALWAYS AS (1 + 1) STORED);
CREATE TABLE parts (n int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE keyless (a text, b numeric[]);
CREATE INDEX ON children USING gin (body);
CREATE INDEX ON children (lower(body->>'a')) WHERE parent IS NOT NULL;
CREATE VIEW joined AS SELECT p.name, c.body FROM parents p JOIN children c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM children;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER noting AFTER INSERT ON parents FOR EACH ROW EXECUTE FUNCTION noted();
INSERT INTO parents (name, m, pairs, p) SELECT 'näme ' || n, 'ok', ARRAY[ROW(n, 'x')::pair], n FROM generate_series(1, 500) n;
INSERT INTO children (parent, body, raw, f, at) SELECT 1 + n % 500, jsonb_build_object('a', n, 'b', NULL), '\\x00ff', 0.1 * n,
    'epoch'::timestamptz + n * interval '1 hour' FROM generate_series(1, 20) n;
INSERT INTO parts SELECT n, '2024-02-29' FROM generate_series(1, 3000) n;
INSERT INTO keyless VALUES (NULL, '{1.50,NULL,NaN}'), (repeat('long ', 200000), '{}'), (E'tab\\there\\\\', NULL);
SELECT lo_from_bytea(0, decode(repeat('00ff', 40000), 'hex'));
"""


def dumped(url, *options):
    """pg_dump's text, without the random words that newer ones put around it."""
    text = run(["pg_dump", "--schema=shapes", *options, url], url)
    return [line for line in text.splitlines() if not re.match(r"\\(un)?restrict ", line)]


def test_pg_dump_and_pg_restore(proxy, pair, tmp_path):
    """All of pg_dump's formats, with several jobs too, and back again through the proxy."""
    direct_url, url = pair[0].owner_url, proxy.url
    script = tmp_path / "shapes.sql"
    script.write_text(SHAPES)
    run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, url], url)
    wanted = dumped(direct_url)
    same(wanted, dumped(url))
    same(dumped(direct_url, "--inserts", "--rows-per-insert=50", "--serializable-deferrable", "--blobs"),
         dumped(url, "--inserts", "--rows-per-insert=50", "--serializable-deferrable", "--blobs"))
    run(["pg_dump", "-Fc", "--schema=shapes", "-f", tmp_path / "custom", url], url)
    run(["pg_dump", "-Fd", "-j", "3", "--schema=shapes", "-f", tmp_path / "directory", url], url)
    for options, archive in ((("--clean", "--if-exists"), "custom"),
                             (("--clean", "--if-exists", "--single-transaction"), "custom"),
                             (("--clean", "--if-exists", "-j", "3"), "directory")):
        run(["pg_restore", *options, "--no-owner", "-d", url, tmp_path / archive], url)
        same(wanted, dumped(direct_url))
    run(["psql", "-X", "-q", "-c", "DROP SCHEMA shapes CASCADE", "-c", "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
         url], url)


PIPELINE = """
\\set aid random(1, 100000)
\\set delta random(-5000, 5000)
\\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, 'epoch');
COMMIT;
SELECT 1;
SELECT 2;
\\endpipeline
"""
RETRIES = """
\\set aid random(1, 3)
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
SELECT count(*) FROM pgbench_accounts WHERE aid < 9;
END;
"""


def test_pgbench_in_all_modes(proxy, pair, tmp_path):
    """The same seed leaves the same rows; several clients lose no transaction."""
    direct_url, url = pair[0].owner_url, proxy.url
    pipeline, retries = tmp_path / "pipeline", tmp_path / "retries"
    pipeline.write_text(PIPELINE)
    retries.write_text(RETRIES)
    work = [["-M", mode, *script] for mode in ("simple", "extended", "prepared")
            for script in ((), ("-S",), ("-N", "-C"), ("-f", pipeline)) if mode != "simple" or script != ("-f", pipeline)]
    sums = []
    for at in (direct_url, url):
        run(["pgbench", "-i", "-q", "-s", "1", at], at)
        for options in work:
            count = 20 if "-C" in options else 100
            said = run(["pgbench", "-n", "--random-seed=7", "-t", count, *options, at], at)
            assert f"actually processed: {count}/{count}" in said, said
        sums.append(pair[0].execute("SELECT md5(string_agg(abalance::text, ',' ORDER BY aid)), "
                                    "(SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts", database="app"))
    assert sums[0] == sums[1]
    for options in (*work, ["-f", retries, "--max-tries=1000"]):
        count = 10 if "-C" in options else 100
        said = run(["pgbench", "-n", "-c", "8", "-j", "2", "-t", count, *options, url], url)
        assert f"actually processed: {8 * count}/{8 * count}" in said, said
        assert "number of failed transactions: 0 " in said, said
    run(["psql", "-X", "-q", "-c", "DROP TABLE pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
         url], url)
