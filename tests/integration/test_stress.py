"""Everything at once: verbs, questions, clients that come and go, servers that die, and the end in
the middle of it. What is asked of pgjanus here is to stay alive and right: verbs may be refused,
undone or fail. Most telling under a sanitizer (tests/run --sanitize); PGJANUS_SEED repeats the
choices, PGJANUS_STRESS_STEPS makes it longer."""

import os
import random
import signal
import socket
import threading
import traceback

import psycopg
import pytest

from harness import WORLD, WorldLoad, equal_within, wait_until

STEPS = int(os.environ.get("PGJANUS_STRESS_STEPS", "12"))
QUESTIONS = [f"SHOW {what}" for what in
             ("STATUS", "TABLES", "CLIENTS", "SERVERS", "POOLS", "MEMBERS", "LAG", "VERIFY",
              "DIFFERENCES", "EVENTS", "CONFIG", "STATS", "VERSION")] + ["HELP"]
VERBS = ["VERIFY", "VERIFY", "REPAIR", "LOAD seats", "LOAD", "PREPARE", "MIGRATE", "CHECK",
         "CUTOVER DRY RUN", "CUTOVER TIMEOUT '1s' WAIT '1s'", "CUTOVER TERMINATE FORCE",
         "CUTOVER TO SOURCE TIMEOUT '1s' WAIT '1s'", "CUTOVER TO SOURCE TERMINATE FORCE",
         "CUTOVER TO SOURCE DRY RUN", "READS mirror", "READS 50%", "READS primary", "RETRY", "SKIP",
         "PAUSE", "RESUME", "RELOAD", "FINISH CONFIRM 'another'", "ABORT CONFIRM 'another'"]


class Chaos:
    """Threads, each repeating one kind of act a number of times; any error but a database's or a
    socket's is a failure of the test."""

    def __init__(self, seed):
        self.seed, self.threads, self.broken = seed, [], []

    def add(self, name, act, steps):
        def run():
            chooser = random.Random(f"{self.seed}/{name}")
            for _ in range(steps):
                try:
                    act(chooser)
                except (psycopg.Error, OSError):
                    continue
                except Exception:  # noqa: BLE001 - shown by join()
                    self.broken.append(f"{name}: {traceback.format_exc()}")
                    return
        self.threads.append(threading.Thread(target=run, name=name, daemon=True))
        self.threads[-1].start()

    def join(self):
        wait_until(lambda: not any(thread.is_alive() for thread in self.threads), 180,
                   lambda: f"{[t.name for t in self.threads if t.is_alive()]} to end")
        assert not self.broken, self.broken[0]


def ask(pgjanus, chooser):
    with pgjanus.admin() as admin:
        for _ in range(3):
            admin.execute(chooser.choice(QUESTIONS)).fetchall()
    pgjanus.http(chooser.choice(["/status", "/metrics", "/readyz", "/"]))


def command(pgjanus, chooser):
    """A verb; one in four is left alone or cancelled by its caller."""
    admin = pgjanus.admin()
    leaving = chooser.random()
    try:
        if leaving < 0.12:
            with socket.socket(fileno=os.dup(admin.fileno())) as raw:
                word = chooser.choice(VERBS).encode() + b"\0"
                raw.sendall(b"Q" + (4 + len(word)).to_bytes(4, "big") + word)
            return
        if leaving < 0.25:
            cancel_later(admin, chooser.random() * 0.3)
        admin.execute(chooser.choice(VERBS))
    finally:
        admin.close()


def cancel_later(connection, seconds):
    def cancel():
        try:
            connection.cancel()
        except psycopg.Error:  # What it would have cancelled, or the proxy, has ended.
            pass
    threading.Timer(seconds, cancel).start()


def client(pgjanus, chooser):
    """A client that leaves in one of many ways."""
    with pgjanus.connect(connect_timeout=5) as connection:
        connection.execute("SET statement_timeout = '2s'")
        how = chooser.randrange(5)
        if how == 0:
            connection.execute("SELECT count(*) FROM people").fetchone()
        elif how == 1:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO changes (what) VALUES ('left alone')")
            with socket.socket(fileno=os.dup(connection.fileno())) as raw:
                raw.shutdown(socket.SHUT_WR if chooser.random() < 0.5 else socket.SHUT_RDWR)
        elif how == 2:
            cancel_later(connection, 0.05)
            connection.execute("SELECT pg_sleep(0.3)")
        elif how == 3:
            with connection.cursor() as cursor, cursor.copy("COPY bag FROM STDIN") as copy:
                copy.write_row((1, "stress"))
                if chooser.random() < 0.5:
                    raise psycopg.OperationalError("the client gives up")
        else:
            with connection.pipeline():
                for number in range(5):
                    connection.execute("SELECT %s::int", (number,))


def disturb(servers, chooser):
    """Ends pgjanus's own connections, or a whole server."""
    server = chooser.choice(servers)
    kind = chooser.randrange(4)
    if kind == 0:
        server.kill9()
        server.start()
    elif kind == 1:
        server.stop("fast")
        server.start()
    else:
        with server.connect("app", connect_timeout=5) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name "
                "LIKE 'pgjanus%%' AND random() < %s", (chooser.choice([0.3, 1.0]),))


def rage(pgjanus, servers, seed, steps):
    chaos = Chaos(seed)
    for number in range(2):
        chaos.add(f"verbs {number}", lambda chooser: command(pgjanus, chooser), steps)
    chaos.add("questions", lambda chooser: ask(pgjanus, chooser), steps * 4)
    for number in range(2):
        chaos.add(f"clients {number}", lambda chooser: client(pgjanus, chooser), steps * 3)
    chaos.add("disturbance", lambda chooser: disturb(servers, chooser), max(2, steps // 3))
    return chaos


@pytest.fixture
def mirrored(source, target, programs):
    source.script(WORLD, "app", "app")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    return pgjanus


def heal(pgjanus, source, target, load):
    """In sync again by itself or by LOAD (a table may have been left out by SKIP), all kept."""
    assert pgjanus.running(), f"it ended by itself:\n{pgjanus.log()[-4000:]}"
    pgjanus.wait_ready(60)
    pgjanus.cli("resume")

    def whole():
        return pgjanus.cli("load").code == 0 and pgjanus.status()["mirror"]["state"] == "in_sync"
    wait_until(whole, 120, lambda: f"all tables to be mirrored; {pgjanus.status()}", every=0.2)
    with source.connect("app") as left, target.connect("app") as right:
        load.check_kept(left, right)
        equal_within(left, right, 60)


def test_verbs_questions_clients_and_faults_at_once(mirrored, source, target, seed):
    load = WorldLoad(mirrored.url, threads=2, seed=seed, pause=0.005).start()
    load.progress(20)
    rage(mirrored, [source, target], seed, STEPS).join()
    load.progress(20, limit=90)
    load.stop()
    heal(mirrored, source, target, load)
    assert mirrored.term() == 0


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, "SHUTDOWN", "twice"])
def test_the_end_comes_in_the_middle_of_it(mirrored, source, target, seed, ending):
    load = WorldLoad(mirrored.url, threads=2, seed=seed, pause=0.005).start()
    load.progress(10)
    chaos = rage(mirrored, [source, target], f"{seed}/{ending}", max(4, STEPS // 2))
    load.progress(10, limit=60)
    if ending == "SHUTDOWN":
        with mirrored.admin() as admin:
            admin.execute("SHUTDOWN")
    else:
        mirrored.process.send_signal(signal.SIGTERM if ending == "twice" else ending)
    if ending == "twice":
        wait_until(lambda: "draining" in mirrored.log(), 10, "the drain to begin")
        mirrored.process.send_signal(signal.SIGTERM)
    # 143: the second signal came before the end of the drain.
    assert mirrored.exited(60) in ([0, 143] if ending == "twice" else [0]), mirrored.log()[-4000:]
    chaos.join()
    load.stop()
    mirrored.start()
    heal(mirrored, source, target, load)


@pytest.mark.parametrize("verb", ["abort", "finish"])
def test_a_migration_ends_under_fire(mirrored, source, target, seed, verb):
    load = WorldLoad(mirrored.url, threads=2, seed=seed, pause=0.005).start()
    chaos = Chaos(f"{seed}/{verb}")
    chaos.add("questions", lambda chooser: ask(mirrored, chooser), STEPS * 4)
    chaos.add("clients", lambda chooser: client(mirrored, chooser), STEPS * 2)
    chaos.add("verbs", lambda chooser: command(mirrored, chooser), STEPS // 2)

    def ended():  # Abort is only for before a cutover; one of the verbs above may have done that.
        if verb == "abort" and mirrored.status()["primary"] == "target":
            mirrored.cli("rollback", "--force", "--terminate")
        return mirrored.cli(verb, "--confirm", "app").code == 0
    wait_until(ended, 120, f"{verb} to succeed", every=0.1)
    chaos.join()
    mirrored.cli("resume")
    assert mirrored.running(), mirrored.log()[-4000:]
    assert mirrored.status()["mirror"]["state"] == "off"
    load.progress(10, limit=60)
    load.stop()
    assert mirrored.term() == 0
