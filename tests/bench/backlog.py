"""What a backlog costs: one transaction of very many rows, one batch of very many bytes, a target that is away while the
app writes. For each: how long until both sides are equal again, the most memory that pgjanus had, the journal's size at its
highest and in the end, and what a flip is told meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parents[1] / "integration")]

from contenders import SERVER, say, tidy  # noqa: E402
from harness import ClusterFactory, Pgjanus, equal_within, wait_until  # noqa: E402
from harness.cluster import server_programs  # noqa: E402

SCHEMA = """
CREATE TABLE long (id bigint PRIMARY KEY, n int NOT NULL);
CREATE TABLE wide (id int PRIMARY KEY, body text NOT NULL);
ALTER TABLE wide ALTER COLUMN body SET STORAGE EXTERNAL;
"""
MEGABYTE = 1 << 20
KEPT = 64 * MEGABYTE  # So much space stays the journal's, to be used again (proxy/engine/engine_journal.cpp).


class Watcher(threading.Thread):
    """Asks for the status until it is stopped; keeps the highest numbers, and what a dry run of a flip says."""

    def __init__(self, pgjanus):
        super().__init__()
        self.pgjanus, self.ended = pgjanus, threading.Event()
        self.journal = self.backlog = 0
        self.states, self.seen, self.reasons = [], set(), set()

    def run(self):
        while not self.ended.wait(0.5):
            mirror = self.pgjanus.status()["mirror"]
            self.journal = max(self.journal, mirror["journal_bytes"] or 0)
            self.backlog = max(self.backlog, mirror["backlog_keys"] or 0)
            self.seen.add(mirror["backlog_keys"])
            if mirror["state"] not in self.states[-1:]:
                self.states.append(mirror["state"])
            if mirror["state"] != "in_sync":
                self.reasons |= set(self.refused())

    def refused(self):
        """The guards that are in the way of a flip."""
        told = self.pgjanus.cli("cutover", "--dry-run").json
        return [guard["name"] for guard in told["guards"] if not guard["ok"]]


def peak(pgjanus):
    """MB, since the last call."""
    process = Path(f"/proc/{pgjanus.process.pid}")
    most = int((process / "status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    (process / "clear_refs").write_text("5")
    return most


def measured(name, pgjanus, servers, work):
    say(name)
    peak(pgjanus)
    watcher = Watcher(pgjanus)
    watcher.start()
    try:
        began = time.monotonic()
        work()
        worked = time.monotonic() - began
        wait_until(lambda: pgjanus.status()["mirror"]["state"] == "in_sync", 7200, f"the mirror after {name}", every=0.2)
        pgjanus.cli("status")
        caught_up = time.monotonic() - began - worked
    finally:
        watcher.ended.set()
        watcher.join()
    most = peak(pgjanus)

    def shrunk():
        return (pgjanus.status()["mirror"]["journal_bytes"] or 0) <= KEPT
    wait_until(shrunk, 300, "the journal to shrink", every=0.5)
    with servers[0].connect("app") as left, servers[1].connect("app") as right:
        equal_within(left, right, 300)
    say(f"    work {worked:.1f} s, then {caught_up:.1f} s until in_sync; pgjanus {most} MB at most; states {', '.join(watcher.states)}")
    say(f"    journal {watcher.journal / MEGABYTE:.0f} MB at most and {pgjanus.status()['mirror']['journal_bytes'] / MEGABYTE:.1f} MB in the end; "
        f"backlog shown: {watcher.backlog} keys at most, {len(watcher.seen)} values")
    say(f"    a flip was refused meanwhile by: {', '.join(sorted(watcher.reasons)) or 'nothing (it was never behind)'}")
    print(name, f"{worked:.1f}", f"{caught_up:.1f}", most, f"{watcher.journal / MEGABYTE:.0f}", sep="\t", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the one transaction")
    parser.add_argument("--megabytes", type=int, default=1024, help="of the one batch")
    parser.add_argument("--seconds", type=int, default=600, help="for which the target is away under pgbench's load")
    parser.add_argument("--rate", type=int, help="transactions a second of that load; as fast as it goes if not given")
    parser.add_argument("--work", default="insert,update,delete,wide,huge,away", help="which of these, in this order")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-backlog-"))
    directory.chmod(0o755)
    factory, servers, pgjanus = ClusterFactory(directory), [], None
    try:
        servers += [factory.make(name, fsync=False, auth="trust", settings=SERVER) for name in ("source", "target")]
        for server in servers:
            server.plain_owner()
        servers[1].execute("GRANT SET ON PARAMETER session_replication_role TO app")
        servers[0].script(SCHEMA, "app", "app")
        subprocess.run([str(server_programs() / "pgbench"), "-i", "-q", "-s", "10", servers[0].url("app", "app-secret", "app")],
                       check=True, capture_output=True)
        pgjanus = Pgjanus(directory / "program", *(s.url("app", "app-secret", "app") for s in servers)).start()
        for verb in ("prepare", "load"):
            pgjanus.do(verb, timeout=600)
        pgjanus.wait_in_sync()
        run(arguments, pgjanus, servers)
    finally:
        if pgjanus:
            pgjanus.stop()
        for server in servers:
            server.stop("immediate")
        tidy(directory)


def run(arguments, pgjanus, servers):
    def one(statement):
        def work():
            with pgjanus.connect() as client:
                client.execute(statement)
        return work
    def away():
        servers[1].stop("immediate")
        try:
            done = subprocess.run([str(server_programs() / "pgbench"), "-n", "-M", "prepared", "-c", "8", "-T", str(arguments.seconds),
                                   *(["-R", str(arguments.rate)] if arguments.rate else []), pgjanus.url], capture_output=True, text=True, check=True).stdout
        finally:
            servers[1].start()
        say("    " + " ".join(line for line in done.splitlines() if line.startswith(("tps", "number of transactions actually", "number of failed"))))

    rows = arguments.rows
    works = {"insert": (f"INSERT of {rows} rows", one(f"INSERT INTO long SELECT i, 0 FROM generate_series(1, {rows}) i")),
             "update": (f"UPDATE of {rows} rows", one("UPDATE long SET n = 1")),
             "delete": (f"DELETE of {rows} rows", one("DELETE FROM long"))}
    for name, size in (("wide", 10_000), ("huge", 4 * MEGABYTE)):
        count = arguments.megabytes * MEGABYTE // size
        works[name] = (f"INSERT of {count} rows of {size} bytes", one(
            "DELETE FROM wide; INSERT INTO wide SELECT i, left(repeat(md5(i::text) || md5((-i)::text), "
            f"{size // 64 + 1}), {size}) FROM generate_series(1, {count}) i"))
    works["away"] = (f"target away for {arguments.seconds} s", away)
    print("work", "seconds", "until in sync", "MB of pgjanus", "MB of journal", sep="\t")
    for name in arguments.work.split(","):
        measured(works[name][0], pgjanus, servers, works[name][1])


if __name__ == "__main__":
    main()
