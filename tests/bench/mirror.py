"""The mirror by itself: what capture costs the app's statements, how many changed keys a second arrive, and how long
after COMMIT a row is there; the last two against native logical replication with the same work.

Four servers with the same settings, fsync on: a source and a target for pgjanus, a publisher and a subscriber. Both
ways take turns within a round. The sources get the work directly, so that no proxy's time is in it, except where
COMMIT waits for both sides.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parents[1] / "integration")]

import psycopg  # noqa: E402

from contenders import SERVER, say, tidy  # noqa: E402
from harness import ClusterFactory, Pgjanus, wait_until  # noqa: E402
from harness.cluster import server_programs  # noqa: E402
from measure import table, three  # noqa: E402

ROWS = 200_000
WIDE = ", ".join(f"c{n} text" for n in range(18))
SCHEMA = f"""
CREATE TABLE narrow (id bigint PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE wide (id bigint PRIMARY KEY, n bigint NOT NULL, {WIDE});
CREATE TABLE probe (id int PRIMARY KEY, n bigint NOT NULL);
"""
FILL = f"""
INSERT INTO narrow SELECT i, 0 FROM generate_series(1, {ROWS}) i;
INSERT INTO wide SELECT i, 0, {", ".join(f"repeat(md5(i::text), 2)" for _ in range(18))} FROM generate_series(1, {ROWS // 10}) i;
INSERT INTO probe VALUES (1, 0);
"""
ONE = {"INSERT": "\\set i random(1000000, 1000000000000)\nINSERT INTO {t} (id, n) VALUES (:i, 1) ON CONFLICT DO NOTHING;",
       "UPDATE": "\\set i random(1, {rows})\nUPDATE {t} SET n = n + 1 WHERE id = :i;",
       "DELETE": "\\set i random(1, 1000000000)\nDELETE FROM {t} WHERE id = 2000000000000 + :i;"}
MANY = {"INSERT": "INSERT INTO {t} (id, n) SELECT 3000000000000 + i, 1 FROM generate_series(1, 10000) i",
        "UPDATE": "UPDATE {t} SET n = n + 1 WHERE id >= 3000000000000",
        "DELETE": "DELETE FROM {t} WHERE id >= 3000000000000"}


def tpcb(server, *options):
    """pgbench's tables, made by their owner."""
    subprocess.run([str(server_programs() / "pgbench"), "-i", "-q", "-s", "20", *options, server.url("app", "app-secret", "app")],
                   capture_output=True, check=True)


class Pair:
    """Two servers and a way from the first to the second."""

    def __init__(self, factory, name):
        self.factory, self.name = factory, name
        settings = {**SERVER, "wal_level": "logical", "autovacuum": "off"}
        self.servers = [factory.make(f"{name}-{n}", fsync=True, auth="trust", settings=settings) for n in range(2)]
        for server in self.servers:
            server.plain_owner()
            server.execute("GRANT SET ON PARAMETER session_replication_role TO app")

    def first(self, **options):
        return self.servers[0].connect("app", user="app", **options)

    def second(self, **options):
        return self.servers[1].connect("app", **options)

    def arrived(self):
        """Whether all has: the row of probe is written last. Both ways keep the order, or have all at once."""
        with self.first() as a, self.second() as b:
            return a.execute("SELECT n FROM probe").fetchone() == b.execute("SELECT n FROM probe").fetchone()


class Pgjanused(Pair):
    def __init__(self, factory):
        super().__init__(factory, "pgjanus")
        self.servers[0].script(SCHEMA + FILL, "app", "app")
        tpcb(self.servers[0])
        self.program = Pgjanus(factory.directory / "program", *(s.url("app", "app-secret", "app") for s in self.servers))
        self.program.start()
        for verb in ("prepare", "load"):
            self.program.do(verb, timeout=600)

    def acknowledging(self, value):
        """The program's URL, with that setting."""
        if self.program.environment.get("PGJANUS_ACKNOWLEDGE") != value:
            self.program.stop()
            self.program.environment["PGJANUS_ACKNOWLEDGE"] = value
            self.program.start()
        self.program.wait_in_sync(60)
        return self.program.url

    def hold(self):
        self.program.stop()

    def go_on(self):
        self.program.start()

    def end(self):
        self.program.stop()


class Replicated(Pair):
    def __init__(self, factory):
        super().__init__(factory, "logical")
        self.servers[0].script(SCHEMA + FILL, "app", "app")
        tpcb(self.servers[0])
        self.servers[1].script(SCHEMA, "app", "app")
        tpcb(self.servers[1], "-I", "dtp")
        self.servers[0].execute("CREATE PUBLICATION p FOR ALL TABLES", database="app")
        self.servers[1].execute(f"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={self.servers[0].port} "
                                "user=postgres dbname=app' PUBLICATION p", database="app")
        wait_until(self.arrived, 120, "the first copy")

    def hold(self):
        self.servers[1].execute("ALTER SUBSCRIPTION s DISABLE", database="app")

    def go_on(self):
        self.servers[1].execute("ALTER SUBSCRIPTION s ENABLE", database="app")

    def end(self):
        pass


def statement_costs(server, user, database, seconds, directory):
    """{(table, rows, operation): microseconds a statement}"""
    costs = {}
    for name, rows in (("narrow", ROWS), ("wide", ROWS // 10)):
        for operation, sql in ONE.items():
            script = directory / "script.sql"
            script.write_text(sql.format(t=name, rows=rows))
            done = subprocess.run(
                [str(server_programs() / "pgbench"), "-n", "-M", "prepared", "-f", str(script), "-c", "1", "-T", str(seconds),
                 server.url(user, "app-secret", database)], capture_output=True, text=True, check=True,
                env={**os.environ, "PGOPTIONS": "-c synchronous_commit=off"})
            tps = float(done.stdout.split("tps = ")[1].split()[0])
            costs[name, 1, operation] = 1e6 / tps
        with server.connect(database, user=user) as connection:
            connection.execute("SET synchronous_commit = off")
            for operation, sql in MANY.items():
                began = time.monotonic()
                connection.execute(sql.format(t=name))
                costs[name, 10_000, operation] = 1e6 * (time.monotonic() - began)
    return costs


def capture(pair, seconds, rounds, directory):
    """What the triggers add. A database beside the captured one, on the same server, without them."""
    server = pair.servers[0]
    server.execute("CREATE DATABASE bare OWNER app")
    server.script(SCHEMA + FILL, "bare", "app")
    pair.hold()
    lines = {}
    for number in range(rounds):
        say(f"capture, round {number + 1}")
        server.execute("CHECKPOINT")
        bare = statement_costs(server, "app", "bare", seconds, directory)
        with_it = statement_costs(server, "app", "app", seconds, directory)
        for key, cost in bare.items():
            lines.setdefault(key, []).append((cost, with_it[key]))
    server.execute("DROP DATABASE bare")
    pair.go_on()
    pair.program.wait_in_sync(600)
    rows = []
    for (name, count, operation), costs in lines.items():
        unit = "a statement" if count == 1 else "a row"
        rows.append([f"{name}, {count:,} row{'s' if count > 1 else ''}, {operation}, {unit}",
                     three([a / count for a, _ in costs], 2), three([b / count for _, b in costs], 2),
                     three([(b - a) / count for a, b in costs], 2), three([b / a for a, b in costs], 2)])
    table("Capture: microseconds without fsync, with nobody else at work", ["", "without", "captured", "added", "ratio"], rows)


def work(pair, kind):
    """Leaves a backlog of keys; returns how many changed."""
    with pair.first() as connection:
        if kind == "one row a transaction":
            connection.execute("SET synchronous_commit = off")
            for number in range(20_000):
                connection.execute("UPDATE narrow SET n = n + 1 WHERE id = %s", (number * 7 % ROWS + 1,))
            return 20_000
        if kind == "1,000 rows a transaction":
            for number in range(100):
                connection.execute("UPDATE narrow SET n = n + 1 WHERE id BETWEEN %s AND %s",
                                   (number * 1000 + 1, number * 1000 + 1000))
            return 100_000
        for number in range(20):
            connection.execute("UPDATE wide SET n = n + 1 WHERE id BETWEEN %s AND %s", (number * 1000 + 1, number * 1000 + 1000))
        return 20_000


def throughput(pairs, rounds):
    """Keys a second from a standstill with a backlog until both sides are equal."""
    lines = {}
    for number in range(rounds):
        for kind in ("one row a transaction", "1,000 rows a transaction", "1,000 wide rows a transaction"):
            for pair in pairs:
                pair.hold()
                keys = work(pair, kind)
                pair.servers[0].execute("UPDATE probe SET n = n + 1", database="app", user="app")
                began = time.monotonic()
                pair.go_on()
                wait_until(pair.arrived, 300, f"{pair.name} to catch up", every=0.01)
                lines.setdefault(kind, {}).setdefault(pair.name, []).append(keys / (time.monotonic() - began))
                say(f"backlog, round {number + 1}, {kind}, {pair.name}: {lines[kind][pair.name][-1]:,.0f} keys a second")
    names = [pair.name for pair in pairs]
    table("Changed keys a second, from the start of the way until all has arrived", ["", *names, "ratio"],
          [[kind, *(three(found[name], 0) for name in names),
            three([a / b for a, b in zip(found[names[0]], found[names[1]])], 2)] for kind, found in lines.items()])


def delays(pair, seconds, url=None, both=False):
    """Milliseconds from the answer to COMMIT, sent to `url` or straight to the first server, until the other side shows the
    row, seen by asking all the time; with `both` from sending the UPDATE until its COMMIT is answered."""
    found = []
    until = time.monotonic() + seconds
    with (psycopg.connect(url, autocommit=True) if url else pair.first()) as writer, pair.second() as reader:
        value = reader.execute("SELECT n FROM probe").fetchone()[0]
        while time.monotonic() < until:
            value += 1
            sent = time.monotonic()
            writer.execute("UPDATE probe SET n = %s WHERE id = 1", (value,))
            answered = time.monotonic()
            if both:
                found.append(1000 * (answered - sent))
                if reader.execute("SELECT n FROM probe").fetchone()[0] < value:
                    raise RuntimeError("COMMIT was answered before the row was there")
            else:
                while reader.execute("SELECT n FROM probe").fetchone()[0] < value:
                    if time.monotonic() > answered + 30:
                        raise RuntimeError(f"{pair.name}: nothing arrives")
                found.append(1000 * (time.monotonic() - answered))
    return found


class Load:
    """Single-row updates at a steady rate, directly on the first server."""

    def __init__(self, pair, rate, directory):
        script = directory / f"{pair.name}.sql"
        script.write_text(ONE["UPDATE"].format(t="narrow", rows=ROWS))
        self.command = [str(server_programs() / "pgbench"), "-n", "-M", "prepared", "-f", str(script), "-c", "4", "-T", "3600",
                        "-R", str(rate), pair.servers[0].url("app", "app-secret", "app")]
        self.rate = rate

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if self.rate else None

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait(30)


def latency(pairs, seconds, rounds, rates, directory):
    ways = {"pgjanus, `primary`: COMMIT to there": (pairs[0], True, "primary"),
            "pgjanus, past the proxy: COMMIT to there": (pairs[0], False, "primary"),
            "logical replication: COMMIT to there": (pairs[1], False, None),
            "pgjanus, `both`: UPDATE with its COMMIT": (pairs[0], True, "both")}
    lines = {}
    for number in range(rounds):
        for rate in rates:
            for name, (pair, through, acknowledge) in ways.items():
                url = pair.acknowledging(acknowledge) if through else None
                with Load(pair, rate, directory):
                    found = sorted(delays(pair, seconds, url, acknowledge == "both"))
                cell = lines.setdefault(name, {}).setdefault(rate, [])
                cell.append((statistics.median(found), found[int(len(found) * 0.99)]))
                say(f"delay, round {number + 1}, {rate} a second, {name}: {cell[-1][0]:.2f}, {cell[-1][1]:.2f} ms")
    head = [f"{rate} writes a second, {which}" for rate in rates for which in ("p50", "p99")]
    table("Milliseconds", ["", *head], [[name, *(three([one[which] for one in found[rate]], 2) for rate in rates for which in (0, 1))]
                                        for name, found in lines.items()])


def synchronous(pairs, seconds, rounds):
    """TPC-B of 64 clients whose COMMIT waits until the other side has applied it."""
    publisher = pairs[1].servers[0]
    publisher.execute("ALTER SYSTEM SET synchronous_standby_names = 's'")
    publisher.execute("SELECT pg_reload_conf()")
    url = pairs[0].acknowledging("both")
    ways = {"pgjanus, `both`": (url, ""),
            "logical replication, remote_apply": (publisher.url("app", "app-secret", "app"), "-c synchronous_commit=remote_apply"),
            "logical replication, not waited for": (publisher.url("app", "app-secret", "app"), "-c synchronous_commit=local")}
    found = {name: [] for name in ways}
    for number in range(rounds):
        for name, (where, options) in ways.items():
            done = subprocess.run(
                [str(server_programs() / "pgbench"), "-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", str(seconds), where],
                capture_output=True, text=True, check=True, env={**os.environ, "PGOPTIONS": options})
            found[name].append(float(done.stdout.split("tps = ")[1].split()[0]))
            say(f"synchronous, round {number + 1}, {name}: {found[name][-1]:,.0f} a second")
            pairs[0].program.wait_in_sync(60)
            publisher.execute("UPDATE probe SET n = n + 1", database="app", user="app")
            wait_until(pairs[1].arrived, 300, "logical replication to catch up", every=0.05)
    publisher.execute("ALTER SYSTEM RESET synchronous_standby_names")
    publisher.execute("SELECT pg_reload_conf()")
    first, second = list(found.values())[:2]
    table("TPC-B, 64 clients, transactions a second", ["", "median (min to max)"],
          [[name, three(values, 0)] for name, values in found.items()] + [["ratio of the first two", three([a / b for a, b in zip(first, second)], 2)]])


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/mirror", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement (3)")
    parser.add_argument("--rates", default="0,500", help="writes a second beside the measured ones (0,500)")
    parser.add_argument("--parts", default="capture,throughput,latency,synchronous", help="(all four)")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # Leaves no server behind.
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-bench-mirror-"))
    directory.chmod(0o755)
    factory, pairs = ClusterFactory(directory), []
    try:
        pairs.append(Pgjanused(factory))
        pairs.append(Replicated(factory))
        print(f"`tests/bench/mirror {' '.join(sys.argv[1:])}`, {os.cpu_count()} cores, everything on one machine")
        if "capture" in parts:
            capture(pairs[0], arguments.seconds, arguments.rounds, directory)
        if "throughput" in parts:
            throughput(pairs, arguments.rounds)
        if "latency" in parts:
            latency(pairs, arguments.seconds, arguments.rounds, [int(rate) for rate in arguments.rates.split(",")], directory)
        if "synchronous" in parts:
            synchronous(pairs, 2 * arguments.seconds, arguments.rounds)
    finally:
        for pair in pairs:
            pair.end()
        for server in factory.made:
            server.stop("immediate")
        tidy(directory)


if __name__ == "__main__":
    main()
