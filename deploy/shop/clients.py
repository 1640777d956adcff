"""Clients of the shop: they write all the time, and each remembers what it was promised.

A promise is kept when a commit was acknowledged. At the end Promises.broken() asks a database
itself, not pgjanus, whether it is true there.
"""

import random
import threading
import time

import psycopg


class Promises:
    """What one client was promised: the state of its orders, its customers, its notes."""

    def __init__(self):
        self.orders = {}      # order id: state
        self.customers = {}   # email: still there?
        self.events = []      # ids
        self.notes = []       # texts in audit.log, each written twice in one transaction
        self.writes = 0       # acknowledged transactions

    def broken(self, database):
        """Sentences; `database` is an open connection."""
        wrong = []
        orders = dict(database.execute("SELECT id, state::text FROM orders WHERE id = ANY(%s)",
                                       (list(self.orders),)).fetchall())
        wrong += [f"order {id_}: promised {state}, found {orders.get(id_)}"
                  for id_, state in self.orders.items() if orders.get(id_) != state]
        there = {email for (email,) in database.execute(
            "SELECT email::text FROM customers WHERE email::text = ANY(%s)",
            (list(self.customers),)).fetchall()}
        wrong += [f"customer {email}: promised to be {'there' if kept else 'gone'}"
                  for email, kept in self.customers.items() if (email in there) != kept]
        (found,) = database.execute("SELECT count(*) FROM events WHERE id = ANY(%s)",
                                    (self.events,)).fetchone()
        if found != len(self.events):
            wrong.append(f"{len(self.events)} events promised, {found} found")
        (found,) = database.execute("SELECT count(*) FROM audit.log WHERE what = ANY(%s)",
                                    (self.notes,)).fetchone()
        if found != 2 * len(self.notes):
            wrong.append(f"{2 * len(self.notes)} notes promised, {found} found")
        return wrong


class Client(threading.Thread):
    """One client of the shop, with one connection for as long as it lives."""

    def __init__(self, url, number, seed):
        super().__init__(daemon=True, name=f"client {number}")
        self.url, self.number = url, number
        self.random = random.Random(f"{seed}/{number}")
        self.promises = Promises()
        self.errors = []
        self.longest = 0.0  # Seconds: the longest transaction so far, reset by whoever reads it.
        self.ended = threading.Event()
        self._count = 0

    def run(self):
        connection = None
        actions = [self.place, self.place, self.advance, self.advance, self.sign_up, self.leave,
                   self.visit, self.note, self.work, self.reprice]
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = psycopg.connect(self.url, autocommit=True, connect_timeout=15,
                                                 application_name=f"shop {self.number}")
                began = time.monotonic()
                self.random.choice(actions)(connection)
                self.longest = max(self.longest, time.monotonic() - began)
            except psycopg.Error as error:
                self.errors.append(f"{self.name}: {error.sqlstate} {str(error).strip()}")
                if connection is not None:
                    connection.close()
                connection = None
                self.ended.wait(0.1)
            except Exception as error:  # noqa: BLE001 - a broken client must not look like a quiet one
                self.errors.append(f"{self.name}: {error!r}")
                return
            self.ended.wait(0.003)  # A shop's client thinks; the machine has two cores.
        if connection is not None:
            connection.close()

    # Each writes in one transaction and then notes the promise.

    def place(self, connection):
        (id_,) = connection.execute("SELECT place_order(%s, %s)", (
            self.random.randrange(1, 15000), self.random.randrange(1, 4))).fetchone()
        self._promise(self.promises.orders, id_, "placed")
        # A session sees its own writes, wherever reads go.
        seen = connection.execute("SELECT state::text FROM orders WHERE id = %s", (id_,)).fetchone()
        if seen != ("placed",):
            self.errors.append(f"{self.name}: does not see its own order {id_}: {seen}")

    def advance(self, connection):
        if not self.promises.orders:
            return
        id_ = self.random.choice(list(self.promises.orders))
        state = self.random.choice(["paid", "shipped", "returned"])
        with connection.transaction():
            connection.execute("SELECT 1 FROM orders WHERE id = %s FOR UPDATE", (id_,))
            connection.execute("UPDATE orders SET state = %s::order_state WHERE id = %s",
                               (state, id_))
            connection.execute("SELECT nextval('invoice_numbers')")
        self._promise(self.promises.orders, id_, state)

    def sign_up(self, connection):
        self._count += 1
        email = f"New-{self.number}-{self._count}-{self.random.randrange(1 << 30)}@example.org"
        with connection.transaction():
            (id_,) = connection.execute(
                "INSERT INTO customers (email, name, tags) VALUES (%s, %s, %s) RETURNING id",
                (email, "Müller; DROP TABLE", ["new", None])).fetchone()
            connection.execute("INSERT INTO addresses (customer_id, street, city) "
                               "VALUES (%s, %s, 'here')", (id_, "x" * self.random.randrange(3000)))
        self._promise(self.promises.customers, email, True)

    def leave(self, connection):
        mine = [email for email, there in self.promises.customers.items() if there]
        if mine:
            email = self.random.choice(mine)
            connection.execute("DELETE FROM customers WHERE email = %s", (email,))
            self._promise(self.promises.customers, email, False)

    def visit(self, connection):
        ids = []
        with connection.transaction():
            for _ in range(3):
                ids += connection.execute(
                    "INSERT INTO events (at, kind, payload) VALUES (now() - random() * interval "
                    "'900 days', 'visit', jsonb_build_object('r', random())) RETURNING id"
                ).fetchone()
        self.promises.events += ids
        self.promises.writes += 1

    def note(self, connection):
        self._count += 1
        text = f"{self.number}/{self._count}"
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy("COPY audit.log (at, what) FROM STDIN") as copy:
                copy.write_row(("2025-02-03 04:05:06.789+00", text))
                copy.write_row(("2025-02-03 04:05:06.789+00", text))
        self.promises.notes.append(text)
        self.promises.writes += 1

    def work(self, connection):
        with connection.transaction():
            connection.execute("INSERT INTO jobs (task) VALUES ('more')")
            connection.execute(
                "UPDATE jobs SET done_by = %s, done_at = now() WHERE id IN (SELECT id FROM jobs "
                "WHERE done_by IS NULL ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED)", (self.name,))
        self.promises.writes += 1

    def reprice(self, connection):
        connection.execute("UPDATE products SET price = 1 + random() * 90, stock = stock - 1 "
                           "WHERE sku = %s", (f"SKU-{self.random.randrange(1, 501)}",))
        connection.execute("SELECT count(*) FROM open_orders WHERE id < 200").fetchone()
        self.promises.writes += 1

    def _promise(self, kept, key, value):
        kept[key] = value
        self.promises.writes += 1


class Shop:
    """All clients together."""

    def __init__(self, url, clients, seed):
        self.clients = [Client(url, number, seed) for number in range(clients)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        for client in self.clients:
            client.ended.set()
        for client in self.clients:
            client.join(60)
            if client.is_alive():
                client.errors.append(f"{client.name} hangs")

    def writes(self):
        return sum(client.promises.writes for client in self.clients)

    def errors(self):
        return [error for client in self.clients for error in client.errors]

    def longest(self):
        """The longest transaction since the last call, in ms."""
        found = max(client.longest for client in self.clients)
        for client in self.clients:
            client.longest = 0.0
        return found * 1000

    def broken(self, database):
        """Promises that do not hold in this database."""
        return [text for client in self.clients for text in client.promises.broken(database)]
