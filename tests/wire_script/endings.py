"""Clients and servers that end in the middle of something (checklist 1d, 1e)."""

from .case import case
from .copying import COUNT, TABLE, begin
from .leaving import fresh_table, running, until_value
from .messages import COPY_DONE, FLUSH, SYNC, bind, copy_data, copy_fail, execute, parse, query
from .unasked import elsewhere, own_pid

OTHERS = ("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user "
          "AND application_name LIKE 'ending %'")


def named(peer, name):
    """A log-in under a name of its own, for the question who is still there."""
    peer.start(("application_name", f"ending {name}"))
    return peer


@case("an idle client that disappears frees its server process", login=False, probe=False)
def _(peer):
    named(peer, "idle").close()
    until_value(peer, OTHERS, "0")


@case("a client that disappears in a failed transaction frees its server process", login=False, probe=False)
def _(peer):
    named(peer, "failed").send(query("BEGIN"), query("SELECT 1/0"))
    peer.ready(2)
    peer.close()
    until_value(peer, OTHERS, "0")


@case("a client that disappears while its pipeline is answered frees its server process", login=False, probe=False)
def _(peer):
    named(peer, "pipeline").send(*(query("SELECT repeat('x', 100000)") for _ in range(30)))
    peer.ready()
    peer.close()
    until_value(peer, OTHERS, "0")


@case("half-close within a transaction rolls it back", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_half")
    peer.send(query("BEGIN"), query("INSERT INTO wire_script_half VALUES (1)"), query("SELECT 'answered'"))
    peer.end_of_input()
    peer.end()
    until_value(peer, "SELECT count(*) FROM wire_script_half", "0")


@case("half-close behind a batch without its Sync", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_half_batch")
    peer.send(parse("INSERT INTO wire_script_half_batch VALUES (1)"), bind(), execute(), FLUSH)
    peer.end_of_input()
    peer.end()
    until_value(peer, "SELECT count(*) FROM wire_script_half_batch", "0")


@case("half-close within COPY in leaves nothing", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_half_copy")
    peer.send(query("COPY wire_script_half_copy FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"1\n"))
    peer.end_of_input()
    peer.end()
    until_value(peer, "SELECT count(*) FROM wire_script_half_copy", "0")


@case("half-close within a message", probe=False)
def _(peer):
    peer.send(query("SELECT 'whole'"), query("SELECT 'cut'")[:-4])
    peer.end_of_input()
    peer.end()


@case("half-close while a statement runs: it ends, and the answer comes", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_half_slow")
    peer.send(query("INSERT INTO wire_script_half_slow SELECT 1 FROM pg_sleep(0.3) RETURNING a"))
    peer.end_of_input()
    peer.end()
    until_value(peer, "SELECT count(*) FROM wire_script_half_slow", "1")


@case("a server process that is ended in the middle of COPY in says so once", probe=False)
def _(peer):
    pid = own_pid(peer)
    begin(peer)
    # The message counts lines: it must be waiting for the first.
    until_value(peer, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'COPY t FROM STDIN' "
                "AND wait_event = 'ClientRead'", "1")
    elsewhere(peer, f"SELECT pg_terminate_backend({pid})")
    peer.end()


@case("a server process that is ended in the middle of COPY out says so once", probe=False)
def _(peer):
    pid = own_pid(peer)
    peer.send(query("COPY (SELECT 1 FROM generate_series(1, 10), pg_sleep(60) /* ended copy */) TO STDOUT"))
    running(peer, "ended copy")
    elsewhere(peer, f"SELECT pg_terminate_backend({pid})")
    peer.end()


@case("COPY in that fails at its end: a constraint, a missing column, the last line cut")
def _(peer):
    begin(peer, "COPY t FROM STDIN; SELECT 'not reached'")
    peer.send(copy_data(b"1\tone\n2\n"), COPY_DONE)
    peer.ready()
    peer.send(query("ALTER TABLE t ADD UNIQUE (a)"), query("COPY t FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"1\tone\n1\tagain\n"), COPY_DONE, COUNT)
    peer.ready(2)
    peer.send(query("COPY t FROM STDIN (FORMAT csv)"))
    peer.until("G")
    peer.send(copy_data(b'1,"never closed\n'), COPY_DONE, query("COPY t FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"5\tno newline at the end"), COPY_DONE, COUNT)
    peer.ready(2)


@case("CopyFail without a reason, and CopyFail between other steps of a batch")
def _(peer):
    begin(peer)
    peer.send(copy_fail(""), parse("SELECT 1"), bind(), execute(), parse("COPY t FROM STDIN"), bind(), execute(), FLUSH)
    peer.until("G")
    peer.send(copy_fail("reason " * 1000), parse("SELECT 'skipped'"), bind(), execute(), SYNC, COUNT)
    peer.ready(2)


@case("the first of several COPYs fails: the data of the others is dropped")
def _(peer):
    peer.send(TABLE, query("COPY t FROM STDIN; COPY t FROM STDIN; SELECT 'not reached'"))
    peer.until("G")
    peer.send(copy_data(b"wrong\n"), COPY_DONE, copy_data(b"1\tone\n"), COPY_DONE, COUNT)
    peer.ready(2)


@case("two COPYs in one batch, each with its data")
def _(peer):
    peer.send(TABLE, parse("COPY t FROM STDIN", "s"), bind(statement="s", portal="a"), execute("a"), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n"), COPY_DONE, bind(statement="s", portal="b"), execute("b"), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"2\ttwo\n"), COPY_DONE, SYNC, COUNT)
    peer.ready(2)


@case("COPY in by a portal with a row limit, run twice")
def _(peer):
    peer.send(query("BEGIN"), TABLE, parse("COPY t FROM STDIN"), bind(portal="p"), execute("p", 1), FLUSH)
    peer.until("G")
    peer.send(copy_data(b"1\tone\n2\ttwo\n"), COPY_DONE, execute("p"), SYNC, query("ROLLBACK"))
    peer.ready(2)
