"""Cancel requests, and clients that leave (checklist 1e, 1f)."""

import struct
import time

from .case import case
from .messages import FLUSH, SYNC, TERMINATE, bind, execute, parse, query


def value(peer, sql):
    """The first value of a query on a connection of its own."""
    other = peer.another()
    try:
        other.start()
        other.send(query(sql))
        row = other.until("D")
        return row[1][6:].decode() if row else None
    finally:
        other.close()


def until_value(peer, sql, wanted, limit=20.0):
    """Asks until the answer is `wanted`; notes the last answer."""
    deadline = time.monotonic() + limit
    found = value(peer, sql)
    while found != wanted and time.monotonic() < deadline:
        found = value(peer, sql)
    peer.transcript.append(f"{sql}: {found}")


def fresh_table(peer, name):
    peer.send(query(f"SET client_min_messages = warning; DROP TABLE IF EXISTS {name}; "
                    f"CREATE TABLE {name} (a int)"))
    peer.ready()


def running(peer, mark):
    """Waits until the statement with this mark runs on the server."""
    until_value(peer, "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                      f"state = 'active' AND query LIKE '%{mark}%' AND query NOT LIKE '%pg_stat%'", "1")


@case("a cancel request ends the statement that runs, and the connection goes on")
def _(peer):
    peer.send(query("SELECT pg_sleep(60) /* cancelled one */"))
    running(peer, "cancelled one")
    peer.cancel()
    peer.ready()


@case("a cancel request with another secret does nothing")
def _(peer):
    peer.send(query("SELECT pg_sleep(0.3) /* not cancelled */"))
    running(peer, "not cancelled")
    peer.cancel((peer.key[0], peer.key[1] ^ 1))
    peer.ready()


@case("a cancel request for an idle client does nothing, now and later")
def _(peer):
    peer.cancel()
    peer.send(query("SELECT 1"), query("SELECT 2"))
    peer.ready(2)


@case("a cancel request ends one step of a pipeline; the next batch runs")
def _(peer):
    peer.send(parse("SELECT 1 FROM pg_sleep(60) /* step one */"), bind(), execute(), parse("SELECT 2"), bind(),
              execute(), SYNC, parse("SELECT 3"), bind(), execute(), SYNC)
    running(peer, "step one")
    peer.cancel()
    peer.ready(2)


@case("a cancel request inside a transaction fails the transaction")
def _(peer):
    peer.send(query("BEGIN"), query("SELECT pg_sleep(60) /* inside */"))
    peer.ready()
    running(peer, "inside")
    peer.cancel()
    peer.ready()
    peer.send(query("SELECT 1"), query("ROLLBACK"))
    peer.ready(2)


@case("a write followed by Terminate is not undone", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_left")
    peer.send(query("INSERT INTO wire_script_left SELECT 1 FROM pg_sleep(0.3)"), TERMINATE)
    peer.close()
    until_value(peer, "SELECT count(*) FROM wire_script_left", "1")


@case("an open transaction is rolled back when its client leaves", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_open")
    peer.send(query("BEGIN; LOCK TABLE wire_script_open; INSERT INTO wire_script_open VALUES (1)"))
    peer.ready()
    peer.close()
    until_value(peer, "SELECT count(*) FROM wire_script_open", "0")  # Waits for the lock.


@case("a batch that was never ended with Sync is rolled back when its client leaves", probe=False)
def _(peer):
    fresh_table(peer, "wire_script_batch")
    peer.send(parse("INSERT INTO wire_script_batch VALUES (1)"), bind(), execute(), FLUSH)
    peer.until("C")
    peer.close()
    until_value(peer, "SELECT count(*) FROM wire_script_batch", "0")


@case("the process id of the key is the server's own, also in notifications", own_server=True)
def _(peer):
    peer.send(query("LISTEN own_process"), query("NOTIFY own_process"), query("SELECT pg_backend_pid()"))
    for wanted in ("A", "D"):
        kind, body = peer.until(wanted)
        found = struct.unpack_from(">I", body)[0] if kind == "A" else int(body[6:])
        peer.transcript[-1] = f"{kind} names {'our' if found == peer.key[0] else 'another'} process"
    peer.ready()
