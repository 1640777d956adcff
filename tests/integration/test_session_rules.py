"""Sessions without an engine: reads aside, tickets, start-up, authentication, TLS, lost servers."""

import os
import select
import socket
import struct
import subprocess

import psycopg
import pytest

from harness import wait_until
from relay_program import Later, Relay, prepare, side


@pytest.fixture(scope="module")
def pair(factory):
    servers = [factory.make(name) for name in ("source", "target")]
    for server in servers:
        prepare(server)
    yield servers
    for server in servers:
        server.stop("immediate")


@pytest.fixture
def relay(pair, tmp_path):
    made = Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / "relay.log")
    yield made
    made.stop()


# Reads.

@pytest.fixture
def reading(relay):
    for command in ("plain side", "plain t", "sync on", "mirroring on", "reads mirror"):
        relay.tell(command)
    return relay


def test_reads_go_aside_and_the_rest_does_not(reading):
    with reading.connect() as client:
        assert side(client) == "target"
        assert client.execute("SELECT name FROM side WHERE name <> %s", ("x",)).fetchone()[0] == "target"
        assert client.execute("SELECT name FROM side FOR UPDATE").fetchone()[0] == "source"
        client.execute("SET application_name = 'seen'")
        with client.transaction():
            assert side(client) == "source"
        assert client.execute("SHOW application_name").fetchone()[0] == "seen"
        wait_until(lambda: side(client) == "target", what="the ticket of SET to be covered")
        reading.tell("reads primary")
        assert side(client) == "source"
        reading.tell("reads target")
        assert side(client) == "target"
        reading.tell("sync off")
        assert side(client) == "source"


def test_a_session_reads_its_own_writes(reading):
    reading.tell("cover off")
    with reading.connect() as client:
        assert side(client) == "target"
        client.execute("INSERT INTO t VALUES (100, 'x') ON CONFLICT DO NOTHING")
        assert side(client) == "source"
        reading.tell("cover auto")
        wait_until(lambda: side(client) == "target", what="the write to be covered")


def test_prepared_statements_and_settings_follow_aside(reading):
    with reading.connect() as client:
        client.prepare_threshold = 0
        for _ in range(3):
            assert client.execute("SELECT name || %s::text FROM side", ("!",)).fetchone()[0] == "target!"
        client.execute("SET search_path = pg_catalog")
        with pytest.raises(psycopg.errors.UndefinedTable):
            client.execute("SELECT name FROM side")
        client.execute("RESET search_path")
        wait_until(lambda: side(client) == "target", what="the ticket of RESET to be covered")


def test_an_error_aside_is_answered_by_the_primary(pair, reading):
    pair[1].script("ALTER TABLE side RENAME TO elsewhere", "app")
    try:
        with reading.connect() as client:
            assert side(client) == "source"
            assert side(client) == "source"
            with client.pipeline():
                answers = [client.execute("SELECT name FROM side") for _ in range(5)]
            assert [answer.fetchone()[0] for answer in answers] == ["source"] * 5
    finally:
        pair[1].script("ALTER TABLE elsewhere RENAME TO side", "app")


def test_the_other_side_gone_is_no_error(pair, reading):
    with reading.connect() as client:
        assert side(client) == "target"
        pair[1].stop("immediate")
        try:
            assert side(client) == "source"
            with reading.connect() as another:
                assert side(another) == "source"
        finally:
            pair[1].start()


# Tickets.

@pytest.fixture
def waiting(relay):
    for command in ("mirroring on", "wait on", "cover off", "plain t", "patience 60000"):
        relay.tell(command)
    return relay


@pytest.mark.parametrize("statement", [
    "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING", "SELECT setval('s', 1)", "DO 'BEGIN END'"])
def test_a_commit_waits_for_its_ticket(waiting, statement):
    with waiting.connect() as client:
        client.execute("SELECT 1 FROM t")
        assert waiting.number("tickets") == 0
        write = Later(lambda: client.execute(statement))
        wait_until(lambda: waiting.number("tickets") == 1, what="the ticket")
        assert write.running() and "waiting_for_mirror" in waiting.tell("clients")
        assert waiting.tell("quiesce 50").startswith("1 ")
        waiting.tell("cover all")
        write.value()


def test_only_what_may_have_committed_draws(waiting):
    with waiting.connect() as client:
        client.execute("SELECT * FROM t")
        client.execute("BEGIN")
        client.execute("INSERT INTO t VALUES (3, 'x')")
        client.execute("ROLLBACK")
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("INSERT INTO t VALUES (4, 'x'), (4, 'x')")
        assert waiting.number("tickets") == 0
        waiting.tell("wait off")
        client.execute("BEGIN; INSERT INTO t VALUES (5, 'x'); COMMIT AND CHAIN")
        assert waiting.number("tickets") == 1
        client.execute("ROLLBACK")


def test_a_wait_has_a_limit_and_is_counted(waiting):
    waiting.tell("patience 200")
    with waiting.connect() as client:
        client.execute("INSERT INTO t VALUES (6, 'x') ON CONFLICT DO NOTHING")
        assert waiting.number("unacknowledged") == 1


def test_cancel_during_the_wait_is_success(waiting):
    with waiting.connect() as client:
        write = Later(lambda: client.execute("INSERT INTO t VALUES (7, 'x') ON CONFLICT DO NOTHING"))
        wait_until(lambda: waiting.number("tickets") == 1, what="the ticket")
        client.cancel()
        write.value()
        assert waiting.number("unacknowledged") == 0


def test_giving_up_on_the_mirror_releases_everybody(waiting):
    with waiting.connect() as client:
        write = Later(lambda: client.execute("INSERT INTO t VALUES (8, 'x') ON CONFLICT DO NOTHING"))
        wait_until(lambda: waiting.number("tickets") == 1, what="the ticket")
        waiting.tell("wait off")
        write.value()


# Start-up.

def startup(relay, packet, answer=4096):
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as raw:
        raw.sendall(packet)
        return raw.recv(answer)


def packet(code, **parameters):
    body = struct.pack("!i", code)
    if parameters:
        body += b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def test_who_speaks_no_postgres_is_told_so_once(relay):
    assert b"invalid length of startup packet" in startup(relay, b"GET / HTTP/1.1\r\n\r\n")
    wait_until(lambda: relay.log().count("client_spoke_no_postgres") == 1, what="the log to say so")
    before = relay.log().count("level=warn")
    socket.create_connection(("127.0.0.1", relay.port)).close()  # A health check.
    wait_until(lambda: relay.number("clients") == 0, what="the probe to be gone")
    assert relay.log().count("level=warn") == before


def test_start_up_packets(relay):
    assert startup(relay, packet(80877103)) == b"N"
    assert startup(relay, packet(80877104) + packet(80877103), 2) in (b"N", b"NN")
    assert b"0A000" in startup(relay, packet(2 << 16, user="app"))
    assert b"28000" in startup(relay, packet(3 << 16, database="app"))
    assert b"0A000" in startup(relay, packet(3 << 16, user="app", replication="database"))
    asked = startup(relay, packet((3 << 16) + 9999, **{"user": "app", "_pq_.new": "1"}))
    assert asked.startswith(b"v") and b"_pq_.new" in asked and asked.count(b"_pq_.new") == 1
    # One byte at a time.
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as raw:
        for byte in packet(3 << 16, user="app", database="app"):
            raw.sendall(bytes([byte]))
        assert raw.recv(100).startswith(b"R")


def test_wrong_logins(relay):
    for url, state in ((relay.url("wrong"), "28P01"), (relay.url().replace("app:", "nobody:"), "28P01"),
                       (relay.url().replace("/app?", "/pgjanus?"), "3D000"),
                       (relay.url(application_name="x", options="-c%20nothing%3D1"), "42704")):
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(url)
        message = str(error.value)
        wanted = {"28P01": "password authentication failed", "3D000": "does not exist",
                  "42704": "unrecognized configuration parameter"}[state]
        assert wanted in message and "app-secret" not in message


def test_start_up_parameters_reach_the_server(relay):
    url = relay.url(application_name="shop",
                    options="-c%20work_mem%3D9MB%20-c%20search_path%3Dpg_catalog")
    with psycopg.connect(url) as client:
        assert client.execute("SHOW work_mem").fetchone()[0] == "9MB"
        assert client.execute("SHOW application_name").fetchone()[0] == "shop"
        assert client.info.parameter_status("application_name") == "shop"


def test_no_primary_is_57p03_after_five_seconds(relay):
    relay.tell("primary nobody")
    with pytest.raises(psycopg.OperationalError) as error:
        relay.connect()
    assert "does not know yet which database is the primary" in str(error.value)


def test_drain_ends_sessions_at_their_boundary(relay):
    with relay.connect() as idle, relay.connect() as working:
        working.execute("BEGIN")
        drained = Later(lambda: relay.tell("drain 20000"))

        # libpq takes what comes between two queries for a notice: look first, then ask.
        assert select.select([idle.fileno()], [], [], 20)[0]
        with pytest.raises(psycopg.OperationalError) as error:
            idle.execute("SELECT 1")
        assert "shutting down" in str(error.value)
        working.execute("SELECT 1")
        working.execute("COMMIT")
        drained.value()


# Servers.

def cancel(client, query):
    """A server ignores a cancel that overtakes its query: ask until it is heard."""
    def heard():
        client.cancel()
        return not query.running()
    wait_until(heard, what="the query to be cancelled")


def test_cancel_reaches_the_server(relay):
    with relay.connect() as client:
        query = Later(lambda: client.execute("SELECT pg_sleep(60)"))
        cancel(client, query)
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.value()
        assert side(client) == "source"


def test_a_client_that_leaves_takes_its_query_along(pair, relay):
    client = relay.connect()
    client.pgconn.send_query(b"SELECT pg_sleep(60)")
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    wait_until(lambda: pair[0].execute(running + " AND state = 'active'")[0][0] == 1, what="the query")
    with socket.socket(fileno=os.dup(client.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)  # Without Terminate, behind which a query would run on.
    client.close()
    wait_until(lambda: pair[0].execute(running)[0][0] == 0, what="the server process to be gone")
    wait_until(lambda: relay.number("clients") == 0, what="the session to be gone")


def test_a_terminated_backend_says_so_once(pair, relay):
    with relay.connect() as client:
        pid = client.execute("SELECT pg_backend_pid()").fetchone()[0]
        pair[0].execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(psycopg.OperationalError) as error:
            client.execute("SELECT 1")
        assert "terminating connection due to administrator command" in str(error.value)
        assert "was lost" not in str(error.value)


@pytest.mark.parametrize("auth", ["scram-sha-256", "md5", "password", "trust"])
def test_methods_of_servers(factory, tmp_path, auth):
    server = factory.make(auth[:5], auth=auth, tls=auth == "md5")
    prepare(server)
    relay = Relay(server.owner_url + "?sslmode=prefer", server.owner_url, tmp_path / "relay.log")
    with relay.connect() as client:
        assert client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0] \
            == (auth == "md5")
    relay.stop()
    server.stop("immediate")


def test_tls_on_both_legs(factory, tmp_path):
    files = factory.tls()
    server = factory.make("tls", tls=True)
    prepare(server)
    host = server.owner_url.replace("127.0.0.1", "localhost")
    relay = Relay(f"{host}?sslmode=verify-full&sslrootcert={files.ca}", server.owner_url,
                  tmp_path / "relay.log", f"certificate={files.certificate}", f"key={files.key}")
    for binding in ("require", "disable"):
        url = relay.url(sslmode="verify-full", sslrootcert=files.ca, channel_binding=binding)
        with psycopg.connect(url, autocommit=True) as client:
            assert client.pgconn.ssl_in_use
            assert client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0]
            assert len(client.execute("SELECT repeat('x', 3000000)").fetchone()[0]) == 3000000
            query = Later(lambda: client.execute("SELECT pg_sleep(60)"))
            cancel(client, query)
            with pytest.raises(psycopg.errors.QueryCanceled):
                query.value()
    relay.stop()
    for options, said in ((f"verify-full&sslrootcert={files.other_ca}", "certificate verify failed"),
                          ("verify-full&sslrootcert=/nowhere", "root certificate")):
        relay = Relay(f"{host}?sslmode={options}", server.owner_url, tmp_path / "refused.log")
        with pytest.raises(psycopg.OperationalError) as error:
            relay.connect()
        assert said in str(error.value)
        relay.stop()
    server.stop("immediate")


def test_node_and_psql(relay, tmp_path):
    done = subprocess.run(["psql", "-X", relay.url(), "-c", "\\copy side to stdout", "-c",
                           "SELECT 1/0", "-c", "SELECT name FROM side"], text=True,
                          capture_output=True, timeout=30, check=False, env={**os.environ})
    assert "source" in done.stdout and "division by zero" in done.stderr


# The fence.

@pytest.fixture
def fenced(pair, relay):
    """The source refuses writes as after a flip that this proxy has slept through."""
    for server in pair:
        server.script("CREATE TABLE f (v text); GRANT ALL ON f TO app;"
                      "CREATE FUNCTION fence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE "
                      "'this database is now the mirror' USING ERRCODE = '25006'; END $$", "app")
    pair[0].script("CREATE TRIGGER fence BEFORE INSERT ON f EXECUTE FUNCTION fence()", "app")
    relay.tell("mirroring on")
    yield relay
    for server in pair:
        server.script("DROP TABLE f; DROP FUNCTION fence()", "app")


@pytest.mark.parametrize("parameters", [None, ("x",)], ids=["simple", "extended"])
def test_a_lone_statement_that_met_the_fence_runs_on_the_new_primary(fenced, parameters):
    with fenced.connect() as client:
        client.execute("SET work_mem = '5MB'")
        value = "'x'" if parameters is None else "%s"
        write = Later(lambda: client.execute(f"INSERT INTO f VALUES ({value}) RETURNING v", parameters))
        wait_until(lambda: fenced.tell("quiesce 1000") == "0" and "active" not in fenced.tell("clients"),
                   what="the write to meet the fence")
        assert write.running()
        fenced.tell("primary target")
        assert write.value().fetchone()[0] == "x"
        assert side(client) == "target"
        assert client.execute("SHOW work_mem").fetchone()[0] == "5MB"


def test_a_transaction_that_met_the_fence_is_to_begin_again(fenced):
    with fenced.connect() as client:
        client.execute("BEGIN")
        fenced.tell("primary target")
        with pytest.raises(psycopg.errors.SerializationFailure):
            client.execute("INSERT INTO f VALUES ('x')")
        client.execute("ROLLBACK")
        assert side(client) == "target"
