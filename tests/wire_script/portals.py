"""Statements and portals in unusual orders (checklist 1c)."""

import struct

from .case import case
from .messages import (FLUSH, SYNC, bind, close_portal, close_statement, describe_portal, describe_statement,
                       execute, message, parse, query, text)


@case("a statement whose table changes shape fails as the server fails it, and can be prepared again")
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int)"), parse("SELECT * FROM t", "s"), SYNC, bind(statement="s"),
              execute(), SYNC, query("ALTER TABLE t ADD b int"), bind(statement="s"), execute(), SYNC,
              close_statement("s"), parse("SELECT * FROM t", "s"), bind(statement="s"), describe_portal(),
              execute(), SYNC)
    peer.ready(6)


@case("portals that take turns, each with its own row limit")
def _(peer):
    peer.send(query("BEGIN"), parse("SELECT generate_series($1::int, 99)", "s"), bind(("1",), "s", "one"),
              bind(("11",), "s", "two"), describe_portal("one"), execute("one", 2), execute("two", 3),
              execute("one", 1), FLUSH)
    peer.until("s", 3)
    peer.send(close_portal("one"), execute("two", 1), describe_portal("two"), execute("one", 1), SYNC, query("COMMIT"))
    peer.ready(2)


@case("a portal is described before and after it ran, closed twice, and run when it is done")
def _(peer):
    peer.send(parse("SELECT 1 AS a"), bind(portal="p"), describe_portal("p"), execute("p"), describe_portal("p"),
              execute("p"), close_portal("p"), close_portal("p"), SYNC)
    peer.ready()
    peer.send(parse("INSERT INTO pg_temp.t SELECT 1"), SYNC, query("CREATE TEMP TABLE t (a int)"),
              parse("INSERT INTO t SELECT 1"), bind(portal="p"), execute("p"), execute("p"), SYNC)
    peer.ready(3)


@case("a portal outlives Sync in a transaction, and a cursor of SQL is a portal too")
def _(peer):
    peer.send(query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 9)"), describe_portal("c"),
              execute("c", 2), SYNC, query("FETCH 2 FROM c"), execute("c", 2), SYNC, query("MOVE BACKWARD 1 FROM c"),
              query("FETCH BACKWARD ALL FROM c"), close_portal("c"), SYNC, query("FETCH 1 FROM c"), query("ROLLBACK"))
    peer.ready(8)


@case("a Bind of a name in use, and Bind again to the unnamed portal")
def _(peer):
    peer.send(query("BEGIN"), parse("SELECT $1::text", "s"), bind(("a",), "s", "p"), bind(("b",), "s"),
              bind(("c",), "s"), execute(), bind(("d",), "s", "p"), execute("p"), SYNC, query("ROLLBACK"))
    peer.ready(3)


@case("Sync alone, five times, and Flush alone")
def _(peer):
    peer.send(SYNC * 5, FLUSH, FLUSH, SYNC)
    peer.ready(6)


@case("an error, then Flush: the client waits for the error before it sends Sync")
def _(peer):
    peer.send(parse("SELECT 1/0"), bind(), execute(), FLUSH)
    peer.until("E")
    peer.send(parse("SELECT 1"), bind(), execute(), FLUSH, query("SELECT 'skipped too'"), SYNC, query("SELECT 2"))
    peer.ready(2)


@case("Parse and Describe in one batch, Bind and Execute in another, the statement unnamed")
def _(peer):
    for turn in range(3):
        peer.send(parse(f"SELECT $1::int + {turn}"), describe_statement(), SYNC)
        peer.ready()
        peer.send(bind(("1",)), execute(), SYNC)
        peer.ready()


@case("statements and portals with names of 9 kB")
def _(peer):
    long = "n" * 9_000  # Execute and Close take 10,000 bytes.
    peer.send(parse("SELECT 1", long), bind(statement=long, portal=long), describe_statement(long),
              describe_portal(long), execute(long), close_portal(long), close_statement(long), SYNC)
    peer.ready()


@case("binary parameters, NULLs, and the most columns and parameters that there may be", bulk=True)
def _(peer):
    body = text("") + text("") + struct.pack(">HHHH", 1, 1, 2, 0)[:6]
    body += struct.pack(">iiI", 4, 7, 0xFFFFFFFF) + struct.pack(">HH", 1, 1)
    peer.send(parse("SELECT $1::int, $2::int"), message("B", body), describe_portal(), execute(), SYNC)
    peer.ready()
    many = 65_535
    peer.send(parse("SELECT count(*) FROM (VALUES " + ", ".join(f"(${n}::int)" for n in range(1, many + 1)) + ") v"),
              bind(tuple("1" for _ in range(many))), execute(), SYNC)
    peer.ready()
    peer.send(query("SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1664))))
    peer.ready()


@case("an empty statement, a comment, a utility command and rows returned by a write, each by extended query")
def _(peer):
    for sql in ("", "-- nothing", "CREATE TEMP TABLE t (a int)", "INSERT INTO t VALUES (1), (2) RETURNING a",
                "UPDATE t SET a = a + 1", "DELETE FROM t", "SHOW server_encoding", "EXPLAIN (COSTS off) SELECT 1",
                "VALUES (1), (2)", "BEGIN", "SAVEPOINT s", "ROLLBACK TO s", "COMMIT", "SELECT 1; SELECT 2"):
        peer.send(parse(sql), describe_statement(), bind(), describe_portal(), execute(), SYNC)
        peer.ready()


@case("a failed transaction takes only what ends it, by extended query too")
def _(peer):
    peer.send(parse("SELECT 1", "before"), SYNC, query("BEGIN"), parse("SELECT 1/0"), bind(), execute(), SYNC,
              bind(statement="before"), execute(), SYNC, parse("SELECT 1", "s"), SYNC, close_statement("before"), SYNC,
              parse("ROLLBACK"), bind(), execute(), SYNC, bind(statement="before"), SYNC)
    peer.ready(8)


@case("what fails only at COMMIT, in a string, in a transaction and at Sync")
def _(peer):
    peer.send(query("CREATE TEMP TABLE p (a int PRIMARY KEY); CREATE TEMP TABLE c (a int REFERENCES p "
                    "DEFERRABLE INITIALLY DEFERRED)"), query("INSERT INTO c VALUES (1)"),
              query("BEGIN; INSERT INTO c VALUES (1)"), query("COMMIT"),
              parse("INSERT INTO c VALUES (2)"), bind(), execute(), SYNC,
              query("BEGIN"), parse("INSERT INTO c VALUES (3)"), bind(), execute(), parse("COMMIT"), bind(), execute(),
              SYNC, query("SELECT count(*) FROM c"))
    peer.ready(8)


@case("a pipeline of transactions, one failing, each with its own Sync")
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int PRIMARY KEY)"))
    for n in (1, 2, 1, 3):
        for sql in ("BEGIN", f"INSERT INTO t VALUES ({n})", "COMMIT"):
            peer.send(parse(sql), bind(), execute(), SYNC)
    peer.send(query("SELECT * FROM t"))
    peer.ready(14)


@case("a pipeline of transactions without a Sync between them")
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int)"))
    for sql in ("BEGIN", "INSERT INTO t VALUES (1)", "COMMIT", "INSERT INTO t VALUES (2)", "BEGIN",
                "INSERT INTO t VALUES (3)", "ROLLBACK", "INSERT INTO t VALUES (4)", "SELECT 1/0", "INSERT INTO t VALUES (5)"):
        peer.send(parse(sql), bind(), execute())
    peer.send(SYNC, query("SELECT * FROM t"))
    peer.ready(3)


@case("a Parse of a name that is taken is analysed first, however long it is, and refused last")
def _(peer):
    use = bind(statement="s") + execute() + SYNC
    peer.send(parse("SELECT 'first'", "s"), SYNC)
    peer.ready()
    for sql in ("SELECT 2", "SELEC", "SELECT no_such_column", "", "SELECT 1; SELECT 2", "DEALLOCATE s",
                "SELECT /*" + "x" * 70_000 + "*/ 3", "SELEC /*" + "x" * 70_000 + "*/ 3"):
        peer.send(parse(sql, "s"), SYNC, use)
        peer.ready(2)
    peer.send(query("BEGIN"), query("SELECT 1/0"))
    peer.ready(2)
    for sql in ("SELECT 2", "SELECT /*" + "x" * 70_000 + "*/ 3", "SELEC", "ROLLBACK"):
        peer.send(parse(sql, "s"), SYNC)
        peer.ready()
    peer.send(query("ROLLBACK"), parse("SELECT 'one'", "t") + parse("SELECT 'two'", "t") + SYNC, use)
    peer.ready(3)
    peer.send(parse("SELECT 'late'", "u"), describe_statement("none"), parse("SELECT 5", "s"), SYNC, use,
              close_statement("s"), parse("SELECT 6", "s"), use)
    peer.ready(3)


@case("names of statements and portals beyond 63 bytes: the server goes by the first 63")
def _(peer):
    name = "n" * 63
    peer.send(parse("SELECT 1", name + "one"), bind(statement=name + "two", portal=name + "three"), execute(name + "four"), SYNC)
    peer.ready()
    peer.send(parse("SELECT 2", name + "two"), SYNC)
    peer.ready()
    peer.send(close_statement(name + "five"), bind(statement=name + "one"), SYNC)
    peer.ready()
