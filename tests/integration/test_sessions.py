"""Sessions without an engine: the gate, and moves between servers."""

import threading

import psycopg
import pytest
from psycopg import pq

from harness import wait_until
from relay_program import Later, Relay, flip, side


@pytest.fixture
def relay(pair, tmp_path):
    made = Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / "relay.log")
    yield made
    made.stop()


# The gate.

def test_a_held_client_waits_and_goes_on_at_the_new_primary(relay):
    with relay.connect() as client:
        assert side(client) == "source"
        relay.tell("hold")
        assert relay.tell("quiesce 1000") == "0"
        query = Later(lambda: side(client))
        wait_until(lambda: relay.number("held") == 1, what="the client to be held")
        relay.tell("primary target")
        assert query.running()
        relay.tell("release")
        assert query.value() == "target"
        assert relay.number("held") == 0


def test_an_open_transaction_goes_on_and_is_named(relay):
    with relay.connect() as client, client.transaction():
        client.execute("SELECT 1")
        relay.tell("hold")
        busy = relay.tell("quiesce 300")
        assert busy.startswith("1 ") and "open transaction" in busy
        assert side(client) == "source"
        relay.tell("release")


def test_quiesce_returns_when_the_last_transaction_ends(relay):
    with relay.connect() as client:
        client.execute("BEGIN")
        relay.tell("hold")
        quiesced = Later(lambda: relay.tell("quiesce 20000"))
        client.execute("COMMIT")
        assert quiesced.value() == "0"
        relay.tell("release")


def test_terminate_ends_what_holds_up(relay):
    with relay.connect() as client:
        client.execute("BEGIN")
        relay.tell("hold")
        relay.tell("quiesce 1000 terminate")
        with pytest.raises(psycopg.OperationalError) as error:
            client.execute("SELECT 1")
        assert error.value.sqlstate in ("57P01", None)
        relay.tell("release")


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "extended"])
def test_cancel_while_held(relay, prepare):
    with relay.connect() as client:
        relay.tell("hold")
        parameters = (1,) if prepare else None
        query = Later(lambda: client.execute("SELECT 1 + %s" if prepare else "SELECT 1", parameters))
        wait_until(lambda: relay.number("held") == 1, what="the client to be held")
        client.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.value()
        assert relay.number("held") == 0
        relay.tell("release")
        assert side(client) == "source"


def test_a_held_client_that_leaves_is_noticed(relay):
    client = relay.connect()
    relay.tell("hold")
    client.pgconn.send_query(b"SELECT 1")
    wait_until(lambda: relay.number("held") == 1, what="the client to be held")
    client.close()
    wait_until(lambda: relay.number("clients") == 0, what="the client to be gone")
    relay.tell("release")


def test_new_clients_are_held(relay):
    relay.tell("hold")
    query = Later(lambda: side(relay.connect()))
    wait_until(lambda: relay.number("clients") == 1, what="the client to connect")
    assert query.running()
    relay.tell("primary target")
    relay.tell("release")
    assert query.value() == "target"


def test_a_pipeline_stops_at_a_transaction_boundary(relay):
    with relay.connect() as client:
        stop = threading.Event()

        def run():
            count = 0
            while not stop.is_set():
                with client.pipeline():
                    for _ in range(50):
                        client.execute("SELECT count(*) FROM t")
                        count += 1
            return count
        work = Later(run)
        for turn in range(6):
            flip(relay, "target" if turn % 2 == 0 else "source")
        stop.set()
        assert work.value() > 0
        assert side(client) == "source"


# Moves.

def test_state_moves_with_the_session(relay):
    with relay.connect() as client:
        client.execute("SET work_mem = '7MB'; SET search_path = pg_temp, public, \"$user\"")
        client.execute("SET app.tenant = 'it''s \\ 7'; SET TimeZone = 'Asia/Tokyo'")
        client.execute("SELECT set_config('app.other', 'x', false)")
        client.execute("LISTEN \"News\"")
        client.execute("SET ROLE other")
        client.prepare_threshold = 0
        ask = "SELECT %s::text || name FROM side"
        assert client.execute(ask, ("on ",)).fetchone()[0] == "on source"
        assert client.execute("SELECT %s::mood::text", ("ok",)).fetchone()[0] == "ok"
        zone = client.info.parameter_status("TimeZone")
        flip(relay)
        assert client.execute(ask, ("on ",)).fetchone()[0] == "on target"
        assert client.execute("SELECT %s::mood::text", ("ok",)).fetchone()[0] == "ok"
        for name, value in (("work_mem", "7MB"), ("search_path", 'pg_temp, public, "$user"'),
                            ("app.tenant", "it's \\ 7"), ("app.other", "x"), ("role", "other"),
                            ("TimeZone", "Asia/Tokyo")):
            assert client.execute(f"SHOW {name}").fetchone()[0] == value
        assert client.info.parameter_status("TimeZone") == zone == "Asia/Tokyo"
        assert client.execute("SELECT pg_listening_channels()").fetchall() == [("News",)]
        for reset in ("RESET ROLE", "SET work_mem = '8MB'", "RESET app.other"):
            client.execute(reset)
        flip(relay, "source")
        assert client.execute("SHOW work_mem").fetchone()[0] == "8MB"
        assert client.execute("SHOW app.other").fetchone()[0] == ""
        assert client.execute("SHOW role").fetchone()[0] == "none"


def test_statements_prepared_by_protocol_move(relay):
    with relay.connect() as client:
        connection = client.pgconn
        assert connection.prepare(b"by_name", b"SELECT $1::mood, name FROM side").status == pq.ExecStatus.COMMAND_OK
        assert connection.prepare(b"", b"SELECT name FROM side").status == pq.ExecStatus.COMMAND_OK
        flip(relay)
        unnamed = connection.exec_prepared(b"", [])
        assert unnamed.get_value(0, 0) == b"target"
        named = connection.exec_prepared(b"by_name", [b"sad"])
        assert (named.get_value(0, 0), named.get_value(0, 1)) == (b"sad", b"target")


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_many_sessions_move(relay, warm):
    clients = [relay.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.execute(f"SET work_mem = '{number + 1}MB'")
    if warm:
        relay.tell("warm target")
        clients[3].execute("SET work_mem = '33MB'")
    flip(relay)
    for number, client in enumerate(clients):
        assert side(client) == "target"
        wanted = "33MB" if warm and number == 3 else f"{number + 1}MB"
        assert client.execute("SHOW work_mem").fetchone()[0] == wanted
        client.close()


PINS = {
    "temporary table": "CREATE TEMP TABLE scratch (id int)",
    "WITH HOLD cursor": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "session advisory lock": "SELECT pg_advisory_lock(7)",
    "SQL PREPARE": "PREPARE p AS SELECT 1",
}


@pytest.mark.parametrize("reason", PINS)
def test_what_pins_a_session_is_named_and_ends_it(relay, reason):
    with relay.connect() as free, relay.connect() as client:
        client.execute(PINS[reason])
        assert relay.tell("pinned 5000") == f"1 | {reason}"
        flip(relay)
        with pytest.raises(psycopg.OperationalError) as error:
            client.execute("SELECT 1")
        assert reason in str(error.value)
        assert side(free) == "target"


def test_the_old_primary_gone_ends_idle_sessions_clearly(pair, tmp_path, factory):
    third = factory.make("third")
    third.plain_owner()
    relay = Relay(third.url("app", "app-secret", "app"), pair[1].owner_url, tmp_path / "relay.log")
    client = relay.connect()
    client.execute("SELECT 1")
    third.kill9()
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    relay.tell("primary target")
    with relay.connect() as again:
        assert side(again) == "target"
    relay.stop()
