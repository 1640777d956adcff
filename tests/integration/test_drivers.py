"""psql, pgbench, libpq and drivers work through the proxy as they do directly; test_driver_matrix.py
compares what whole scripts of them print."""

import asyncio
import os
import subprocess
import threading
import time

import asyncpg
import psycopg
import psycopg2
import pytest

from harness import Pgjanus, wait_until


@pytest.fixture(scope="module")
def pair(factory):
    """Two servers, for the whole file."""
    source, target = factory.make("source"), factory.make("target")
    source.owner_url, target.owner_url = source.plain_owner(), target.rds_owner()
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


@pytest.fixture(scope="module")
def proxy(pair, factory):
    """A proxy between them, nothing prepared."""
    program = Pgjanus(factory.directory / "drivers", pair[0].owner_url, pair[1].owner_url).start()
    yield program
    program.stop()


@pytest.fixture(params=["direct", "proxy"])
def url(request, pair):
    """The same test against the server itself says what "as directly" means."""
    if request.param == "direct":
        return pair[0].owner_url
    return request.getfixturevalue("proxy").url


def run(command, url, **options):
    done = subprocess.run([*command], env={**os.environ, "DATABASE_URL": url}, text=True,
                          capture_output=True, timeout=120, check=False, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_psql(url, tmp_path):
    script = tmp_path / "script.sql"
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"{n}\tline {n}\n" for n in range(1000)))
    script.write_text(f"""
\\set ON_ERROR_STOP 1
DROP TABLE IF EXISTS psql_items;
CREATE TABLE psql_items (id int PRIMARY KEY, body text);
\\copy psql_items FROM '{rows}'
\\copy (SELECT * FROM psql_items ORDER BY id) TO '{tmp_path}/out.txt'
\\set ON_ERROR_STOP 0
SELECT 1/0;
BEGIN; SELECT 1/0; SELECT 1; ROLLBACK;
\\set ON_ERROR_STOP 1
SELECT 1 AS a \\; SELECT 2 AS b;
SELECT body AS row7 FROM psql_items WHERE id = 7 \\gset
\\echo :row7
\\d psql_items
\\set FETCH_COUNT 50
SELECT count(*) FROM (SELECT * FROM psql_items) t;
SELECT * FROM psql_items ORDER BY id;
""")
    said = run(["psql", "-X", "-A", "-f", str(script), url], url)
    assert "line 7" in said and "psql_items_pkey" in said
    assert (tmp_path / "out.txt").read_text() == rows.read_text()


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(url, mode):
    run(["pgbench", "-i", "-q", "-s", "1", url], url)
    said = run(["pgbench", "-n", "-M", mode, "-c", "4", "-j", "2", "-t", "100", url], url)
    assert "number of transactions actually processed: 400/400" in said
    assert "number of failed transactions: 0" in said
    run(["pgbench", "-n", "-M", mode, "-S", "-C", "-c", "2", "-t", "20", url], url)


def test_libpq_pipelines(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE t (id int PRIMARY KEY)")
        with connection.pipeline():
            cursors = [connection.execute("INSERT INTO t VALUES (%s) RETURNING id", (n,))
                       for n in range(2000)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(2000))
        # An error in a pipeline aborts up to the sync; after it all is well.
        with pytest.raises(psycopg.errors.UniqueViolation):
            with connection.pipeline():
                connection.execute("INSERT INTO t VALUES (3000)")
                connection.execute("INSERT INTO t VALUES (1)")
                connection.execute("INSERT INTO t VALUES (3001)")
        assert connection.execute("SELECT count(*) FROM t WHERE id >= 3000").fetchone()[0] in (0, 1)


def test_copy_in_both_directions_and_failing(url):
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        connection.execute("CREATE TEMP TABLE t (id int PRIMARY KEY, body text)")
        with cursor.copy("COPY t FROM STDIN") as copy:
            for number in range(100_000):
                copy.write_row((number, "x" * 50))
        with cursor.copy("COPY t TO STDOUT (FORMAT binary)") as copy:
            assert sum(len(block) for block in copy) > 6_000_000
        with pytest.raises(psycopg.errors.UniqueViolation):
            with cursor.copy("COPY t FROM STDIN") as copy:
                copy.write_row((1, "again"))
        with pytest.raises(psycopg.errors.QueryCanceled):
            with cursor.copy("COPY t FROM STDIN") as copy:
                copy.write_row((-1, "given up"))
                raise psycopg.errors.QueryCanceled("given up")
        assert cursor.execute("SELECT count(*) FROM t").fetchone() == (100_000,)


def test_cancel(url):
    with psycopg.connect(url, autocommit=True) as connection:
        def cancel():
            with psycopg.connect(url, autocommit=True) as other:
                wait_until(lambda: other.execute(
                    "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(59)' AND "
                    "state = 'active'").fetchall(), 20, "the query to run")
            connection.cancel()
        thread = threading.Thread(target=cancel)
        thread.start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(59)")
        assert time.monotonic() - began < 50  # It was cancelled; it did not run out.
        thread.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg2(url):
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (id serial, body text)")
        cursor.executemany("INSERT INTO t (body) VALUES (%s)", [(str(n),) for n in range(50)])
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (50,)
    with connection, connection.cursor("named") as cursor:
        cursor.execute("SELECT generate_series(1, 5000)")
        assert sum(row[0] for row in cursor) == 12502500
    connection.close()


def test_asyncpg(url):
    async def body():
        pool = await asyncpg.create_pool(url, min_size=2, max_size=5)
        async with pool.acquire() as connection:
            await connection.execute("CREATE TEMP TABLE t (id int, tags text[], at timestamptz)")
            async with connection.transaction():
                await connection.executemany("INSERT INTO t VALUES ($1, $2, now())",
                                             [(n, ["a", None]) for n in range(200)])
            rows = await connection.fetch("SELECT * FROM t WHERE id < $1 ORDER BY id", 5)
            assert [row["tags"] for row in rows] == [["a", None]] * 5
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("SELECT 1/$1::int", 0)
            assert await connection.fetchval("SELECT count(*) FROM t") == 200
        await asyncio.gather(*[pool.fetchval("SELECT $1::int", n) for n in range(50)])
        await pool.close()
    asyncio.run(body())


def test_parameters_and_notices_arrive(url):
    heard = []
    with psycopg.connect(url, autocommit=True, application_name="named",
                         options="-c statement_timeout=45s -c search_path=pg_catalog") as connection:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        assert heard == ["hello"]
        assert connection.execute("SHOW statement_timeout").fetchone() == ("45s",)
        assert connection.execute("SHOW application_name").fetchone() == ("named",)
        assert connection.info.parameter_status("server_version").startswith("15")
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        assert connection.info.parameter_status("TimeZone") == "Asia/Tokyo"


def test_a_flip_moves_sessions_with_parameters_and_prepared_statements(pair, factory):
    source, target = factory.make("flip-source"), factory.make("flip-target")
    owner, other = source.plain_owner(), target.rds_owner()
    source.script("CREATE TABLE notes (id serial PRIMARY KEY, body text)", "app", "app")
    program = Pgjanus(factory.directory / "flip", owner, other).start()
    try:
        for verb in ("prepare", "load", "verify"):
            program.do(verb)
        with program.connect(application_name="mover", prepare_threshold=0) as client:
            client.execute("SET statement_timeout = '44s'")
            client.execute("SET search_path = public, pg_catalog")
            for number in range(3):
                client.execute("INSERT INTO notes (body) VALUES (%s)", (str(number),))
            for verb, port in (("cutover", target.port), ("rollback", source.port),
                               ("cutover", target.port)):
                program.do(verb)
                assert client.execute("SELECT inet_server_port()").fetchone() == (port,)
                assert client.execute("SHOW statement_timeout").fetchone() == ("44s",)
                assert client.execute("SHOW application_name").fetchone() == ("mover",)
                client.execute("INSERT INTO notes (body) VALUES (%s)", (verb,))
            assert client.execute("SELECT count(*) FROM notes").fetchone() == (6,)
    finally:
        program.stop()
        source.stop("immediate")
        target.stop("immediate")


@pytest.mark.parametrize("auth", ["scram-sha-256", "md5", "password", "trust"])
def test_every_way_to_log_in_at_a_server(cluster, target, programs, auth):
    server = cluster(f"auth-{auth}", auth=auth)
    program = programs(server.plain_owner(), target.owner_url).start()
    with program.connect() as client:
        assert client.execute("SELECT current_user").fetchone() == ("app",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(program.url.replace("app-secret", "wrong"), connect_timeout=10)


@pytest.mark.parametrize("mode,good", [("disable", True), ("prefer", True), ("require", True),
                                       ("verify-ca", True), ("verify-full", True),
                                       ("verify-ca", False), ("verify-full", False)])
def test_tls_towards_servers(cluster, factory, target, programs, mode, good):
    server = cluster("tls", tls=True)
    server.plain_owner()
    files = factory.tls()
    parameters = {"sslmode": mode}
    if mode.startswith("verify"):
        parameters["sslrootcert"] = files.ca if good else files.other_ca
    program = programs(server.url("app", "app-secret", "app", **parameters), target.owner_url)
    if not good:
        program.start(ready=False)
        wait_until(lambda: "certificate" in program.log(), 30, "the log to say what is wrong")
        assert not program.running() or program.http("/readyz")[0] == 503
        return
    program.start()
    with program.connect() as client:
        (used,) = client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert used == (mode != "disable")


def test_tls_towards_clients(source, target, factory, programs):
    files = factory.tls()
    program = programs(source.owner_url, target.owner_url,
                       environment={"PGJANUS_CERTIFICATE": str(files.certificate),
                                    "PGJANUS_KEY": str(files.key)}).start()
    for host in ("127.0.0.1", "localhost"):
        url = program.url.replace("127.0.0.1", host)
        with psycopg.connect(url, sslmode="verify-full", sslrootcert=str(files.ca),
                             channel_binding="require") as client:
            assert client.pgconn.ssl_in_use
            assert client.execute("SELECT 1").fetchone() == (1,)
    with psycopg.connect(program.url, sslmode="disable") as client:
        assert not client.pgconn.ssl_in_use
