"""Clients of the shop as threads: writers, and who changes its schema through pgjanus and around it. A book holds what they were told."""

import random
import re
import threading
import time
import traceback
import uuid
from collections import Counter, namedtuple

import psycopg

import shop
from client import FENCED, LOST
from harness.wait import PATIENCE

Error = namedtuple("Error", "began ended client state text")
Disturbance = namedtuple("Disturbance", "began ended kind lost")  # lost: connections may break.

# What an app is told without pgjanus, too: others' locks, and a customer who is gone.
OWN_ERRORS = {"40P01", "55P03", "23503"}
# Whoever changes the schema by chance makes all of these mistakes.
DEFINING_ERRORS = OWN_ERRORS | {"42P01", "42703", "42P07", "42701", "42704", "42710", "0A000", "42P16", "2BP01", "42804", "55006", "40001"}
CONCURRENT = re.compile("tuple concurrently|cache lookup|could not open relation|relation with OID")
LONGEST = 40 * PATIENCE  # Seconds that a transaction may take. Longer than any disaster with what it waits for.


class Book:
    """What clients were told, for the judgement, and what they may do at present."""

    def __init__(self):
        self.end = threading.Event()
        self.may_define = threading.Event()  # Off while a flip waits for a quiet moment.
        self.may_define.set()
        self.confined = None  # The one side where DDL around pgjanus may happen; None: either.
        self.primary = "source"
        self.acknowledged, self.errors, self.defined, self.found, self.disturbances = {}, [], [], [], []
        self.slowest = (0.0, "nobody")

    def unexplained(self):
        """Sentences on errors that nothing explains, and on a transaction that took too long."""
        odd = Counter((error.client.rstrip("0123456789"), error.state, re.sub(r"\d+", "N", error.text)[:200],
                       tuple(sorted({each.kind for each in self._near(error)}))) for error in self.errors if not self._explained(error))
        found = [f"client: {count} times {what}" for what, count in odd.items()] + self.found
        if self.slowest[0] > LONGEST:
            found.append(f"hang: a transaction of {self.slowest[1]} took {self.slowest[0]:.1f} s")
        return found

    def _near(self, error):
        return [each for each in self.disturbances if error.began <= each.ended and error.ended >= each.began]

    def _explained(self, error):
        defines, near = error.client in ("through", "around"), self._near(error)
        if error.state in (DEFINING_ERRORS if defines else OWN_ERRORS):
            return True
        if error.state == "XX000":
            return defines and CONCURRENT.search(error.text) is not None
        if error.state == "57014":  # A statement_timeout of its own, or a wait that the disaster made too long.
            return defines or bool(near)
        if error.client == "around":  # Its server is down or frozen.
            return bool(near) and error.state in LOST
        return error.state in LOST and any(each.lost for each in near)


class Client(threading.Thread):
    """Transactions, one after the other, until the end."""

    def __init__(self, match, book, name, seed):
        super().__init__(daemon=True, name=name)
        self.match, self.book, self.client, self.chance = match, book, name, random.Random(f"{seed}/{name}")

    def run(self):
        number = 0
        try:
            while not self.book.end.is_set():
                began = time.time()
                self.once(number, began)
                self.book.slowest = max(self.book.slowest, (time.time() - began, f"{self.client} at {began:.3f}"))
                number += 1
                self.rest()
        except Exception:  # noqa: BLE001 - a bug of the tester is a finding
            self.book.found.append(f"tester: {traceback.format_exc()}")

    def failed(self, began, error):
        self.book.errors.append(Error(began, time.time(), self.client, error.sqlstate, " ".join(str(error).split())[:300]))

    def promised(self, token, number):
        self.book.acknowledged[token] = (self.client, number, time.time())


class Writer(Client):
    """Writes through pgjanus. Half of them prepare their statements."""

    def __init__(self, match, book, name, seed, number=0):
        super().__init__(match, book, name, seed)
        self.connection, self.threshold = None, None if number % 2 else 3

    def run(self):
        super().run()
        self.disconnect()

    def disconnect(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def rest(self):
        self.book.end.wait(0.01)

    def once(self, number, began):
        token = uuid.uuid4()
        try:
            if self.connection is None:
                self.connection = self.match.pgjanus.connect(connect_timeout=15, prepare_threshold=self.threshold)
            self.play(token, number)
            self.promised(token, number)
        except psycopg.Error as error:
            self.failed(began, error)
            if self.connection is None or self.connection.closed or error.sqlstate in LOST:
                self.disconnect()
                self.book.end.wait(0.05)

    def play(self, token, number):
        shop.transaction(self.connection, self.chance, token, self.client, number)


def wait_to_define(book, chance, pause):
    book.end.wait(pause * 2 * chance.random())
    while not book.may_define.wait(0.02) and not book.end.is_set():
        pass


class Through(Writer):
    """Changes the schema through pgjanus."""

    def __init__(self, match, book, seed, pause):
        super().__init__(match, book, "through", seed)
        self.pause = pause

    def rest(self):
        wait_to_define(self.book, self.chance, self.pause)

    def play(self, token, number):
        statements = shop.definition(self.chance, "p")
        with self.connection.transaction():
            self.connection.execute("SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '20s'")
            shop.promise(self.connection, token, self.client, number)
            for statement in statements:
                self.connection.execute(statement)
        self.book.defined.append((time.time(), self.client, statements))


class Around(Client):
    """Changes the schema straight on whoever is the primary. It writes first, so that the fence tells."""

    def __init__(self, match, book, seed, pause):
        super().__init__(match, book, "around", seed)
        self.pause = pause

    def rest(self):
        wait_to_define(self.book, self.chance, self.pause)

    def once(self, number, began):
        first = self.book.primary
        for side in (first, "target" if first == "source" else "source"):
            if self.book.confined not in (None, side):
                continue
            try:
                self.play(side, uuid.uuid4(), number)
                return
            except psycopg.Error as error:
                if error.sqlstate not in FENCED:
                    self.failed(began, error)
                    return

    def play(self, side, token, number):
        statements = shop.definition(self.chance, "d")
        with psycopg.connect(self.match.url(side), connect_timeout=3, options="-c lock_timeout=2s -c statement_timeout=10s") as connection:
            shop.promise(connection, token, self.client, number)
            for statement in statements:
                connection.execute(statement)
        self.promised(token, number)
        self.book.defined.append((time.time(), f"around on {side}", statements))


class Watcher(threading.Thread):
    """Asks both servers who they are, all the time: never are two the primary at one moment."""

    def __init__(self, match, book):
        super().__init__(daemon=True, name="watcher")
        self.match, self.book, self.said = match, book, False

    def run(self):
        while not self.book.end.wait(0.02):
            connections = {}
            try:
                for side in ("source", "target"):
                    connections[side] = self.match.superuser(side, connect_timeout=2)
                while not self.book.end.wait(0.02):
                    self.look(connections)
            except psycopg.Error:  # A server that is down.
                pass
            finally:
                for connection in connections.values():
                    connection.close()

    def look(self, connections):
        """Source, target, source: if the source has been the primary of one epoch all along, the target cannot be one."""
        before, other, after = (connections[side].execute("SELECT role, epoch FROM pgjanus.state").fetchone()
                                for side in ("source", "target", "source"))
        if before == after and before[0] == other[0] == "primary" and not self.said:
            self.said = True
            self.book.found.append(f"two primaries: at {time.time():.3f}: source {before}, target {other}")
