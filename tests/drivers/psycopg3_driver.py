"""psycopg 3: extended protocol, binary, pipelines, COPY, cursors, notifications, asyncio, raw libpq."""

import asyncio
import datetime
import decimal
import logging
import threading
import uuid

import psycopg
from psycopg import pq, rows
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from say import RUNNING, URL, refused, say, until

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # Its lines hold addresses.
connection = psycopg.connect(URL, autocommit=True, application_name="psycopg 3 script")
run = connection.execute
run("SET client_min_messages = warning; DROP TABLE IF EXISTS p3_items; DROP TYPE IF EXISTS p3_pair, p3_mood; "
    "CREATE TYPE p3_mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE p3_pair AS (a int, b text); "
    "CREATE TABLE p3_items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb, tags text[], "
    "mood p3_mood, pair p3_pair, at timestamptz, price numeric(12, 4), raw bytea, span int4range)")
say("parameters", [connection.info.parameter_status(name) for name in (
    "server_version", "server_encoding", "client_encoding", "standard_conforming_strings", "TimeZone")])


def types():
    """In text and in binary; the sixth of a statement is prepared."""
    pair = CompositeInfo.fetch(connection, "p3_pair")
    register_composite(pair, connection)
    for binary in (False, True):
        for turn in range(8):
            result = run("INSERT INTO p3_items (body, tags, mood, pair, at, price, raw, span) VALUES "
                         "(%s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
                         (Jsonb({"n": turn, "deep": [None, True, "é"]}), ["a", None, "c,d"], "ok",
                          pair.python_type(turn, 'x"y'),
                          datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc),
                          decimal.Decimal("12.3400"), b"\0\xff" * 3, Range(1, 9)), binary=binary)
            say("row", [str(value) for value in result.fetchone()], result.statusmessage)
        say("values", run("SELECT %s::int8, %s::float8, %s::uuid, %s::date, %s::interval, %s::int[], "
                          "%s::bool", (2**50, 1.25, uuid.UUID(int=9), datetime.date(1, 1, 1),
                                       datetime.timedelta(3, 5, 7), [[1, 2], [3, 4]], True),
                          binary=binary).fetchone())
    described = run("SELECT 1 AS a, 'x'::varchar(7) AS b, 1.5::numeric(9, 2) AS c").description
    say("columns", [(column.name, column.type_code, column.precision, column.scale, column.internal_size)
                    for column in described])
    large = "ü" * (5 << 20)
    say("large", run("SELECT %s::text = repeat('ü', 5 << 20), %s::text", (large, large)).fetchone()[1] == large)


def transactions():
    def nested():
        with connection.transaction():
            run("DELETE FROM p3_items")
            run("SELECT 1/0")
    with connection.transaction():
        run("UPDATE p3_items SET price = price + 1")
        refused("inner", psycopg.Error, "sqlstate", nested)
        say("still", run("SELECT count(*), sum(price) FROM p3_items").fetchone())
    refused("outer", psycopg.Error, "sqlstate", nested)
    say("status", connection.info.transaction_status.name)
    for bad in ("SELECT FROM WHERE", "SELECT * FROM nowhere", "INSERT INTO p3_items (id) VALUES (1)", "SELECT 'x'::int"):
        for prepare in (False, True):
            refused(bad, psycopg.Error, "sqlstate", run, bad, prepare=prepare)
    connection.autocommit = False
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    refused("read only", psycopg.Error, "sqlstate", run, "DELETE FROM p3_items")
    connection.rollback()
    connection.isolation_level = connection.read_only = None
    connection.autocommit = True
    # A prepared statement whose table changes shape under it.
    run("CREATE TABLE p3_shape (a int)")
    for _ in range(2):
        say("shape", run("SELECT * FROM p3_shape", prepare=True).fetchall())
    run("ALTER TABLE p3_shape ADD b int")
    refused("changed", psycopg.Error, "sqlstate", run, "SELECT * FROM p3_shape", prepare=True)
    run("DROP TABLE p3_shape; DEALLOCATE ALL")
    connection._prepared.clear()
    say("afterwards", run("SELECT count(*) FROM p3_items", prepare=True).fetchone())


def pipelines():
    with connection.pipeline() as pipeline:
        cursors = [run("SELECT %s::int * 2", (n,), prepare=n % 3 == 0) for n in range(1500)]
        pipeline.sync()
        more = [run("SELECT repeat('x', %s)", (n,)) for n in range(2000)]
        say("first half", sum(cursor.fetchone()[0] for cursor in cursors))
    say("second half", sum(len(cursor.fetchone()[0]) for cursor in more))

    def failing():
        with connection.pipeline():
            run("SELECT 1/%s", (1,))
            run("SELECT 1/%s", (0,))
            run("SELECT 1/%s", (2,))
    refused("in a pipeline", psycopg.Error, "sqlstate", failing)
    with connection.pipeline(), connection.transaction():
        run("UPDATE p3_items SET price = 0")
    with connection.pipeline(), connection.cursor() as cursor:
        cursor.executemany("INSERT INTO p3_items (tags) VALUES (%s) RETURNING tags",
                           [([str(n)],) for n in range(700)], returning=True)
        count = 1
        while cursor.nextset():
            count += 1
    say("many", count, run("SELECT count(*), sum(price) FROM p3_items").fetchone())


def raw_libpq():
    """Several Syncs in flight, Flush requests, single-row mode, what follows an error."""
    libpq = psycopg.connect(URL).pgconn

    def results(count):
        shown = []
        while len(shown) < count:
            result = libpq.get_result()
            if result is None:
                shown.append("-")
            else:
                shown.append((pq.ExecStatus(result.status).name, result.ntuples,
                              result.get_value(0, 0) if result.ntuples else result.error_message[:40]))
        say("libpq", shown)
    libpq.enter_pipeline_mode()
    libpq.send_query_params(b"SELECT 1", None)
    libpq.send_flush_request()
    libpq.flush()
    results(2)
    libpq.send_prepare(b"by_name", b"SELECT $1::int + 1")
    libpq.send_query_prepared(b"by_name", [b"41"])
    libpq.send_describe_prepared(b"by_name")
    libpq.pipeline_sync()
    libpq.send_query_params(b"SELECT 1/0", None)
    libpq.send_query_params(b"SELECT 'skipped'", None)
    libpq.pipeline_sync()
    libpq.send_query_params(b"SELECT generate_series(1, 3)", None)
    libpq.pipeline_sync()
    libpq.flush()
    results(17)
    libpq.exit_pipeline_mode()
    libpq.send_query_params(b"SELECT generate_series(1, 5)", None)
    libpq.set_single_row_mode()
    results(7)
    libpq.finish()


def copies():
    with connection.cursor() as cursor:
        run("DROP TABLE IF EXISTS p3_copy; CREATE TABLE p3_copy (id int PRIMARY KEY, body text, n numeric)")
        with cursor.copy("COPY p3_copy FROM STDIN") as copy:
            for n in range(20_000):
                copy.write_row((n, None if n % 7 == 0 else f"tab\there {n}", n / 4))
        say("copied", cursor.rowcount)
        with cursor.copy("COPY p3_copy TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "numeric"])
            say("binary", sum(row[0] for row in copy.rows()))
        with cursor.copy("COPY (SELECT * FROM p3_copy ORDER BY id LIMIT 3) TO STDOUT") as copy:
            say("text", [bytes(block) for block in copy])
        with cursor.copy("COPY p3_copy (id, body) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for n in range(20_000, 20_050):
                copy.write_row((n, "binary"))

        def twice():
            with cursor.copy("COPY p3_copy FROM STDIN") as copy:
                for n in range(60_000):
                    copy.write_row((-1 - n // 2, "twice", 0))

        def given_up():
            with cursor.copy("COPY p3_copy FROM STDIN") as copy:
                copy.write_row((-1, "given up", 0))
                raise psycopg.DataError("by the client")
        refused("twice", psycopg.Error, "sqlstate", twice)
        refused("given up", psycopg.Error, "sqlstate", given_up)

        def left():  # In the middle: psycopg cancels it.
            with cursor.copy("COPY p3_copy TO STDOUT") as copy:
                next(iter(copy))
                raise psycopg.InterfaceError("left by the client")
        refused("left", psycopg.Error, "sqlstate", left)
        say("rows", run("SELECT count(*), sum(n) FROM p3_copy").fetchone())
        run("DROP TABLE p3_copy")


def cursors():
    with connection.transaction(), connection.cursor("by_name", scrollable=True, row_factory=rows.dict_row) as cursor:
        cursor.execute("SELECT n, n * n AS square FROM generate_series(%s::int, 300) n", (1,))
        cursor.itersize = 9
        say("named", cursor.fetchone(), cursor.fetchmany(2), sum(row["square"] for row in cursor))
        cursor.scroll(-3)
        say("scrolled", cursor.fetchall())
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SELECT %s; SELECT %s", ("one", "it's two"))
        say("first", cursor.fetchone(), cursor.nextset(), cursor.fetchone())
    with connection.cursor() as cursor:
        say("stream", sum(row[0] for row in cursor.stream("SELECT generate_series(1, %s)", (2000,))))


def notifications():
    with psycopg.connect(URL, autocommit=True) as listener:
        listener.execute("LISTEN p3_news")
        for number in range(3):
            run("SELECT pg_notify('p3_news', %s)", (f"number {number}",))
        heard = []
        for notify in listener.notifies():
            heard.append((notify.channel, notify.payload))
            if len(heard) == 3:
                break
        say("heard", heard)
        own = []
        listener.add_notify_handler(lambda notify: own.append((notify.payload, notify.pid == listener.info.backend_pid)))
        listener.execute("NOTIFY p3_news, 'own'")
        say("own", own)
        say("process id", listener.execute("SELECT pg_backend_pid()").fetchone()[0] == listener.info.backend_pid)


def cancel():
    def when_running():
        with psycopg.connect(URL, autocommit=True) as other:
            until(lambda: other.execute(RUNNING, ("SELECT pg_sleep(57)%",)).fetchone() == (1,), "it to run")
        connection.cancel()
    thread = threading.Thread(target=when_running)
    thread.start()
    refused("cancelled", psycopg.Error, "sqlstate", run, "SELECT pg_sleep(57)")
    thread.join()
    connection.cancel()  # Of nothing.
    with connection.transaction():
        run("SET LOCAL statement_timeout = 40")
        refused("timeout", psycopg.Error, "sqlstate", lambda: run("SELECT pg_sleep(%s)", (30,)))
        run("ROLLBACK")
    say("usable", run("SELECT 1").fetchone())


async def asynchronous():
    async with await psycopg.AsyncConnection.connect(URL) as first:
        async with first.pipeline():
            cursors = [await first.execute("SELECT %s::text", (str(n),)) for n in range(300)]
        say("async", [(await cursor.fetchone())[0] for cursor in cursors][-3:])
        async with first.cursor() as cursor:
            async with cursor.copy("COPY (SELECT generate_series(1, 3000)) TO STDOUT") as copy:
                say("async copy", sum([len(block) async for block in copy]))
        task = asyncio.create_task(first.execute("SELECT pg_sleep(56)"))
        async with await psycopg.AsyncConnection.connect(URL, autocommit=True) as other:
            while (await (await other.execute(RUNNING, ("SELECT pg_sleep(56)%",))).fetchone())[0] != 1:
                pass  # Asking takes its time.
        first.cancel()
        try:
            await task
        except psycopg.Error as error:
            say("async cancelled", error.sqlstate)


def two_phase():
    connection.autocommit = False
    connection.tpc_begin(connection.xid(1, "p3", "branch"))
    run("DELETE FROM p3_items")
    connection.tpc_prepare()
    with psycopg.connect(URL) as other:
        say("prepared", [str(xid.gtrid) for xid in other.tpc_recover()])
    connection.tpc_rollback()
    connection.autocommit = True
    say("kept", run("SELECT count(*) FROM p3_items").fetchone())


for part in (types, transactions, pipelines, raw_libpq, copies, cursors, notifications, cancel, two_phase):
    part()
asyncio.run(asynchronous())
heard = []
connection.add_notice_handler(lambda notice: heard.append((notice.severity, notice.sqlstate, notice.message_primary)))
run("DO $$ BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b' USING ERRCODE = '01234'; END $$")
say("notices", heard)
run("DROP TABLE p3_items; DROP TYPE p3_pair, p3_mood")
connection.close()
say("well")
