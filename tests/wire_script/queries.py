"""Simple and extended queries (checklist 1c), and what comes unasked (1e)."""

import struct

from .case import case
from .messages import (COPY_DONE, FLUSH, SYNC, TERMINATE, bind, close_portal, close_statement, copy_data,
                       copy_fail, describe_portal, describe_statement, execute, function_call, message,
                       parse, query, text)


@case("one statement, several, none and only a comment")
def _(peer):
    for sql in ("SELECT 1", "SELECT 1; SELECT 'two', NULL; SELECT 3", "", ";;", "-- nothing", "/* */ ;"):
        peer.send(query(sql))
        peer.ready()


@case("an error in the middle of a string ends it")
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1); SELECT 1/0; SELECT 2"))
    peer.ready()
    peer.send(query("SELECT * FROM t"))  # Rolled back with the rest.
    peer.ready()


@case("BEGIN and COMMIT inside a string split it")
def _(peer):
    peer.send(query("BEGIN; CREATE TEMP TABLE t AS SELECT 1 AS a; COMMIT; SELECT 1/0"))
    peer.ready()
    peer.send(query("SELECT * FROM t"))
    peer.ready()


@case("a failed transaction refuses until ROLLBACK")
def _(peer):
    for sql in ("BEGIN", "SELECT 1/0", "SELECT 1", "COMMIT", "SELECT 1"):
        peer.send(query(sql))
        peer.ready()


@case("simple queries sent without waiting are answered in order")
def _(peer):
    peer.send(*(query(f"SELECT {i}") for i in range(50)))
    peer.ready(50)


@case("parse, bind, describe, execute and sync")
def _(peer):
    peer.send(parse("SELECT $1::int + 1 AS sum, $2", types=(23, 25)), bind(("41", None)), describe_portal(),
              execute(), SYNC)
    peer.ready()


@case("binary results")
def _(peer):
    peer.send(parse("SELECT 1::int8, 'x'::text, ARRAY[1,2]"), bind(binary_results=True), describe_portal(),
              execute(), SYNC)
    peer.ready()


@case("a pipeline with several Syncs, an error in the middle one")
def _(peer):
    def step(sql):
        return parse(sql) + bind() + execute() + SYNC
    peer.send(step("SELECT 1"), step("SELECT 1/0"), step("SELECT 3"), SYNC, SYNC)
    peer.ready(5)


@case("after an error everything up to Sync is skipped, also what is sent later")
def _(peer):
    peer.send(parse("SELECT 1/0"), bind(), execute(), FLUSH)
    peer.until("E")
    peer.send(parse("SELECT 2"), bind(), execute(), query("SELECT 'skipped too'"), FLUSH)
    peer.send(SYNC)
    peer.ready()


@case("an implicit transaction of a batch is rolled back by its error")
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int)"))
    peer.ready()
    peer.send(parse("INSERT INTO t VALUES (1)"), bind(), execute(), parse("SELECT 1/0"), bind(), execute(), SYNC)
    peer.ready()
    peer.send(query("SELECT count(*) FROM t"))
    peer.ready()


@case("a transaction by extended queries")
def _(peer):
    for sql in ("BEGIN", "CREATE TEMP TABLE t (a int)", "INSERT INTO t VALUES (1), (2)", "SELECT * FROM t",
                "ROLLBACK"):
        peer.send(parse(sql), bind(), describe_portal(), execute(), SYNC)
        peer.ready()


@case("Flush brings the answers so far, and the portal stays")
def _(peer):
    peer.send(parse("SELECT generate_series(1, 5)", "s"), describe_statement("s"), FLUSH)
    peer.until("T")
    peer.send(bind(statement="s", portal="p"), FLUSH)
    peer.until("2")
    for last in "ssC":
        peer.send(execute("p", 2), FLUSH)
        peer.until(last)
    peer.send(SYNC)
    peer.ready()


@case("a portal with a row limit is suspended and goes on in its transaction")
def _(peer):
    peer.send(query("BEGIN"))
    peer.ready()
    peer.send(parse("SELECT generate_series(1, 7)"), bind(portal="c"), describe_portal("c"), execute("c", 3), SYNC)
    peer.ready()
    peer.send(execute("c", 3), SYNC, execute("c", 3), SYNC, execute("c", 3), SYNC)
    peer.ready(3)
    peer.send(close_portal("c"), execute("c"), SYNC, query("ROLLBACK"))
    peer.ready(2)


@case("a portal ends with its transaction")
def _(peer):
    peer.send(parse("SELECT 1"), bind(portal="p"), SYNC, execute("p"), SYNC)
    peer.ready(2)


@case("named statements: used again, name taken, closed, gone")
def _(peer):
    peer.send(parse("SELECT $1::text", "s"), SYNC, bind(("a",), "s"), execute(), SYNC, bind(("b",), "s"),
              execute(), SYNC, parse("SELECT 2", "s"), SYNC, close_statement("s"), close_statement("s"), SYNC,
              bind(("c",), "s"), SYNC)
    peer.ready(6)


@case("Describe, Bind and Execute of what does not exist leave the connection usable")
def _(peer):
    for wrong in (describe_statement("none"), bind(statement="none"), execute("none"), describe_portal("none")):
        peer.send(wrong, SYNC)
        peer.ready()


@case("a Parse that fails leaves no statement, and its name is free")
def _(peer):
    peer.send(parse("SELEC 1", "s"), SYNC, close_statement("s"), SYNC, parse("SELECT 1", "s"), SYNC,
              bind(statement="s"), execute(), SYNC)
    peer.ready(4)


@case("the unnamed statement survives Sync and ends with a simple query")
def _(peer):
    peer.send(parse("SELECT 'unnamed'"), SYNC, bind(), execute(), SYNC, query("SELECT 1"), bind(), execute(), SYNC)
    peer.ready(4)


@case("a simple query before the Sync of a batch")
def _(peer):
    peer.send(parse("SELECT 1"), bind(), execute(), query("SELECT 2"), SYNC)
    peer.ready(2)


@case("DEALLOCATE ALL and DISCARD ALL forget statements, by either protocol")
def _(peer):
    for sql in ("DEALLOCATE ALL", "DISCARD ALL"):
        peer.send(parse("SELECT 1", "s"), SYNC, query(sql), bind(statement="s"), execute(), SYNC)
        peer.ready(3)
        peer.send(parse("SELECT 1", "s"), SYNC, parse(sql), bind(), execute(), SYNC, bind(statement="s"), SYNC)
        peer.ready(3)


@case("SQL PREPARE, EXECUTE and a cursor WITH HOLD keep their session")
def _(peer):
    for sql in ("PREPARE p AS SELECT $1::int", "EXECUTE p(5)", "BEGIN",
                "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 4)", "COMMIT", "FETCH 2 FROM c",
                "FETCH ALL FROM c", "CLOSE c", "DEALLOCATE p"):
        peer.send(query(sql))
        peer.ready()


@case("wrong numbers of parameters, unknown types, malformed values")
def _(peer):
    peer.send(parse("SELECT $1::int"), bind(()), SYNC, bind(("x",)), SYNC, bind(("1", "2")), SYNC,
              parse("SELECT $1", types=(99999999,)), SYNC)
    peer.ready(4)


@case("messages whose fields are malformed are the server's to judge")
def _(peer):
    peer.send(message("D", b"X" + text("s")), SYNC)
    peer.ready()
    peer.send(message("B", b"no terminator"), SYNC)
    peer.ready()
    peer.send(message("E", text("")), SYNC)
    peer.ready()
    peer.send(message("Q", b"SELECT 1\0surplus\0"))
    peer.ready()
    peer.send(message("Q", b"SELECT 1"))
    peer.ready()


@case("FunctionCall")
def _(peer):
    peer.send(function_call(177, (struct.pack(">i", 20), struct.pack(">i", 22))))  # int4pl
    peer.ready()
    peer.send(function_call(154, (struct.pack(">i", 1), struct.pack(">i", 0))))  # int4div by zero
    peer.ready()
    peer.send(function_call(99999999, ()))
    peer.ready()


@case("CopyData, CopyDone and CopyFail outside COPY are ignored")
def _(peer):
    peer.send(copy_data(b"stray"), COPY_DONE, copy_fail("stray"), query("SELECT 1"))
    peer.ready()


@case("Terminate ends the connection", probe=False)
def _(peer):
    peer.send(TERMINATE)
    peer.end()


@case("Terminate behind a query: the query is answered first", probe=False)
def _(peer):
    peer.send(query("SELECT 1"), TERMINATE)
    peer.end()


@case("a client that half-closes gets the answers to what it sent", probe=False)
def _(peer):
    peer.send(query("SELECT 1"), query("SELECT 2"))
    peer.end_of_input()
    peer.end()


@case("an unknown message type is fatal", probe=False, own_place=True)
def _(peer):
    peer.send(message("!"))
    peer.end()


@case("an unknown message type is fatal before its length is read", probe=False, own_place=True)
def _(peer):
    peer.send(b"!\x7f")
    peer.end()


@case("a length below four ends the connection", probe=False, explains=True)
def _(peer):
    peer.send(b"Q\0\0\0\3")
    peer.end()


@case("a negative length ends the connection", probe=False, explains=True)
def _(peer):
    peer.send(b"Q\xff\xff\xff\xff")
    peer.end()


@case("a password message after log-in is fatal", probe=False, own_place=True)
def _(peer):
    peer.send(message("p", text("secret")))
    peer.end()


@case("notices come in their place")
def _(peer):
    peer.send(query("SELECT 1; DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'h'; END $$; "
                    "DROP TABLE IF EXISTS no_such_table; SELECT 2"))
    peer.ready()
    peer.send(parse("DO $$ BEGIN RAISE NOTICE 'three'; END $$"), bind(), execute(), SYNC)
    peer.ready()


@case("settings that change are reported, also by ROLLBACK")
def _(peer):
    for sql in ("SET application_name = 'a'", "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL'", "BEGIN",
                "SET TimeZone = 'UTC'; SET client_encoding = 'LATIN1'", "ROLLBACK", "RESET ALL",
                "SELECT set_config('application_name', 'b', false)", "SET LOCAL TimeZone = 'UTC'"):
        peer.send(query(sql))
        peer.ready()


@case("a session hears its own notifications")
def _(peer):
    for sql in ("LISTEN wire_script", "NOTIFY wire_script, 'payload'", "BEGIN", "NOTIFY wire_script, 'later'",
                "COMMIT", "UNLISTEN *", "NOTIFY wire_script"):
        peer.send(query(sql))
        peer.ready()


@case("temporary tables, sequences and session state stay with the session")
def _(peer):
    for sql in ("CREATE TEMP SEQUENCE q; SELECT nextval('q')", "SELECT currval('q'), lastval()",
                "SET SESSION my.setting = 'x'", "SHOW my.setting", "SELECT pg_try_advisory_lock(7)",
                "SELECT pg_advisory_unlock(7), pg_advisory_unlock(7)"):
        peer.send(query(sql))
        peer.ready()


@case("errors of a server come with all their fields")
def _(peer):
    for sql in ("CREATE TEMP TABLE t (a int PRIMARY KEY, b int NOT NULL CHECK (b > 0))",
                "INSERT INTO t VALUES (1, 1), (1, 1)", "INSERT INTO t VALUES (1, NULL)",
                "INSERT INTO t VALUES (1, -1)", "SELECT * FROM t WHERE x = 1", "SELECT 'a'::int"):
        peer.send(query(sql))
        peer.ready()
    peer.send(parse("SELECT * FORM t", "s"), SYNC)
    peer.ready()


@case("a server that ends the connection is heard to the end", probe=False)
def _(peer):
    peer.send(query("SELECT pg_terminate_backend(pg_backend_pid())"))
    peer.end()


@case("statement_timeout and a cancelled statement leave the connection usable")
def _(peer):
    peer.send(query("SET statement_timeout = 50"), query("SELECT pg_sleep(30)"), query("SELECT 1"))
    peer.ready(3)
