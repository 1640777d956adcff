"""Compares the passing on of sessions with PgBouncer: throughput, the proxy's own CPU time and latency.

No mirroring here. All contenders take turns within a round, and what is printed are ratios within one
round, as median (min to max) of the rounds: on one machine, shared by pgbench, proxy and server,
absolute numbers say little.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parents[1] / "integration")]

import contenders as single  # noqa: E402
from contenders import Direct, Passing, PgBouncer, say, standing  # noqa: E402
from harness.cluster import server_programs  # noqa: E402
from measure import table, three  # noqa: E402

single.SERVER.update(max_connections="1500", shared_buffers="'512MB'")
SCRIPTS = {"select": ["-S"], "TPC-B": ["-b", "tpcb-like"]}


class TransactionPgBouncer(PgBouncer):
    name, mode = "PgBouncer, transaction", "transaction"


class TransactionPassing(Passing):
    name, pool = "pgjanus, transaction", "transaction"


ALL = {"direct": Direct, "pgbouncer": PgBouncer, "pgjanus": Passing,
       "pgbouncer-transaction": TransactionPgBouncer, "pgjanus-transaction": TransactionPassing}


@dataclass
class Measured:
    """One run: transactions a second, the proxy's CPU seconds a transaction, latencies in ms."""

    tps: float
    cpu: float
    p50: float
    p99: float


def cpu_seconds(process):
    """User and system time of a process and of its children (runuser is the parent of what it runs);
    0 without one (direct)."""
    if process is None:
        return 0.0
    total, pids = 0, [str(process.pid)]
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
        pids += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total / os.sysconf("SC_CLK_TCK")


def process_of(contender):
    """The proxy's process; None: there is none."""
    if hasattr(contender, "pgjanus"):
        return contender.pgjanus.process
    return getattr(contender, "process", None)


def measure(contender, script, mode, clients, seconds, directory):
    """Runs pgbench once, longer where many clients have to connect first. Of many transactions a tenth is
    logged, for the latencies."""
    contender.settle()
    log = directory / "latency"
    process, before = process_of(contender), cpu_seconds(process_of(contender))
    rate = "1" if clients == 1 else "0.1"
    done = subprocess.run(
        [str(server_programs() / "pgbench"), "-n", "-M", mode, *SCRIPTS[script], "-c", str(clients),
         "-j", "2", "-T", str(seconds + clients // 64), "-l", f"--log-prefix={log}", f"--sampling-rate={rate}",
         contender.url()], capture_output=True, text=True, check=False)
    spent = cpu_seconds(process) - before
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    if done.returncode or not found or not count:
        raise RuntimeError(f"pgbench through {contender.name}: {done.stdout}\n{done.stderr}")
    latencies = []
    for part in directory.glob("latency.*"):
        latencies += [int(line.split()[2]) / 1000 for line in part.read_text().splitlines()]
        part.unlink()
    latencies.sort()
    at = [latencies[min(int(len(latencies) * q), len(latencies) - 1)] for q in (0.5, 0.99)]
    return Measured(float(found.group(1)), spent / max(int(count.group(1)), 1), *at)


def compared(results, ours, theirs, what):
    """Ratios of one number, round by round; a missing pair is left out."""
    return [what(a) / what(b) for a, b in zip(results[ours], results[theirs]) if what(b)]


def report(contenders, results, arguments):
    print(f"\n`tests/bench/sessions {' '.join(arguments)}`, {os.cpu_count()} cores, everything on "
          "one machine")
    keys = list(contenders)
    table("Transactions a second", ["", *results],
          [[contenders[k].name, *(three([m.tps for m in r[k]], 0) for r in results.values())]
           for k in keys])
    pairs = [("pgjanus", "pgbouncer"), ("pgjanus-transaction", "pgbouncer-transaction"),
             ("pgjanus", "direct"), ("pgbouncer", "direct")]
    rows = {"transactions a second": lambda m: m.tps, "CPU time of the proxy a transaction":
            lambda m: m.cpu, "p99/p50": lambda m: m.p99 / m.p50 if m.p50 else 0}
    for ours, theirs in pairs:
        if ours in contenders and theirs in contenders:
            table(f"{contenders[ours].name} to {contenders[theirs].name}, within a round",
                  ["", *results],
                  [[name, *(three(compared(r, ours, theirs, what), 2) for r in results.values())]
                   for name, what in rows.items()])
    if "direct" in contenders:
        added = []
        for key in keys:
            if key != "direct":
                added.append([contenders[key].name, *(
                    three([1000 * (a.p50 - b.p50) for a, b in zip(r[key], r["direct"])], 0)
                    for w, r in results.items() if w.endswith(" 1"))])
        one = [w for w in results if w.endswith(" 1")]
        if one:
            table("Median latency added to direct, microseconds", ["", *one], added)


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/sessions", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement (5)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--scale", type=int, default=20, help="pgbench's scale factor (20)")
    parser.add_argument("--clients", default="1,8,64,512", help="(1,8,64,512)")
    parser.add_argument("--modes", default="simple,prepared", help="(simple,prepared)")
    parser.add_argument("--scripts", default="select,TPC-B", help="(select,TPC-B)")
    parser.add_argument("--only", default=",".join(ALL), help=f"some of: {','.join(ALL)}")
    arguments = parser.parse_args()

    with standing(ALL, arguments) as (directory, contenders):
        results = {}
        for script in arguments.scripts.split(","):
            for mode in arguments.modes.split(","):
                for clients in arguments.clients.split(","):
                    results[f"{script} {mode} {clients}"] = {key: [] for key in contenders}
        for number in range(arguments.rounds):
            for workload, kept in results.items():
                script, mode, clients = workload.split()
                for key, contender in contenders.items():
                    # Debian's PgBouncer has no prepared statements in transaction pooling.
                    if mode == "prepared" and key == "pgbouncer-transaction":
                        continue
                    # pgbench prepares by a call that blocks all its clients: with more of them than servers it waits for itself.
                    if mode == "prepared" and script == "TPC-B" and key == "pgjanus-transaction" and int(clients) > 40:
                        continue
                    kept[key].append(measure(contender, script, mode, int(clients),
                                             arguments.seconds, directory))
                    say(f"round {number + 1}, {workload}, {contender.name}: "
                        f"{kept[key][-1].tps:,.0f}")
        report(contenders, results, sys.argv[1:])


if __name__ == "__main__":
    main()
