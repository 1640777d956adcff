"""The whole migration of a small shop, told as it happens. Run by deploy/demo.

Servers and comparison are the test harness's; they share no code with pgjanus.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "integration"))

import psycopg  # noqa: E402

from clients import Shop  # noqa: E402
from harness import ClusterFactory, Pgjanus, compare, wait_until  # noqa: E402
from harness.cluster import as_server_user, server_programs  # noqa: E402

KEPT = Path(tempfile.gettempdir()) / f"pgjanus-demo-{os.getuid()}.json"
CLIENTS = 6


class Failed(Exception):
    """The demo did not get to its end; the text says where."""


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n== {text}")


class Demo:
    """Two servers, the proxy, the shop's clients."""

    def __init__(self, directory):
        self.directory = directory
        self.factory = ClusterFactory(directory)
        self.pgjanus = self.shop = None
        self.blackouts = []   # (verb, blackout in ms, longest transaction of a client in ms)

    def play(self):
        self.start()
        self.verb("check", "looks at both databases and changes nothing")
        self.verb("prepare", "copies the schema and installs capture, with an owner's rights only")
        self.verb("load", "copies the rows while the shop writes, then mirrors")
        self.alive()
        self.verb("verify", "compares all rows at one boundary, under full load")
        self.verb("reads", "sends reads to the other side; writes stay", "target")
        self.where_reads_go()
        self.verb("reads", "and back", "primary")
        self.flip("cutover", "the target becomes the primary")
        self.fenced(self.source, "source")
        self.flip("rollback", "and back: the way back is open at any time")
        self.fenced(self.target, "target")
        self.verb("verify", "once more, before the last flip")
        self.flip("cutover", "for good")
        self.alive()
        step("The clients stop; now promises are compared with facts, without pgjanus")
        self.shop.stop()
        self.pgjanus.wait_in_sync(60)
        differences, broken, rows = self.facts()
        self.verb("finish", "ends the migration; the proxy goes on serving the target",
                  "--confirm", "shop")
        self.after_finish()
        return self.table(differences, broken, rows)

    def start(self):
        step("Two throwaway Postgres servers on loopback")
        self.source, self.target = self.factory.make("source"), self.factory.make("target")
        self.source_url = self.source.plain_owner("shop_app", "shop-secret", "shop")
        self.target_url = self.target.rds_owner("shop_app", "other-secret", "shop")
        version = self.source.execute("SHOW server_version")[0][0]
        say(f"source on port {self.source.port}, target on port {self.target.port}, Postgres {version}")
        say("the source's role owns its tables and no more: no superuser, no replication")
        for name in ("schema.sql", "data.sql"):
            self.source.script((HERE / name).read_text(), "shop", "shop_app")
        (rows,) = self.source.execute("SELECT sum((xpath('/row/c/text()', query_to_xml(format("
                                      "'SELECT count(*) AS c FROM %s', oid::regclass), false, true, "
                                      "'')))[1]::text::bigint) FROM pg_class WHERE relkind = 'r' AND "
                                      "relnamespace IN ('public'::regnamespace, 'audit'::regnamespace)",
                                      database="shop")[0]
        say(f"a shop with {int(rows):,} rows")
        step("pgjanus between them")
        self.pgjanus = Pgjanus(self.directory / "pgjanus", self.source_url, self.target_url)
        self.pgjanus.start()
        say("SOURCE_DATABASE_URL=… TARGET_DATABASE_URL=… pgjanus run")
        say(f"the shop's DATABASE_URL now names port {self.pgjanus.port}; nothing else changes for it")
        self.shop = Shop(self.pgjanus.url, CLIENTS, int.from_bytes(os.urandom(4), "big"))
        self.shop.start()
        self.alive()

    def alive(self):
        """The clients get on: 200 more writes."""
        wanted = self.shop.writes() + 200
        wait_until(lambda: self.shop.writes() >= wanted or self.shop.errors(), 60,
                   "200 more writes of the shop's clients")
        say(f"   {CLIENTS} clients write: {self.shop.writes():,} transactions acknowledged, "
            f"{len(self.shop.errors())} errors")

    def verb(self, verb, meaning, *arguments):
        """Runs a verb as an operator does, its words indented."""
        step(f"pgjanus {' '.join([verb, *arguments])}: {meaning}")
        began = time.monotonic()
        with subprocess.Popen([str(self.pgjanus.binary), verb, *arguments],
                              env=self.pgjanus.client_environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            for line in run.stdout:
                say(f"   {line.rstrip()}")
        if run.returncode:
            raise Failed(f"pgjanus {verb} ended with exit code {run.returncode}")
        say(f"   ({time.monotonic() - began:.1f} s)")

    def flip(self, verb, meaning):
        self.pgjanus.wait_in_sync(60)
        self.shop.longest()
        self.verb(verb, meaning)
        self.alive()
        blackout, longest = self.pgjanus.status()["last_flip"]["blackout_ms"], self.shop.longest()
        self.blackouts.append((verb, blackout, longest))
        say(f"   blackout {blackout:.1f} ms; the slowest transaction of any client took {longest:.0f} ms")

    def where_reads_go(self):
        before = self.reads_on_target()
        with psycopg.connect(self.pgjanus.url, autocommit=True) as connection:
            for _ in range(20):
                connection.execute("SELECT count(*) FROM categories").fetchone()
        say(f"   of 20 reads {min(20, self.reads_on_target() - before)} were answered by the target")

    def reads_on_target(self):
        lines = re.findall(r'^pgjanus_queries_total\{([^}]*)\} (\d+)', self.pgjanus.http("/metrics")[1],
                           re.MULTILINE)
        return sum(int(count) for labels, count in lines
                   if 'side="target"' in labels and 'kind="read"' in labels)

    def fenced(self, server, name):
        """The old primary refuses a write made directly on it."""
        url = self.source_url if name == "source" else self.target_url
        try:
            with psycopg.connect(url, autocommit=True) as direct:
                direct.execute("UPDATE products SET stock = 0 WHERE sku = 'SKU-1'")
        except psycopg.errors.ReadOnlySqlTransaction as refused:
            say(f"   a write straight to the {name}: {refused.diag.message_primary}")
            return
        raise Failed(f"the {name} (port {server.port}) took a write although it is the mirror")

    def facts(self):
        """Differences between the sides, broken promises, rows; asked of the servers alone."""
        with self.source.connect("shop") as left, self.target.connect("shop") as right:
            differences = compare(left, right)
            broken = [f"{name}: {text}" for name, side in (("source", left), ("target", right))
                      for text in self.shop.broken(side)]
            rows = [tuple(side.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                          for side in (left, right)) + (table,)
                    for table in ("customers", "addresses", "products", "orders", "order_items",
                                  "order_history", "events", "jobs", "audit.log")]
            for table, column in (("customers", "id"), ("addresses", "id"), ("orders", "id"),
                                  ("order_history", "id"), ("jobs", "id")):
                (behind,) = right.execute(
                    f"SELECT coalesce(max({column}), 0) > pg_sequence_last_value("
                    f"pg_get_serial_sequence('{table}', '{column}')::regclass) FROM {table}"
                ).fetchone()
                if behind:
                    differences.append(f"the sequence of {table}.{column} is behind its rows")
        return differences, broken, rows

    def after_finish(self):
        with psycopg.connect(self.pgjanus.url, autocommit=True) as connection:
            (id_,) = connection.execute("SELECT place_order(1, 1)").fetchone()
        with self.target.connect("shop") as target:
            if not target.execute("SELECT 1 FROM orders WHERE id = %s", (id_,)).fetchone():
                raise Failed("an order placed after finish is not on the target")
            (left,) = target.execute("SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON "
                                     "p.oid = t.tgfoid WHERE p.pronamespace = 'pgjanus'::"
                                     "regnamespace AND t.tgrelid::regclass::text NOT LIKE "
                                     "'pgjanus.%%'").fetchone()
        say(f"   an order placed now is on the target; triggers of ours left there: {left}")

    def table(self, differences, broken, rows):
        """Prints the end; True when all is well."""
        errors = self.shop.errors()
        step("The end")
        say(f"   {'table':<16}{'source':>10}{'target':>10}")
        for left, right, name in rows:
            say(f"   {name:<16}{left:>10,}{right:>10,}")
        say()
        say(f"   {'writes acknowledged':<32}{self.shop.writes():>10,}")
        say(f"   {'acknowledged writes lost':<32}{len(broken):>10,}")
        say(f"   {'client errors':<32}{len(errors):>10,}")
        for verb, blackout, longest in self.blackouts:
            say(f"   {f'blackout of {verb}':<32}{blackout:>10.1f} ms   "
                f"(slowest transaction of a client {longest:.0f} ms)")
        say(f"   {'differences found':<32}{len(differences):>10,}")
        for text in [*broken[:10], *errors[:10], *differences[:10]]:
            say(f"   ! {text[:300]}")
        return not (differences or broken or errors)

    def stop(self):
        if self.shop:
            for client in self.shop.clients:
                client.ended.set()
        if self.pgjanus:
            self.pgjanus.stop()
        for server in self.factory.made:
            server.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def keep(self):
        KEPT.write_text(json.dumps({
            "directory": str(self.directory), "pgjanus": self.pgjanus.process.pid,
            "servers": [str(server.data) for server in self.factory.made]}))
        say(f"""
Kept running (deploy/demo --stop ends it):
  through pgjanus  {self.pgjanus.url}
  dashboard        http://127.0.0.1:{self.pgjanus.http_port}/
  admin socket     psql -h {self.pgjanus.admin_directory} -p {self.pgjanus.port} pgjanus
  source           {self.source_url}
  target           {self.target_url}""")


def stop_kept():
    """Ends what --keep left."""
    try:
        kept = json.loads(KEPT.read_text())
    except FileNotFoundError:
        say("nothing was kept")
        return
    pid = kept["pgjanus"]
    try:
        if os.readlink(f"/proc/{pid}/exe").split(" ")[0].endswith("/pgjanus"):
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), 40, "pgjanus to end")
    except (FileNotFoundError, ProcessLookupError):
        pass
    for data in kept["servers"]:
        subprocess.run(as_server_user([server_programs() / "pg_ctl", "stop", "-m", "immediate",
                                       "-D", data]), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False, cwd="/")
    shutil.rmtree(kept["directory"], ignore_errors=True)
    KEPT.unlink()
    say("stopped, nothing is left")


def interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    arguments = sys.argv[1:]
    if arguments == ["--stop"]:
        stop_kept()
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
    if arguments == ["--keep"] and KEPT.exists():
        stop_kept()
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-demo-"))
    directory.chmod(0o755)
    demo, well, kept, began = Demo(directory), False, False, time.monotonic()
    try:
        well = demo.play()
        say(f"\n{'Nothing was lost and nothing differs' if well else 'NOT WELL, see above'} "
            f"({time.monotonic() - began:.0f} s)")
        if arguments == ["--keep"]:
            demo.keep()
            kept = True
    except KeyboardInterrupt as signal_name:
        say(f"\ninterrupted {signal_name}; cleaning up")
    except (Failed, AssertionError, RuntimeError, psycopg.Error) as error:
        say(f"\nFAILED: {error}")
        if demo.shop:
            for text in demo.shop.errors()[:5]:
                say(f"   ! {text}")
        if demo.pgjanus:
            say(f"--- the last lines of pgjanus's log\n{demo.pgjanus.log()[-3000:]}")
    finally:
        if not kept:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # Cleaning up is not interrupted.
            demo.stop()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
