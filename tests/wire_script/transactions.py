"""Transactions, settings and what else a session holds (checklist 1g)."""

from .case import case
from .messages import SYNC, bind, execute, parse, query


def each(peer, *statements):
    for sql in statements:
        peer.send(query(sql))
        peer.ready()


@case("SET in transactions and savepoints, undone and kept")
def _(peer):
    each(peer, "BEGIN; SET TimeZone = 'Asia/Tokyo'; SAVEPOINT a", "SET TimeZone = 'UTC'; SET work_mem = '9MB'",
         "ROLLBACK TO a", "SHOW TimeZone", "SHOW work_mem", "COMMIT", "SHOW TimeZone",
         "BEGIN; SET LOCAL TimeZone = 'UTC'; SET LOCAL search_path = pg_catalog", "COMMIT", "SHOW TimeZone",
         "SHOW search_path", "SET search_path = pg_catalog; SELECT 1/0", "SHOW search_path", "RESET TimeZone",
         "SET DateStyle TO DEFAULT", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
         "CREATE TEMP TABLE t ()", "CREATE TABLE wire_script_never ()", "SET default_transaction_read_only = off")


@case("roles: SET ROLE, SET SESSION AUTHORIZATION, and back")
def _(peer):
    each(peer, "SET ROLE app", "SELECT current_user, session_user", "SET ROLE none", "SET ROLE postgres",
         "SET SESSION AUTHORIZATION app", "RESET SESSION AUTHORIZATION", "BEGIN; SET LOCAL ROLE app", "ROLLBACK",
         "SELECT current_setting('role')")


@case("isolation levels, read only, deferrable, and the errors of SET TRANSACTION")
def _(peer):
    each(peer, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SHOW transaction_isolation",
         "SET TRANSACTION READ WRITE", "ROLLBACK", "SET TRANSACTION READ ONLY", "COMMIT", "START TRANSACTION", "BEGIN",
         "END", "ABORT", "SELECT pg_export_snapshot() IS NOT NULL")


@case("AND CHAIN, savepoints, and their errors")
def _(peer):
    each(peer, "BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT AND CHAIN", "SHOW transaction_isolation",
         "SELECT 1/0", "ROLLBACK AND CHAIN", "SHOW transaction_isolation", "SAVEPOINT a; RELEASE a", "RELEASE a",
         "ROLLBACK", "COMMIT AND CHAIN", "SAVEPOINT a")


@case("two-phase commit")
def _(peer):
    each(peer, "CREATE TABLE wire_script_2pc (a int)", "BEGIN; INSERT INTO wire_script_2pc VALUES (1)",
         "PREPARE TRANSACTION 'wire script'", "SELECT count(*) FROM wire_script_2pc", "BEGIN; SELECT 1/0",
         "PREPARE TRANSACTION 'failed'", "COMMIT PREPARED 'failed'", "COMMIT PREPARED 'wire script'",
         "SELECT count(*) FROM wire_script_2pc", "DROP TABLE wire_script_2pc")


@case("procedures and blocks that commit, and functions that raise")
def _(peer):
    each(peer, "CREATE TEMP TABLE t (a int)",
         "CREATE PROCEDURE pg_temp.p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); COMMIT; "
         "INSERT INTO t VALUES (2); ROLLBACK; RAISE NOTICE 'still here'; END $$",
         "CALL pg_temp.p()", "SELECT * FROM t", "BEGIN; CALL pg_temp.p()", "ROLLBACK",
         "DO $$ BEGIN INSERT INTO t VALUES (3); COMMIT; RAISE EXCEPTION 'after the commit' USING ERRCODE = 'P7777', "
         "DETAIL = 'd', HINT = 'h', TABLE = 't', COLUMN = 'c', CONSTRAINT = 'k', SCHEMA = 's', DATATYPE = 'y'; END $$",
         "SELECT * FROM t")


@case("strings that end a statement only where the server says so")
def _(peer):
    each(peer, "SET standard_conforming_strings = off", r"SELECT 'it\'s; BEGIN; --'", r"SELECT E'a\'; COMMIT'",
         "SET standard_conforming_strings = on", r"SELECT 'a\'; SELECT 'b'", "SELECT $a$; BEGIN; $b$ $a$",
         'SELECT 1 AS "; BEGIN;"', "/* ; BEGIN /* nested */ ; */ SELECT 1", "SELECT U&'\\0041;BEGIN'",
         "CREATE FUNCTION pg_temp.f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "SELECT pg_temp.f()")


@case("texts in other encodings, and bytes that are none")
def _(peer):
    each(peer, b"SELECT length('\xc3\xa9')", b"SELECT '\xff'", "SET client_encoding = 'LATIN1'",
         b"SELECT length('\xe9'), '\xe9'", "SET client_encoding = 'SJIS'", b"SELECT '\x83\x5c', length('\x83\x5c;--')",
         "SELECT 'é' COLLATE \"C\"", "SET client_encoding = 'none such'", "RESET client_encoding")


@case("what is session-wide stays, and DISCARD takes it away")
def _(peer):
    each(peer, "CREATE TEMP TABLE t (a int); CREATE TEMP SEQUENCE q; SELECT nextval('q')", "LISTEN wire_script_discard",
         "PREPARE p AS SELECT 1", "SET work_mem = '7MB'; SELECT pg_advisory_lock(77)",
         "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DISCARD PLANS", "DISCARD SEQUENCES", "SELECT lastval()",
         "DISCARD TEMP", "SELECT * FROM t", "BEGIN; DISCARD ALL", "ROLLBACK", "DISCARD ALL", "EXECUTE p",
         "SHOW work_mem", "FETCH c", "SELECT pg_advisory_unlock(77)", "SELECT count(*) FROM pg_listening_channels()")


@case("transaction-level things end with the transaction")
def _(peer):
    each(peer, "BEGIN; SELECT pg_advisory_xact_lock(78); CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a",
         "DECLARE c CURSOR FOR SELECT 1", "SET CONSTRAINTS ALL DEFERRED", "COMMIT", "FETCH c", "SELECT * FROM t",
         "SELECT pg_advisory_unlock(78)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")


@case("large objects by SQL in a transaction")
def _(peer):
    each(peer, "BEGIN; SELECT lo_create(424242)", "SELECT loread(lo_open(424242, 393216), 10), lowrite(0, 'bytes')",
         "SELECT lo_lseek(0, 0, 0), loread(0, 10)", "ROLLBACK", "SELECT lo_open(424242, 262144)")


@case("a statement that is in one message with BEGIN and one with COMMIT, by both protocols in turn")
def _(peer):
    peer.send(query("BEGIN; CREATE TEMP TABLE t (a int)"), parse("INSERT INTO t VALUES ($1)", "s"), bind(("1",), "s"),
              execute(), SYNC, query("INSERT INTO t VALUES (2); COMMIT; BEGIN; INSERT INTO t VALUES (3)"),
              parse("ROLLBACK"), bind(), execute(), SYNC, query("SELECT * FROM t"))
    peer.ready(5)
