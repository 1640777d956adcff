"""From a seed: clients that prepare, use, close and deallocate in any order, in and outside of transactions,
batch by batch. Played by as many at a server directly, it must give the same messages.

One client at a time has a transaction open, so any number of servers behind pgjanus will do; DDL and pins are
for a pool of one server and of several: with one nobody may keep it, and with several a server that has not met
a statement before DDL parses it in its new shape, which is no error (proxy/session/README.md)."""

import random
import re

from . import messages as m
from .peer import Peer

TEXTS = ["SELECT 1", "SELECT $1::int + 1", "SELECT 2 AS b", "SELEC", "SELECT 1/0", "BEGIN", "COMMIT", "ROLLBACK",
         "SELECT * FROM {own}", "INSERT INTO {own} VALUES (7), (8)", "DELETE FROM {own} WHERE id = $1", "DEALLOCATE a",
         "DEALLOCATE b", "DEALLOCATE ALL", "SET work_mem = '5MB'", "SHOW work_mem", "SET LOCAL work_mem = '6MB'",
         "SET application_name = 'x'", "SHOW application_name", "DISCARD ALL", "SAVEPOINT s", "ROLLBACK TO s",
         "SELECT set_config('a.b', 'c', false)", "SELECT coalesce(current_setting('a.b', true), '')", "COPY {own} TO STDOUT", "",
         "SELECT 1; SELECT 2", "SELECT 'long" + "x" * 40_000 + "'", "SELEC 'long" + "x" * 40_000 + "'",
         "SET TimeZone = 'Asia/Tokyo'", "SELECT timestamptz '2020-01-01 00:00'",
         "RESET ALL", "TABLE shared"]
DDL = ["ALTER TABLE {own} ADD extra int", "ALTER TABLE {own} DROP extra", "DROP TABLE shared",
       "CREATE TABLE shared (a int)", "CREATE TABLE shared (a text, b int)",
       "DO 'BEGIN ALTER TABLE {own} ADD extra int; END'", "BEGIN; DROP TABLE shared; COMMIT"]
PINS = ["CREATE TEMP TABLE made (a int)", "DROP TABLE made", "TABLE made", "PREPARE q AS SELECT 'q'", "EXECUTE q",
        "DEALLOCATE q", "CREATE TEMP TABLE {own} (b text)", "DISCARD TEMP"]
NAMES = ["", "", "a", "a", "b", "c"]


def setup(server):
    """What the texts name, in database app."""
    server.script("DROP TABLE IF EXISTS own0, own1, own2, shared;" + "".join(
        f"CREATE TABLE own{number} (id int);" for number in range(3)) + "CREATE TABLE shared (a int)", "app", "app")


class Mismatch(AssertionError):
    """Says what was sent, and the first message that differs."""


class ServerDied(Exception):
    """What was sent has killed the server itself."""


def extended(r, texts, log):
    """One message of a batch."""
    kind, name = r.random(), r.choice(NAMES)
    portal = r.choice(["", "", "p"])
    if kind < 0.35:
        sql = r.choice(texts)
        if sql in ("DEALLOCATE ALL", "DISCARD ALL"):
            sql = "SELECT 1"  # What the same batch does behind it is not followed (proxy/session/README.md).
        if sql.startswith("DEALLOCATE") and sql != "DEALLOCATE ALL":
            name = ""  # A name inside a text that is itself prepared by name is not followed.
        log.append(("Parse", name, sql[:60]))
        return m.parse(sql, name)
    if kind < 0.6:
        values = r.choice([(), (), ("3",)])
        log.append(("Bind", name, values, portal))
        return m.bind(values, name, portal)
    if kind < 0.7:
        log.append(("Describe", name))
        return m.describe_statement(name)
    if kind < 0.85:
        limit = r.choice([0, 0, 1])
        log.append(("Execute", portal, limit))
        return m.execute(portal, limit)
    if kind < 0.92:
        log.append(("Close", name))
        return m.close_statement(name)
    if kind < 0.95:
        log.append("Flush")
        return m.FLUSH
    log.append(("Close portal", portal) if kind < 0.98 else ("Describe portal", portal))
    return m.close_portal(portal) if kind < 0.98 else m.describe_portal(portal)


def burst(r, texts, own, last):
    """Bytes of one to three batches, how many ReadyForQuery they bring, and what they are."""
    out, log, ready = [], [], 0
    for _ in range(r.randint(1, 3)):
        kind = r.random()
        if kind < 0.25:
            sql = r.choice(texts)
            out.append(m.query(sql))
            log.append(("Query", sql[:60]))
        elif kind < 0.28:
            out += [m.query(f"COPY {own} (id) FROM STDIN"), m.copy_data(r.choice([b"1\n2\n", b"no\n"])),
                    r.choice([m.COPY_DONE, m.copy_fail("no")])]
            log.append("COPY FROM STDIN")
        else:
            out += [extended(r, texts, log) for _ in range(r.randint(1, 7))] + [m.SYNC]
            log.append("Sync")
        ready += 1
    if last or r.random() < 0.6:
        out.append(m.query("ROLLBACK"))
        log.append("ROLLBACK")
        ready += 1
    return b"".join(out), ready, log


def play(seed, direct, proxied, login, also=()):
    """Plays this seed at both addresses; `also`: texts beside TEXTS, DDL or PINS. Raises Mismatch."""
    r = random.Random(seed)
    count = r.randint(2, 3)
    pairs = [[Peer(address, login) for address in (direct, proxied)] for _ in range(count)]
    history = []
    try:
        for one in (peer for pair in pairs for peer in pair):
            one.start()
            one.transcript.clear()
        for _ in range(14):
            number = r.randrange(count)
            texts = [sql.replace("{own}", f"own{number}") for sql in [*TEXTS, *also]]
            # To the end of its transaction.
            for turn in range(4):
                sent, ready, log = burst(r, texts, f"own{number}", turn == 3)
                cut = r.randrange(len(sent)) if r.random() < 0.3 else 0
                history.append((number, log))
                status = []
                for peer in pairs[number]:
                    try:
                        peer.send(sent[:cut])
                        peer.send(sent[cut:])
                        status.append(peer.ready(ready))
                    except AssertionError as error:  # It waited in vain.
                        raise Mismatch("\n".join([f"seed {seed}", *map(str, history), str(error)])) from error
                if status[0] is None and not any(line.startswith("E S='FATAL'") for line in pairs[number][0].transcript):
                    raise ServerDied(f"seed {seed}, and so has the server behind pgjanus")
                compare(seed, history, *(peer.transcript for peer in pairs[number]))
                for peer in pairs[number]:
                    peer.transcript.clear()
                if status[0] is None or status[0][1] == b"I":
                    break
            if status[0] is None or status[0][1] != b"I":
                break  # It has left, or will not end its transaction.
    finally:
        for one in (peer for pair in pairs for peer in pair):
            one.send(m.TERMINATE)
            one.close()


def compare(seed, history, expected, found):
    # In an aborted transaction a statement may have to be parsed first: the refusal is another function's. Of two
    # names for one text an error may give the other.
    expected, found = ([re.sub(r"(C='25P02'.*?) F=.*", r"\1", re.sub(r"(C='08P01'.* statement) \"\w\"", r"\1", line))
                        for line in one] for one in (expected, found))
    if expected == found:
        return
    at = next((n for n, (one, other) in enumerate(zip(expected, found)) if one != other), min(len(expected), len(found)))
    raise Mismatch("\n".join([f"seed {seed}", *map(str, history), "directly:", *expected[max(0, at - 2):at + 2],
                              "through pgjanus:", *found[max(0, at - 2):at + 2]]))
