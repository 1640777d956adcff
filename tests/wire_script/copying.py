"""COPY (checklist 1d)."""

from .case import case
from .leaving import fresh_table, until_value
from .messages import COPY_DONE, FLUSH, SYNC, bind, copy_data, copy_fail, describe_portal, execute, message, parse, query

TABLE = query("CREATE TEMP TABLE t (a int, b text)")
COUNT = query("SELECT count(*), sum(a) FROM t")


def begin(peer, copy="COPY t FROM STDIN"):
    peer.send(TABLE, query(copy))
    peer.until("G")


@case("COPY in")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"), copy_data(b"2\ttwo\n"), COPY_DONE, COUNT)
    peer.ready(2)


@case("COPY in with rows that are cut anywhere")
def _(peer):
    begin(peer)
    rows = b"1\tone\n2\ttwo\n3\tthree\n"
    peer.send(*(copy_data(rows[i:i + 3]) for i in range(0, len(rows), 3)), copy_data(b""), COPY_DONE, COUNT)
    peer.ready(2)


@case("COPY in that the client gives up")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"), copy_fail("no more"), COUNT)
    peer.ready(2)


@case("COPY in that the server refuses in the middle; the rest of the data is dropped")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"x\tone\n"))
    peer.until("E")
    peer.send(*(copy_data(b"2\ttwo\n") for _ in range(20)), COPY_DONE, COUNT)
    peer.ready(2)


@case("COPY in that the server refuses while data is under way")
def _(peer):
    begin(peer)
    peer.send(*(copy_data(b"x\tone\n") for _ in range(500)), copy_fail("seen too late"), COUNT)
    peer.ready(2)


@case("COPY in all in one go, before the server asks for data")
def _(peer):
    peer.send(TABLE, query("COPY t FROM STDIN"), copy_data(b"1\tone\n"), COPY_DONE, COUNT)
    peer.ready(3)


@case("COPY in to a table that does not exist, data sent blindly")
def _(peer):
    peer.send(query("COPY no_such_table FROM STDIN"), copy_data(b"1\tone\n"), COPY_DONE, query("SELECT 1"))
    peer.ready(2)


@case("Flush and Sync inside COPY in are ignored")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"), SYNC, FLUSH, copy_data(b"2\ttwo\n"), SYNC, COPY_DONE, COUNT)
    peer.ready(2)


@case("COPY in by extended query, Sync after its end")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN"), bind(), describe_portal(), execute(), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), COPY_DONE, SYNC, COUNT)
    peer.ready(2)


@case("COPY in by extended query, Sync before and after the data")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN"), bind(), execute(), SYNC)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), COPY_DONE, SYNC, COUNT)
    peer.ready(2)


@case("COPY in by extended query that the client gives up")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN"), bind(), execute(), SYNC)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), copy_fail("no more"), SYNC, COUNT)
    peer.ready(2)


@case("COPY in by extended query that the server refuses; what follows is skipped up to Sync")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN"), bind(), execute(), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"x\n"))
    peer.until("E")
    peer.send(copy_data(b"2\ttwo\n"), COPY_DONE, parse("SELECT 1"), bind(), execute(), SYNC, COUNT)
    peer.ready(2)


@case("another message inside COPY in is fatal", probe=False)
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"), query("SELECT 1"))
    peer.end()


@case("COPY in within a transaction, failed and rolled back")
def _(peer):
    peer.send(TABLE, query("BEGIN"), query("COPY t FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), copy_fail("no"), query("SELECT 1"), query("ROLLBACK"), COUNT)
    peer.ready(4)


@case("COPY out")
def _(peer):
    peer.send(query("COPY (SELECT i, repeat('x', i) FROM generate_series(1, 20) i) TO STDOUT"))
    peer.ready()
    peer.send(query("COPY (SELECT 1) TO STDOUT (FORMAT binary)"))
    peer.ready()
    peer.send(parse("COPY (SELECT 1, NULL) TO STDOUT (FORMAT csv)"), bind(), describe_portal(), execute(), SYNC)
    peer.ready()


@case("COPY out that fails in the middle")
def _(peer):
    peer.send(query("COPY (SELECT 1 / (5 - i) FROM generate_series(1, 9) i) TO STDOUT"))
    peer.ready()


@case("several COPYs in one string, in and out")
def _(peer):
    peer.send(TABLE, query("COPY t FROM STDIN; COPY t TO STDOUT; COPY t FROM STDIN; SELECT count(*) FROM t"))
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), COPY_DONE)
    peer.until("G")
    peer.send(copy_data(b"2\ttwo\n"), COPY_DONE)
    peer.ready()


@case("a replication command on an ordinary connection is only a syntax error")
def _(peer):
    peer.send(query("START_REPLICATION 0/0"))
    peer.ready()


def long_copy_out(peer, mark):
    peer.send(query(f"COPY (SELECT generate_series(1, 100000000) /* {mark} */, repeat('x', 1000)) TO STDOUT"))
    peer.until("d")


def without_data(peer):
    """How many rows came before the end is chance."""
    peer.transcript = [line for line in peer.transcript if not line.startswith("d ")]


@case("COPY out that is cancelled in the middle")
def _(peer):
    long_copy_out(peer, "cancelled copy")
    peer.cancel()
    peer.ready()
    without_data(peer)


@case("COPY in that is cancelled while the server waits for data")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"))
    until_value(peer, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'COPY t FROM STDIN' "
                "AND wait_event = 'ClientRead'", "1")
    peer.cancel()  # Noticed at the next message, and not before.
    peer.send(copy_data(b"2\ttwo\n"), COPY_DONE, COUNT)
    peer.ready(2)


@case("a client that disappears in the middle of COPY out ends it", probe=False)
def _(peer):
    long_copy_out(peer, "deserted copy")
    peer.close()
    until_value(peer, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%deserted copy%' "
                "AND query NOT LIKE '%pg_stat%'", "0")
    without_data(peer)


@case("a client that disappears in the middle of COPY in leaves nothing", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_copy")
    peer.send(query("COPY wire_script_copy FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"1\n2\n"))
    peer.close()
    until_value(peer, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY wire_script_copy%'", "0")
    until_value(peer, "SELECT count(*) FROM wire_script_copy", "0")


@case("COPY in within an open batch: what comes behind it in the same batch runs")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN"), bind(), execute(), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), COPY_DONE, parse("SELECT count(*) FROM t"), bind(), execute(),
              parse("SELECT 1/0"), bind(), execute(), SYNC, COUNT)
    peer.ready(2)


@case("binary COPY in with a wrong header, a cut row, and a good one")
def _(peer):
    good = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\2" + b"\0\0\0\4" + b"\0\0\0\7" + b"\xff\xff\xff\xff"
    for data in (b"nonsense that is no header", good[:-2], good + b"\xff\xff"):
        peer.send(query("CREATE TEMP TABLE IF NOT EXISTS t (a int, b text); COPY t FROM STDIN (FORMAT binary)"))
        peer.until("G")
        peer.send(copy_data(data), COPY_DONE, COUNT)
        peer.ready(2)


@case("CopyDone and CopyFail once too often")
def _(peer):
    begin(peer)
    peer.send(copy_data(b"1\tone\n"), COPY_DONE, COPY_DONE, copy_fail("too late"), copy_data(b"late"), COUNT)
    peer.ready(2)


@case("a message that nobody knows inside a COPY in ends the connection", probe=False, own_place=True)
def _(peer):
    peer.send(TABLE, query("COPY t FROM STDIN"), copy_data(b"1\tone\n"), message("z", b"?"))
    peer.end()
