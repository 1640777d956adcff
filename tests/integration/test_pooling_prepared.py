"""Prepared statements in transaction pooling: names are each client's own, on whichever server."""

import asyncio

import asyncpg
import psycopg
import pytest
from psycopg import pq

from test_pooling import pid, pins, pooling, value  # noqa: F401 - fixtures among them


def test_names_are_each_clients_own(pooling):
    relay = pooling("size=1")
    with relay.connect(prepare_threshold=0) as client, relay.connect(prepare_threshold=0) as other:
        for turn in range(3):
            # psycopg names both _pg3_0.
            assert value(client, "SELECT %s::int + 1", (turn,)) == turn + 1
            assert value(other, "SELECT %s::text || '!'", (turn,)) == f"{turn}!"
        with other.transaction():
            # A text that both have prepared is there once.
            assert value(other, "SELECT %s::int + 1", (4,)) == 5
            texts = [row[0] for row in other.execute(
                "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%+ 1' ORDER BY 1")]
        assert len(texts) == 1
        assert pid(client) == pid(other)


def test_statements_follow_their_client_to_any_server(pooling):
    relay = pooling("size=4")
    with relay.connect(prepare_threshold=0) as client:
        holders = []
        for turn in range(3):
            assert value(client, "SELECT %s::int * 2", (turn,)) == turn * 2
            # Whoever begins a transaction now takes the server along.
            holders.append(relay.connect())
            holders[-1].execute("BEGIN")
            assert value(client, "SELECT %s::int * 2", (turn,)) == turn * 2
        assert len(relay.tell("servers").split()) == 4
        for holder in holders:
            holder.close()


def raw(pgconn, *steps):
    """Statuses and SQLSTATEs of a pipeline's results."""
    pgconn.enter_pipeline_mode()
    for step in steps:
        step()
    pgconn.pipeline_sync()
    said = []
    while True:
        result = pgconn.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            break
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
        said.append((pq.ExecStatus(result.status).name, state and state.decode(), message and message.decode()))
    pgconn.exit_pipeline_mode()
    return said


def test_errors_are_the_servers_with_the_clients_names(pooling, pair):
    relay = pooling("size=1")

    def play(client):
        connection = client.pgconn
        prepare, execute = connection.send_prepare, connection.send_query_prepared
        said = [
            raw(connection, lambda: prepare(b"a", b"SELECT 1"), lambda: prepare(b"a", b"SELECT 2"),
                lambda: execute(b"a", [])),
            raw(connection, lambda: execute(b"a", [])),
            raw(connection, lambda: prepare(b"a", b"SELECT 3")),
            raw(connection, lambda: prepare(b"b", b"SELECT no_such_column")),
            raw(connection, lambda: execute(b"b", [])),
            raw(connection, lambda: prepare(b"b", b"SELECT 4"), lambda: execute(b"b", [])),
            raw(connection, lambda: connection.send_describe_prepared(b"none")),
            raw(connection, lambda: execute(b"none", [b"1"])),
            raw(connection, lambda: execute(b"pgjanus_1", [])),
            raw(connection, lambda: prepare(b"c", b"SELECT 5"), lambda: execute(b"none", []), lambda: prepare(b"d", b"")),
            raw(connection, lambda: execute(b"c", [])),
            raw(connection, lambda: execute(b"d", [])),
            raw(connection, lambda: prepare(b"", b"SELECT $1::int")),
            raw(connection, lambda: execute(b"", [b"1"])),
        ]
        client.execute("DEALLOCATE a")
        said.append(raw(connection, lambda: execute(b"a", [])))
        said.append(raw(connection, lambda: prepare(b"a", b"SELECT 6"), lambda: execute(b"a", [])))
        with pytest.raises(psycopg.errors.InvalidSqlStatementName) as error:
            client.execute("DEALLOCATE nothing")
        said.append(error.value.diag.message_primary)
        client.execute("DISCARD ALL")
        said.append(raw(connection, lambda: execute(b"b", [])))
        said.append(raw(connection, lambda: prepare(b"a", b"SELECT 7"), lambda: execute(b"a", [])))
        client.execute("BEGIN")
        with pytest.raises(psycopg.Error):
            client.execute("SELECT 1/0")
        said.append(raw(connection, lambda: execute(b"a", [])))
        client.execute("ROLLBACK")
        said.append(raw(connection, lambda: execute(b"a", [])))
        return said
    with psycopg.connect(pair[0].owner_url, autocommit=True) as client:
        expected = play(client)
    # "pgjanus_1" means nothing at a server either; its words name what was sent.
    with relay.connect() as client, relay.connect(prepare_threshold=0) as other:
        for one in ("SELECT 1", "SELECT 2", "SELECT 5"):
            other.execute(one)
        said = play(client)
        assert [one for n, one in enumerate(said) if n != 8] == [one for n, one in enumerate(expected) if n != 8]
        assert said[8][0][:2] == ("FATAL_ERROR", "26000")
        assert value(other, "SELECT 5") == 5


def test_a_server_holds_only_so_many(pooling):
    relay = pooling("size=1")
    with relay.connect(prepare_threshold=0) as client, relay.connect() as other:
        client.prepared_max = 10_000
        for turn in range(700):
            assert value(client, f"SELECT %s::int + {turn}", (1,)) == 1 + turn
        assert value(other, "SELECT count(*) FROM pg_prepared_statements") <= 500
        for turn in range(700):
            assert value(client, f"SELECT %s::int + {turn}", (1,)) == 1 + turn


def test_a_long_statement_is_prepared_too(pooling):
    relay = pooling("size=2")
    text = b"SELECT $1::int /*" + b"x" * 100_000 + b"*/"
    huge = b"SELECT $1::int /*" + b"x" * 1_100_000 + b"*/"
    with relay.connect() as client, relay.connect() as other:
        connection = client.pgconn
        assert connection.prepare(b"long", text).status == pq.ExecStatus.COMMAND_OK
        other.execute("BEGIN; SELECT 1")  # Perhaps on the server that had it.
        assert connection.exec_prepared(b"long", [b"7"]).get_value(0, 0) == b"7"
        other.execute("COMMIT")
        assert pins(relay) == ["", ""]
        assert connection.prepare(b"huge", huge).status == pq.ExecStatus.COMMAND_OK
        assert pins(relay) == ["prepared statement of more than 1 MB", ""]
        assert connection.exec_prepared(b"huge", [b"8"]).get_value(0, 0) == b"8"
        client.execute("DEALLOCATE huge")
        assert pins(relay) == ["", ""]


def test_constants_are_read_under_the_clients_own_settings(pooling):
    relay = pooling("size=1")
    sql = "SELECT extract(epoch FROM timestamptz '2020-01-01 00:00')::int"
    with relay.connect(prepare_threshold=0) as client, relay.connect(prepare_threshold=0) as other:
        client.execute("SET TimeZone = 'Asia/Tokyo'")
        other.execute("SET TimeZone = 'UTC'")
        for _ in range(2):
            assert value(other, sql) - value(client, sql) == 9 * 3600


def test_a_text_that_is_parsed_again_under_other_settings_is_nobody_elses(pooling):
    relay = pooling("size=2")
    sql = b"SELECT extract(epoch FROM timestamptz '2020-01-01 00:00')::int"
    with relay.connect() as client, relay.connect() as other, relay.connect() as holder:
        prepared(client, b"s", sql)
        first = rows(client, b"s")
        client.execute("SET TimeZone = 'Asia/Tokyo'")
        # On both servers: one is taken by whoever begins.
        for _ in range(2):
            holder.execute("BEGIN; SELECT 1")
            rows(client, b"s")
            prepared(other, b"s", sql)
            assert rows(other, b"s") == first
            other.pgconn.exec_(b"DEALLOCATE s")
            second = relay.connect()
            second.execute("BEGIN; SELECT 1")
            holder.execute("COMMIT")
            rows(client, b"s")
            prepared(other, b"t", sql)
            assert rows(other, b"t") == first
            other.pgconn.exec_(b"DEALLOCATE t")
            second.close()


def test_statements_after_ddl(pooling):
    relay = pooling("size=1")
    with relay.connect(prepare_threshold=0) as client, relay.connect(prepare_threshold=0) as other:
        client.execute("CREATE TABLE changing (a int)")
        client.execute("SELECT * FROM changing")
        other.execute("ALTER TABLE changing ADD b int")
        # As at a server: what was prepared before fails, until it is prepared again.
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
            client.execute("SELECT * FROM changing")
        assert len(other.execute("SELECT * FROM changing").description) == 2
        client.execute("DEALLOCATE ALL")
        assert len(client.execute("SELECT * FROM changing", prepare=False).description) == 2
        client.execute("DROP TABLE changing")


def test_asyncpg_shares_servers(pooling):
    relay = pooling("size=2")

    async def one(number):
        client = await asyncpg.connect(relay.url())
        try:
            for turn in range(20):
                assert await client.fetchval("SELECT $1::int + $2::int", number, turn) == number + turn
                async with client.transaction():
                    assert await client.fetchval(f"SELECT {number} + $1::int", turn) == number + turn
                    rows = [row[0] async for row in client.cursor("SELECT generate_series(1, $1::int)", 60, prefetch=25)]
                    assert rows == list(range(1, 61))
            await client.execute("SELECT 1; SELECT 2")
            await client.reset()
            assert await client.fetchval("SELECT $1::int + $2::int", 1, 1) == 2
        finally:
            await client.close()

    async def all_of_them():
        await asyncio.gather(*(one(number) for number in range(12)))
    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert len(relay.tell("servers").split()) <= 2


def test_an_unnamed_statement_outlives_its_transaction(pooling):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        for one, text in ((client, b"SELECT $1::int + 1"), (other, b"SELECT $1::int + 2")):
            assert one.pgconn.prepare(b"", text).status == pq.ExecStatus.COMMAND_OK
        assert client.pgconn.exec_prepared(b"", [b"1"]).get_value(0, 0) == b"2"
        assert other.pgconn.exec_prepared(b"", [b"1"]).get_value(0, 0) == b"3"
        assert client.pgconn.exec_prepared(b"", [b"1"]).get_value(0, 0) == b"2"
        other.execute("SELECT 1")
        assert other.pgconn.exec_prepared(b"", [b"1"]).status == pq.ExecStatus.FATAL_ERROR
        assert client.pgconn.exec_prepared(b"", [b"1"]).get_value(0, 0) == b"2"


# What another client, or nobody of ours, has done to the server's statements.

def prepared(client, name, text):
    result = client.pgconn.prepare(name, text)
    assert result.status == pq.ExecStatus.COMMAND_OK, result.error_message


def rows(client, name):
    result = client.pgconn.exec_prepared(name, [])
    if result.status == pq.ExecStatus.TUPLES_OK:
        return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
    return result.error_field(pq.DiagnosticField.SQLSTATE).decode()


@pytest.fixture
def shapes(pair):
    pair[0].script("DROP TABLE IF EXISTS shape; CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)", "app", "app")


TEXT = b"SELECT * FROM shape"


def test_what_is_prepared_after_ddl_has_its_shape(pooling, pair, shapes):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        prepared(client, b"one", TEXT)
        assert rows(client, b"one") == [[b"1"]]
        # By a client of ours: even in a transaction, where nothing can be tried again.
        client.execute("ALTER TABLE shape ADD b int DEFAULT 2")
        other.execute("BEGIN")
        prepared(other, b"one", TEXT)
        assert rows(other, b"one") == [[b"1", b"2"]]
        other.execute("COMMIT")
        assert rows(client, b"one") == "0A000", "it has seen the old shape"
        # By others.
        with psycopg.connect(pair[0].owner_url, autocommit=True) as admin:
            admin.execute("ALTER TABLE shape ADD c int DEFAULT 3")
        prepared(client, b"two", TEXT)
        assert rows(client, b"two") == [[b"1", b"2", b"3"]]
        assert rows(client, b"two") == [[b"1", b"2", b"3"]]
        assert rows(other, b"one") == "0A000"
        # In a transaction, in a block of code, among several statements.
        for ddl in ("BEGIN; ALTER TABLE shape ADD d int; COMMIT", "DO 'BEGIN ALTER TABLE shape DROP d; END'"):
            client.execute(ddl)
            with other.transaction():
                prepared(other, ddl[:2].encode(), TEXT)
                assert rows(other, ddl[:2].encode()) in ([[b"1", b"2", b"3", None]], [[b"1", b"2", b"3"]])


def test_a_first_description_has_the_new_shape(pooling, pair, shapes):
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        prepared(client, b"one", TEXT)
        with psycopg.connect(pair[0].owner_url, autocommit=True) as admin:
            admin.execute("ALTER TABLE shape ADD b int")
        said = raw(other.pgconn, lambda: other.pgconn.send_prepare(b"one", TEXT),
                   lambda: other.pgconn.send_describe_prepared(b"one"))
        assert [one[0] for one in said] == ["COMMAND_OK", "COMMAND_OK"]
        assert other.pgconn.describe_prepared(b"one").nfields == 2


def test_a_temporary_table_comes_before_the_others(pooling, shapes):
    relay = pooling("size=1")
    with relay.connect() as client:
        prepared(client, b"public", TEXT)
        assert rows(client, b"public") == [[b"1"]]
        client.execute("CREATE TEMP TABLE anything (a int)")
        prepared(client, b"second", TEXT)
        assert rows(client, b"second") == [[b"1"]]
        client.execute("CREATE TEMP TABLE shape (b text)")
        prepared(client, b"temp", TEXT)
        assert rows(client, b"temp") == []
        client.execute("DROP TABLE pg_temp.shape, anything")
        prepared(client, b"third", TEXT)
        assert rows(client, b"third") == [[b"1"]]


def test_who_deallocates_in_a_function_costs_others_nothing(pooling, pair):
    pair[0].script("CREATE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS 'BEGIN DEALLOCATE ALL; END'", "app", "app")
    relay = pooling("size=1")
    with relay.connect() as client, relay.connect() as other:
        prepared(other, b"mine", b"SELECT 'mine'")
        prepared(other, b"second", b"SELECT 'second'")
        for _ in range(2):
            client.execute("SELECT forget()")
            assert rows(other, b"mine") == [[b"mine"]]
            assert rows(other, b"second") == [[b"second"]]
        client.execute("SELECT forget()")
        said = raw(other.pgconn, lambda: other.pgconn.send_describe_prepared(b"mine"),
                   lambda: other.pgconn.send_query_prepared(b"second", []))
        assert [one[0] for one in said] == ["COMMAND_OK", "TUPLES_OK"]
        assert rows(other, b"nothing") == "26000"
