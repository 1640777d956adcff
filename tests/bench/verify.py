"""Verification: `pgjanus verify` against counting and printing every row, `SELECT count(*), sum(length(t::text))`
of each table, on both sides at once.

One source and one target server, a database for each kind of data, loaded by pgjanus. Both take turns, round
after round, everything in the servers' memory or the operating system's. Memory is the peak of the pgjanus process.

--under-load MINUTES instead compares pgbench's tables again and again while TPC-B runs through pgjanus: every difference
that is told is a false alarm.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parents[1] / "integration")]

from contenders import SERVER, say  # noqa: E402
from load import KINDS, Data  # noqa: E402
from measure import table, three  # noqa: E402
from harness import ClusterFactory, Pgjanus  # noqa: E402
from harness.cluster import server_programs  # noqa: E402


def counting(servers, kind, tables):
    """Seconds that both sides need, side by side."""
    answers = [None, None]

    def count(number):
        with servers[number].connect(kind) as connection:
            connection.execute("SET search_path = public")
            answers[number] = [connection.execute(
                f"SELECT count(*), sum(length(t::text)) FROM {name} t").fetchone() for name in tables]
    threads = [threading.Thread(target=count, args=(number,)) for number in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    if answers[0] is None or answers[0] != answers[1]:
        raise RuntimeError(f"the sides of {kind} differ")
    return seconds


def verifying(program):
    began = time.monotonic()
    result = program.do("verify", timeout=1200).json
    seconds = time.monotonic() - began
    if result["differences"] or not result["complete"]:
        raise RuntimeError(f"verify: {result}")
    return seconds


def peak(program):
    """MB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def under_load(servers, directory, arguments):
    """Compares while everybody writes; fails at the first alarm, since nobody harmed anything."""
    for server in servers:
        server.execute("CREATE DATABASE narrow OWNER app")
    Data(arguments).fill(servers[0], "narrow")
    program = Pgjanus(directory / "pgjanus-load", *(server.url("app", "app-secret", "narrow") for server in servers),
                      environment={"PGJANUS_LOAD_WORKERS": str(arguments.workers), "PGJANUS_LOAD_YIELD": "off"})
    program.start()
    bench = None
    try:
        program.do("prepare", timeout=600)
        program.do("load", timeout=1200)
        seconds = int(arguments.under_load * 60)
        bench = subprocess.Popen([server_programs() / "pgbench", "-n", "-M", "prepared", "-c", "8", "-T", str(seconds), "-R", str(arguments.rate),
                                  program.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        took, rows = [], 0
        while bench.poll() is None:
            began = time.monotonic()
            result = program.do("verify", timeout=1200).json
            took.append(time.monotonic() - began)
            rows += sum(one["rows"] or 0 for one in result["tables"])
            if result["differences"] or not result["complete"]:
                raise RuntimeError(f"verify {len(took)}: {result}")
        said = bench.communicate()[0]
        if bench.returncode or "number of failed transactions: 0 " not in said:
            raise RuntimeError(said)
        done = said.split("actually processed: ")[1].split()[0]
        print(f"\n`tests/bench/verify {' '.join(sys.argv[1:])}`: {len(took)} comparisons of {rows:,} rows in all ({three(took, 2)} s each), "
              f"no alarm, while {done} transactions were written, none failed; pgjanus at most {peak(program)} MB")
    finally:
        if bench is not None and bench.poll() is None:
            bench.kill()
        program.stop()


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/verify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--scale", type=int, default=50, help="of pgbench's tables (50)")
    parser.add_argument("--tables", type=int, default=2000, help="small ones (2000)")
    parser.add_argument("--wide-rows", type=int, default=150_000, help="(150000)")
    parser.add_argument("--indexed-rows", type=int, default=1_500_000, help="(1500000)")
    parser.add_argument("--workers", type=int, default=4, help="[load] workers (4)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of: {','.join(KINDS)}")
    parser.add_argument("--under-load", type=float, default=0, metavar="MINUTES", help="compare while TPC-B runs, for so long")
    parser.add_argument("--rate", type=int, default=200, help="of TPC-B then, transactions a second (200)")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # Leaves no server behind.
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-bench-verify-"))
    directory.chmod(0o755)
    factory = ClusterFactory(directory)
    program = None
    try:
        settings = {**SERVER, "autovacuum": "off"}
        servers = [factory.make(name, auth="trust", settings=settings) for name in ("source", "target")]
        for server in servers:
            server.execute("CREATE ROLE app LOGIN PASSWORD 'app-secret'")
            server.execute("GRANT SET ON PARAMETER session_replication_role TO app")
        if arguments.under_load:
            under_load(servers, directory, arguments)
            return
        lines = {"count(*), sum(length(t::text))": [], "pgjanus verify": [], "speed against it": [],
                 "peak after load, MB": [], "peak after verify, MB": []}
        for kind in kinds:
            say(f"filling {kind}")
            for server in servers:
                server.execute(f"CREATE DATABASE {kind} OWNER app")
            Data(arguments).fill(servers[0], kind)
            program = Pgjanus(directory / f"pgjanus-{kind}", *(server.url("app", "app-secret", kind) for server in servers),
                              environment={"PGJANUS_LOAD_WORKERS": str(arguments.workers)})
            program.start()
            program.do("prepare", timeout=600)
            program.do("load", timeout=1200)
            loaded = peak(program)
            servers[1].execute("VACUUM ANALYZE", database=kind)
            names = Data(arguments).tables(servers[0], kind)
            rounds = []
            for number in range(arguments.rounds):
                rounds.append((counting(servers, kind, names), verifying(program)))
                say(f"round {number + 1}, {kind}: counting {rounds[-1][0]:.2f} s, verify {rounds[-1][1]:.2f} s")
            for line, cell in zip(lines.values(), [three([a for a, _ in rounds], 2), three([b for _, b in rounds], 2),
                                                   three([a / b for a, b in rounds], 2), str(loaded), str(peak(program))]):
                line.append(cell)
            program.stop()
            for server in servers:
                server.execute(f"DROP DATABASE {kind} WITH (FORCE)")
        print(f"\n`tests/bench/verify {' '.join(sys.argv[1:])}`, {os.cpu_count()} cores, everything on one machine")
        table("Seconds, median (min to max)", ["", *kinds], [[name, *cells] for name, cells in lines.items()])
    finally:
        if program is not None:
            program.stop()
        for server in factory.made:
            server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
