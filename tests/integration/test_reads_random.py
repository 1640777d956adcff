"""Reads go to the mirror, and each session sees its own writes there, whatever happens to tables, servers and sides meanwhile.
PGJANUS_SEED repeats the choices."""

import random
import threading

import psycopg
import pytest

from harness import wait_until

STEPS = 14


class Writer(threading.Thread):
    """Updates a row and adds another, then reads both back; counts which side answered."""

    def __init__(self, pgjanus, number):
        super().__init__(daemon=True)
        self.pgjanus, self.number, self.end = pgjanus, number, threading.Event()
        self.missed, self.answered, self.trouble = [], {}, None
        self.start()

    def run(self):
        try:
            with psycopg.connect(self.pgjanus.url, autocommit=True, prepare_threshold=2 if self.number % 2 else None) as client:
                value = 0
                while not self.end.is_set():
                    value += 1
                    with client.transaction():
                        client.execute("UPDATE t SET v = %s WHERE id = %s", (value, self.number))
                        client.execute("INSERT INTO u VALUES (%s, %s)", (self.number, value))
                    there, port = client.execute("SELECT v, current_setting('port') FROM t WHERE id = %s", (self.number,)).fetchone()
                    rows = client.execute("SELECT count(*) FROM u WHERE w = %s", (self.number,)).fetchone()[0]
                    self.answered[port] = self.answered.get(port, 0) + 1
                    if there != value or rows != value:
                        self.missed.append((value, there, rows, port))
        except psycopg.Error as error:
            self.trouble = error


class World:
    """The acts; none of them may cost a client its session."""

    def __init__(self, pgjanus, source, target, sides, chooser):
        self.pgjanus, self.chooser = pgjanus, chooser
        self.servers = {"source": (source, sides.source), "target": (target, sides.target)}
        self.pause = threading.Event()  # Never set.

    def sides(self):
        primary = self.pgjanus.status()["primary"]
        return self.servers[primary], self.servers["target" if primary == "source" else "source"]

    def moment(self, seconds):
        self.pause.wait(self.chooser.random() * seconds)

    def load(self):
        self.pgjanus.cli("load", "public.t")

    def verify(self):
        said = self.pgjanus.cli("verify")
        assert said.code != 3, said

    def flip(self):
        self.pgjanus.cli("cutover" if self.pgjanus.status()["primary"] == "source" else "rollback", "--force")

    def ddl_around(self):
        (_, primary), _ = self.sides()
        primary.execute("ALTER TABLE t ADD COLUMN IF NOT EXISTS x int DEFAULT 4")
        self.moment(1)
        primary.execute("ALTER TABLE t DROP COLUMN IF EXISTS x")

    def ddl(self):
        with self.pgjanus.connect(autocommit=True) as client:
            client.execute("ALTER TABLE u ADD COLUMN y int")
            client.execute("ALTER TABLE u DROP COLUMN y")

    def rewrite(self):
        (_, primary), _ = self.sides()
        primary.execute("VACUUM FULL t")

    def lock(self):
        """The primary's readers of the mirror loop, or the mirror's rows, wait for it."""
        for connection, mode in zip((side[1] for side in self.sides()), ("ACCESS EXCLUSIVE", "SHARE")):
            with connection.transaction():
                connection.execute(f"LOCK TABLE t IN {mode} MODE")
                self.moment(1.5)

    def freeze(self):
        _, (server, _) = self.sides()
        server.freeze()
        self.moment(1.5)
        server.thaw()


@pytest.mark.parametrize("pool, acknowledge", [("session", "both"), ("transaction", "primary")])
def test_own_writes_are_seen_wherever_reads_go(source, target, sides, app, programs, seed, pool, acknowledge):
    chooser = random.Random(f"{seed}/{pool}")
    app("CREATE TABLE t (id int PRIMARY KEY, v int, pad text); INSERT INTO t SELECT n, 0, repeat('x', 100) FROM generate_series(1, 20000) n;"
        "CREATE TABLE u (w int, v int)")
    pgjanus = programs(source.owner_url, target.owner_url,
                       environment={"PGJANUS_POOL": pool, "PGJANUS_ACKNOWLEDGE": acknowledge}).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    pgjanus.do("reads", "mirror")
    writers = [Writer(pgjanus, number) for number in range(1, 5)]
    mirrored = str(target.port)
    wait_until(lambda: any(writer.answered.get(mirrored) or writer.trouble for writer in writers), 40, "reads to reach the mirror")
    world = World(pgjanus, source, target, sides, chooser)
    for _ in range(STEPS):
        chooser.choice([world.load, world.load, world.verify, world.flip, world.ddl_around, world.ddl, world.rewrite, world.lock, world.freeze])()
        assert not any(writer.trouble or writer.missed for writer in writers), [(writer.trouble, writer.missed[:3]) for writer in writers]
    for writer in writers:
        writer.end.set()
        writer.join(60)
        assert not writer.is_alive() and not writer.trouble and not writer.missed, (writer.trouble, writer.missed[:3])
