"""Transaction pooling: clients take turns on servers, and none of them can tell."""

import os
import signal
import socket

import psycopg
import pytest

from harness import wait_until
from relay_program import Later, Relay


@pytest.fixture
def pooling(pair, tmp_path):
    """pooling(*options): sessions of one thread, so that `size` servers are all there are."""
    made = []

    def make(*options):
        made.append(Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / f"relay{len(made)}.log",
                          "pool=transaction", "threads=1", *options))
        return made[-1]
    yield make
    for relay in made:
        relay.stop()


def pid(client):
    return client.execute("SELECT pg_backend_pid()").fetchone()[0]


def value(client, sql, parameters=None):
    return client.execute(sql, parameters).fetchone()[0]


def pins(relay):
    """Why each client keeps its server, once it is known."""
    wait_until(lambda: relay.tell("quiesce 1000") == "0", what="nothing to be under way")
    return ["" if pin == "-" else pin for pin in relay.tell("pins").split(",")]


# Servers.

def test_many_clients_share_few_servers(pooling):
    relay = pooling("size=3")
    seen, clients = set(), [relay.connect() for _ in range(30)]

    def work(client, number):
        for turn in range(10):
            with client.transaction():
                seen.add(pid(client))
                assert value(client, "SELECT %s::int + %s", (number, turn)) == number + turn
    works = [Later(lambda c=client, n=number: work(c, n)) for number, client in enumerate(clients)]
    for one in works:
        one.value()
    assert 1 <= len(seen) <= 3
    assert set(map(int, relay.tell("servers").split())) == seen
    for client in clients:
        client.close()
    assert set(map(int, relay.tell("servers").split())) == seen, "servers outlive their clients"


def test_a_client_that_waits_is_served_in_its_turn(pooling):
    relay = pooling("size=1")
    with relay.connect() as holder:
        holder.execute("BEGIN")
        clients = [relay.connect() for _ in range(5)]

        def work(number):
            return value(clients[number], "SELECT nextval('s')")
        works = []
        for number in range(5):
            works.append(Later(lambda n=number: work(n)))
            wait_until(lambda n=number: relay.tell("clients").count("waiting_for_server") == n + 1,
                       what="the client to wait")
        holder.execute("COMMIT")
        order = [one.value() for one in works]
        assert order == sorted(order)


def test_waiting_has_a_limit_and_the_connection_stands(pooling):
    relay = pooling("size=1", "pool_wait=200")
    with relay.connect() as holder, relay.connect() as client:
        holder.execute("BEGIN")
        for pipeline in (False, True):
            with pytest.raises(psycopg.errors.TooManyConnections) as error:
                if pipeline:
                    client.execute("SELECT %s", ("extended",))
                else:
                    client.execute("SELECT 1")
            assert "no server connection became free in time" in str(error.value)
            assert error.value.diag.severity == "ERROR"
            assert "1 servers" in error.value.diag.message_detail
        holder.execute("COMMIT")
        assert value(client, "SELECT 1") == 1


def test_a_cancelled_wait_never_reaches_a_server(pooling):
    relay = pooling("size=1")
    with relay.connect() as holder, relay.connect() as client:
        holder.execute("BEGIN")
        waiting = Later(lambda: client.execute("INSERT INTO t VALUES (77, 'cancelled')"))
        wait_until(lambda: "waiting_for_server" in relay.tell("clients"), what="the client to wait")
        client.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            waiting.value()
        holder.execute("COMMIT")
        assert value(client, "SELECT count(*) FROM t WHERE id = 77") == 0


def test_a_write_followed_by_terminate_waits_and_runs(pooling):
    relay = pooling("size=1")
    with relay.connect() as holder, relay.connect() as other:
        other.execute("DELETE FROM t")
        holder.execute("BEGIN")
        leaving = relay.connect()
        leaving.pgconn.send_query(b"INSERT INTO t VALUES (78, 'last words')")
        wait_until(lambda: "waiting_for_server" in relay.tell("clients"), what="the client to wait")
        leaving.close()
        holder.execute("COMMIT")
        wait_until(lambda: value(other, "SELECT count(*) FROM t WHERE id = 78") == 1, what="the row")
        other.execute("DELETE FROM t")


@pytest.mark.parametrize("then", [b"", b"SELECT 2", b"SELECT '" + b"x" * 300_000 + b"'"],
                         ids=["alone", "more", "more than a buffer"])
@pytest.mark.parametrize("ends", [False, True], ids=["stays", "half-closes"])
def test_what_a_client_sends_while_it_waits(pooling, then, ends):
    relay = pooling("size=1")
    with relay.connect() as holder, relay.connect() as client:
        holder.execute("BEGIN")
        wire = socket.socket(fileno=os.dup(client.fileno()))
        wire.setblocking(True)
        wire.settimeout(20)
        queries = [text for text in (b"SELECT 1", then) if text]

        def send(text):
            wire.sendall(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")
        send(queries[0])
        wait_until(lambda: "waiting_for_server" in relay.tell("clients"), what="the client to wait")
        rest = Later(lambda: [send(text) for text in queries[1:]])
        if ends:
            rest.value()
            wire.shutdown(socket.SHUT_WR)
        holder.execute("COMMIT")
        got = b""
        while got.count(b"Z\0\0\0\5I") < len(queries):
            more = wire.recv(65536)
            assert more, got[:200]
            got += more
        rest.value()
        assert got.count(b"SELECT 1\0") == len(queries) and b"E\0\0" not in got
        wire.close()


def test_cancel_hits_only_what_its_own_client_runs(pooling):
    relay = pooling("size=1")
    with relay.connect() as idle, relay.connect() as working:
        assert pid(idle) == pid(working)
        running = Later(lambda: working.execute("SELECT pg_sleep(60)"))
        wait_until(lambda: "active" in relay.tell("clients").split(), what="the statement to run")
        idle.cancel()
        assert running.running() and "active" in relay.tell("clients").split()
        working.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            running.value()
        assert pid(idle) == pid(working)


def test_servers_end_by_age_and_by_idleness(pooling, pair):
    relay = pooling("size=2", "pool_idle=100")
    with relay.connect() as client:
        first = pid(client)
        wait_until(lambda: not relay.tell("servers"), what="the idle server to end")
        assert pid(client) != first
    relay = pooling("size=2", "pool_lifetime=1")
    with relay.connect() as client:
        assert len({pid(client) for _ in range(5)}) > 1
        client.execute("BEGIN")
        own = pid(client)
        wait_until(lambda: value(client, "SELECT clock_timestamp() - backend_start > '1.5 seconds'"
                                 " FROM pg_stat_activity WHERE pid = pg_backend_pid()"), what="its age")
        assert pid(client) == own, "a transaction keeps its server"
        client.execute("COMMIT")


def test_a_server_that_ends_in_the_pool_is_nobodys_loss(pooling, pair):
    relay = pooling("size=2")
    with relay.connect() as client, relay.connect() as other:
        first = pid(client)
        pins(relay)  # What the statement made of the session is known, and the server in the pool.
        pair[0].execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
        assert pid(client) != first
        # One that is in use takes its client along, who hears why.
        client.execute("BEGIN")
        pair[0].execute("SELECT pg_terminate_backend(%s, 5000)", (pid(client),))
        with pytest.raises(psycopg.OperationalError, match="due to administrator command"):
            client.execute("SELECT 1")
        assert value(other, "SELECT 1") == 1


def test_a_server_that_ended_unnoticed_is_not_used(pooling, pair):
    relay = pooling("size=2")
    with relay.connect() as client:
        first = pid(client)
        pins(relay)
        relay.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, relay.process.pid, os.WSTOPPED)
        try:
            # The query is there before the server's end is: in this order they would be looked at.
            client.pgconn.send_query(b"SELECT pg_backend_pid()")
            client.pgconn.flush()
            pair[0].execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
        finally:
            relay.process.send_signal(signal.SIGCONT)
        answer = client.pgconn.get_result()
        assert client.pgconn.get_result() is None
        assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
        assert int(answer.get_value(0, 0)) != first


def test_the_server_restarts_under_its_pool(pooling, pair):
    relay = pooling("size=2")
    with relay.connect() as client, relay.connect() as other:
        client.execute("SET work_mem = '7MB'")
        pid(other)
        pair[0].restart()
        assert value(client, "SHOW work_mem") == "7MB"
        assert value(other, "SHOW work_mem") == "4MB"


def test_what_the_server_refuses_is_refused_at_login(pooling):
    relay = pooling("size=2")
    with relay.connect():
        with pytest.raises(psycopg.OperationalError, match="no_such_setting"):
            relay.connect(options="-c no_such_setting=1")
    with relay.connect(options="-c work_mem=9MB") as client, relay.connect() as other:
        assert value(client, "SHOW work_mem") == "9MB"
        assert value(other, "SHOW work_mem") == "4MB"


# What a session is.

def test_settings_stay_with_their_session(pooling):
    relay = pooling("size=1")
    with relay.connect(application_name="mine") as client, relay.connect() as other:
        client.execute("SET work_mem = '9MB'")
        client.execute("SET TimeZone = 'Asia/Tokyo'")
        client.execute("SELECT set_config('app.tenant', 'a', false)")
        client.execute("SET search_path = pg_catalog, public")
        client.execute("SET ROLE other")
        assert other.info.parameter_status("TimeZone") != "Asia/Tokyo"
        for name, default in (("work_mem", "4MB"), ("search_path", '"$user", public'), ("role", "none"),
                              ("application_name", "")):
            assert value(other, f"SELECT current_setting('{name}')") == default
        assert value(other, "SELECT current_setting('app.tenant', true)") in (None, "")
        assert value(other, "SELECT current_setting('TimeZone')") != "Asia/Tokyo"
        for name, own in (("work_mem", "9MB"), ("search_path", "pg_catalog, public"), ("role", "other"),
                          ("application_name", "mine"), ("app.tenant", "a"), ("TimeZone", "Asia/Tokyo")):
            assert value(client, f"SELECT current_setting('{name}')") == own
        assert client.info.parameter_status("TimeZone") == "Asia/Tokyo"
        assert value(other, "SELECT current_user::text") == "app"
        # And back.
        client.execute("DISCARD ALL")
        assert value(other, "SHOW work_mem") == "4MB"
        for name, default in (("work_mem", "4MB"), ("role", "none"), ("application_name", "mine")):
            assert value(client, f"SELECT current_setting('{name}')") == default
        assert client.info.parameter_status("TimeZone") == other.info.parameter_status("TimeZone")
        assert client.info.parameter_status("application_name") == "mine"


def test_set_that_ends_with_its_transaction(pooling):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        client.execute("SET work_mem = '5MB'")
        client.execute("BEGIN; SET LOCAL work_mem = '6MB'; SET LOCAL TimeZone = 'Asia/Tokyo'")
        assert value(client, "SHOW work_mem") == "6MB"
        client.execute("COMMIT")
        client.execute("BEGIN; SET work_mem = '7MB'; SET TimeZone = 'Asia/Tokyo'")
        client.execute("ROLLBACK")
        client.execute("BEGIN; SET enable_seqscan = off; SAVEPOINT a; SET work_mem = '8MB'; ROLLBACK TO a; COMMIT")
        assert value(other, "SELECT current_setting('work_mem') || current_setting('enable_seqscan')") == "4MBon"
        assert value(client, "SELECT current_setting('work_mem') || current_setting('enable_seqscan')") == "5MBoff"
        for one in (client, other):
            assert one.info.parameter_status("TimeZone") != "Asia/Tokyo"
            assert value(one, "SHOW TimeZone") != "Asia/Tokyo"


def test_settings_that_a_function_makes_are_kept_too(pooling):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        client.execute("CREATE OR REPLACE FUNCTION set_it() RETURNS void LANGUAGE plpgsql AS"
                       " $$ BEGIN SET work_mem = '11MB'; END $$")
        client.execute("SELECT set_it()")
        assert value(other, "SHOW work_mem") == "4MB"
        assert value(client, "SHOW work_mem") == "11MB"
        client.execute("DROP FUNCTION set_it")


PINS = {
    "temporary table": ("CREATE TEMP TABLE mine (a int)", "DROP TABLE mine"),
    "WITH HOLD cursor": ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"),
    "session advisory lock": ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"),
    "SQL PREPARE": ("PREPARE p AS SELECT 1", "DEALLOCATE p"),
    "LISTEN": ("LISTEN news", "UNLISTEN news"),
}


@pytest.mark.parametrize("reason", PINS)
def test_what_pins_is_named_and_ends(pooling, reason):
    relay = pooling("size=2")
    with relay.connect() as client, relay.connect() as other:
        client.execute(PINS[reason][0])
        assert pins(relay) == [reason, ""]
        kept = pid(client)
        assert pid(other) != kept
        client.execute(PINS[reason][1])
        assert pins(relay) == ["", ""]
        assert relay.tell("pinned 5000") == "0"


def test_notifications_reach_the_listener(pooling):
    relay = pooling("size=2")
    with relay.connect() as client, relay.connect() as other:
        client.execute("LISTEN news")
        other.execute("NOTIFY news, 'yes'")
        assert next(client.notifies()).payload == "yes"
        other.execute("LISTEN no_news; UNLISTEN no_news")
        client.execute("UNLISTEN *")
        pid(client)
        other.execute("NOTIFY news, 'again'")
        assert pins(relay) == ["", ""]


def test_copies_and_portals_keep_their_server(pooling):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        client.execute("DELETE FROM t")
        with client.cursor().copy("COPY t FROM STDIN") as copy:
            waiting = Later(lambda: value(other, "SELECT count(*) FROM t"))
            wait_until(lambda: "waiting_for_server" in relay.tell("clients"), what="the other to wait")
            copy.write("1\tone\n")
        assert waiting.value() == 1
        with client.transaction(), client.cursor(name="some") as cursor:
            cursor.execute("SELECT generate_series(1, 10)")
            assert len(cursor.fetchmany(3)) == 3
            waiting = Later(lambda: pid(other))
            assert len(cursor.fetchall()) == 7
        waiting.value()
        client.execute("DELETE FROM t")


def test_what_a_client_leaves_behind_is_gone(pooling):
    relay = pooling("size=1")
    for leave in [one[0] for one in PINS.values()] + ["SET work_mem = '9MB'", "SET ROLE other",
                                                      "SELECT set_config('app.tenant', 'a', false)"]:
        with relay.connect() as client:
            client.execute(leave)
        with relay.connect() as client:
            assert value(client, "SHOW work_mem") == "4MB"
            assert value(client, "SHOW role") == "none"
            assert value(client, "SELECT count(*) FROM pg_listening_channels()") == 0
            assert value(client, "SELECT count(*) FROM pg_prepared_statements") == 0
            assert value(client, "SELECT count(*) FROM pg_cursors") == 0
            assert value(client, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
            assert value(client, "SELECT to_regclass('pg_temp.mine')") is None
            assert value(client, "SELECT current_setting('app.tenant', true)") in (None, "")
