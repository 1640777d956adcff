"""Measures all contenders in turn, round after round, and prints ratios.

One machine runs everything, pgbench included, so absolute numbers say little; ratios within one
round, where noise hits all alike, say more. Each ratio is given as median (min to max) of the rounds.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parents[1] / "integration")]

import psycopg  # noqa: E402

from contenders import ALL, say, standing  # noqa: E402
from harness import compare, equal_within  # noqa: E402
from harness.cluster import server_programs  # noqa: E402

WORKLOADS = {"select 8": ("-S", 8), "select 64": ("-S", 64), "TPC-B 8": ("", 8),
             "TPC-B 64": ("", 64)}


def pgbench(url, kind, clients, seconds):
    """The command; prepared statements, two threads."""
    script = ["-S"] if kind == "-S" else ["-b", "tpcb-like"]
    return [str(server_programs() / "pgbench"), "-n", "-M", "prepared", *script, "-c", str(clients),
            "-j", "2", "-T", str(seconds), url]


def measure(contender, kind, clients, seconds):
    """Transactions a second, and failures counted by pgbench."""
    contender.settle()
    done = subprocess.run(pgbench(contender.url(), kind, clients, seconds), capture_output=True,
                          text=True, check=False)
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"pgbench through {contender.name}: {done.stdout}\n{done.stderr}")
    return float(found.group(1))


class Probe(threading.Thread):
    """A client of its own that writes all the time and keeps the longest it had to wait."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.longest, self.end, self.error = url, 0.0, threading.Event(), None

    def run(self):
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                while not self.end.is_set():
                    began = time.monotonic()
                    connection.execute("UPDATE pgbench_tellers SET tbalance = tbalance + 1 "
                                       "WHERE tid = 1")
                    self.longest = max(self.longest, time.monotonic() - began)
        except psycopg.Error as error:
            self.error = error


def flips(contender, count):
    """Blackouts in ms of `count` flips there and back under TPC-B of 8 clients, and for each the
    longest wait that one more client saw around it."""
    results = []
    load = subprocess.Popen(pgbench(contender.url(), "", 8, 3600), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    try:
        for number in range(count):
            verb = "cutover" if number % 2 == 0 else "rollback"
            contender.pgjanus.wait_in_sync(120)
            probe = Probe(contender.url())
            probe.start()
            time.sleep(1)  # The load runs for a while between two flips, as it would.
            contender.pgjanus.do(verb)
            time.sleep(1)
            probe.end.set()
            probe.join(30)
            if probe.error or load.poll() is not None:
                raise RuntimeError(f"a client saw an error in {verb}: "
                                   f"{probe.error or load.communicate()[1]}")
            results.append((verb, contender.pgjanus.status()["last_flip"]["blackout_ms"],
                            probe.longest * 1000))
            say(f"  {verb}: {results[-1][1]:.1f} ms, longest wait of a client {results[-1][2]:.1f} ms")
    finally:
        load.terminate()
        load.communicate()
    return results


def three(values, digits):
    """median (min to max)"""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return (f"{statistics.median(values):,.{digits}f} "
            f"({min(values):,.{digits}f} to {max(values):,.{digits}f})")


def table(title, head, rows):
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def report(contenders, workloads, results, arguments):
    """The tables; results[workload][key] is a list, one value a round."""
    print(f"\n`tests/bench/run --seconds {arguments.seconds} --rounds {arguments.rounds} "
          f"--scale {arguments.scale}`, {os.cpu_count()} cores, everything on one machine")
    table("Transactions a second, median (min to max)", ["", *workloads],
          [[c.name, *(three(results[w][key], 0) for w in workloads)]
           for key, c in contenders.items()])
    for other in ("direct", "pgbouncer", "pgpool"):
        if other in contenders:
            rows = []
            for key, contender in contenders.items():
                if key != other:
                    rows.append([contender.name, *(
                        three([a / b for a, b in zip(results[w][key], results[w][other])], 2)
                        for w in workloads)])
            table(f"Ratio to {contenders[other].name}, round by round", ["", *workloads], rows)


def check_sides(contenders):
    """After all rounds: are both servers of each mirroring contender equal?"""
    for key in ("both", "primary", "pgpool"):
        if key in contenders:
            contender = contenders[key]
            with contender.servers[0].connect("app") as left, \
                    contender.servers[1].connect("app") as right:
                if key == "pgpool":
                    differences = compare(left, right)
                    say(f"{contender.name}: {len(differences)} tables differ at the end")
                    for difference in differences:
                        say(f"  {difference[:200]}")
                else:
                    contender.pgjanus.wait_in_sync(300)
                    equal_within(left, right, 120)
                    say(f"{contender.name}: both sides are equal at the end")


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of one measurement (10)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--scale", type=int, default=20, help="pgbench's scale factor (20)")
    parser.add_argument("--flips", type=int, default=10, help="flips under load (10; 0: none)")
    parser.add_argument("--only", default=",".join(ALL), help=f"some of: {','.join(ALL)}")
    parser.add_argument("--workloads", default=",".join(WORKLOADS),
                        help=f"some of: {','.join(WORKLOADS)}")
    arguments = parser.parse_args()
    workloads = {name: WORKLOADS[name] for name in arguments.workloads.split(",")}

    with standing(ALL, arguments) as (_, contenders):
        results = {w: {key: [] for key in contenders} for w in workloads}
        for number in range(arguments.rounds):
            for workload, (kind, clients) in workloads.items():
                for key, contender in contenders.items():
                    tps = measure(contender, kind, clients, arguments.seconds)
                    results[workload][key].append(tps)
                    say(f"round {number + 1}, {workload}, {contender.name}: {tps:,.0f}")
        report(contenders, list(workloads), results, arguments)
        if "both" in contenders and arguments.flips:
            say("flips under TPC-B, 8 clients")
            done = flips(contenders["both"], arguments.flips)
            table(f"{len(done)} flips under TPC-B, 8 clients, median (min to max), ms",
                  ["blackout (gate closed to open)", "longest wait of one more client"],
                  [[three([d[1] for d in done], 1), three([d[2] for d in done], 1)]])
        check_sides(contenders)


if __name__ == "__main__":
    main()
