"""Many clients at one pgjanus: what each costs in memory, how fast they come in, and at what price.

Real Postgres processes for thousands of sessions would not fit beside it, so the servers that
sessions lease are played by a small program (tests/tools/scale.cpp), which hands pgjanus' own control
connections on to a real Postgres. Memory is the resident set of the pgjanus process, read when
everybody is idle; CPU is its own, user and system, so that what the clients on the same machine
spend on their half of SCRAM does not count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]

from harness import ClusterFactory, Pgjanus, wait_until  # noqa: E402
from harness.wait import free_port  # noqa: E402

SCALE = os.environ.get("PGJANUS_SCALE") or str(
    Path(__file__).resolve().parents[2] / "build" / "release" / "tests" / "scale")


def resident_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:")) / 1024


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


class Clients:
    """The program `scale clients`; each step answers with its numbers."""

    def __init__(self, url, count, abreast):
        self.process = subprocess.Popen([SCALE, "clients", url, str(count), str(abreast)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.connected = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the clients have gone")
        return json.loads(line)

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


class Bench:
    def __init__(self, directory, arguments):
        self.directory, self.arguments = Path(directory), arguments
        self.factory = ClusterFactory(self.directory)
        source, target = self.factory.make("source"), self.factory.make("target")
        self.real = source.plain_owner()
        self.target = target.rds_owner()
        address = f"127.0.0.1:{free_port()}"
        parts = urlsplit(self.real)
        self.server = subprocess.Popen([SCALE, "server", address, f"127.0.0.1:{parts.port}",
                                        parts.password],
                                       stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline().strip() == "ok"
        self.played = self.real.replace(f"127.0.0.1:{parts.port}", address) + "?sslmode=disable"

    def close(self):
        self.server.kill()
        for cluster in self.factory.made:
            cluster.stop("immediate")

    def run(self, name, count, mode, tls):
        environment = {"PGJANUS_POOL": mode, "PGJANUS_THREADS": str(self.arguments.threads)}
        if tls:
            files = self.factory.tls()
            environment.update(PGJANUS_CERTIFICATE=str(files.certificate), PGJANUS_KEY=str(files.key))
        program = Pgjanus(tempfile.mkdtemp(dir=self.directory), self.played, self.target,
                          environment=environment)
        program.start()
        try:
            return self.measure(name, count, program, tls)
        finally:
            program.stop()

    def measure(self, name, count, program, tls):
        pid = program.process.pid
        url = program.url + ("?sslmode=require" if tls else "?sslmode=disable")
        warm = Clients(url, 50, 10)  # Buffers, verifiers, tables: what is there once.
        warm.tell("ask")
        warm.close()
        wait_until(lambda: self.clients(program) == 0, what="the first clients to be gone")
        empty, before = resident_mb(pid), cpu_seconds(pid)
        clients = Clients(url, count, self.arguments.abreast)
        connected = clients.connected
        spent = cpu_seconds(pid) - before
        if connected["failed"]:
            raise RuntimeError(f"{connected['failed']} of {count} were refused:\n{program.log()[-2000:]}")
        idle = resident_mb(pid)
        asked = clients.tell("ask")
        if asked["failed"]:
            raise RuntimeError(f"{asked['failed']} queries failed:\n{program.log()[-2000:]}")
        clients.tell("transaction")
        used = resident_mb(pid)
        result = {"what": name, "clients": count, "empty_mb": round(empty, 1),
                  "idle_mb": round(idle, 1), "after_queries_mb": round(used, 1),
                  "kb_a_client": round((used - empty) * 1024 / count, 1),
                  "connects_a_second": round(count / connected["seconds"]),
                  "cpu_us_a_connect": round(spent / count * 1e6),
                  "connect_p50_ms": connected["p50_ms"], "connect_p99_ms": connected["p99_ms"],
                  "threads": threads(pid)}
        clients.close()
        return result

    @staticmethod
    def clients(program):
        return int(next(line for line in program.http("/metrics")[1].splitlines()
                        if line.startswith("pgjanus_clients{")).rsplit(" ", 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session-clients", type=int, default=5000, help="session pooling, plain")
    parser.add_argument("--clients", type=int, default=10000, help="transaction pooling, plain")
    parser.add_argument("--tls-clients", type=int, default=1000, help="each mode, with TLS")
    parser.add_argument("--abreast", type=int, default=64, help="connecting at the same time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default="session,transaction")
    arguments = parser.parse_args()
    wanted = []
    for mode in arguments.modes.split(","):
        plain = arguments.clients if mode == "transaction" else arguments.session_clients
        wanted += [(f"{mode}, plain", plain, mode, False),
                   (f"{mode}, TLS", arguments.tls_clients, mode, True)]
    with tempfile.TemporaryDirectory(prefix="pgjanus-") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(directory, arguments)
        results = []
        try:
            for name, count, mode, tls in wanted:
                if count:
                    results.append(bench.run(name, count, mode, tls))
                    print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        finally:
            bench.close()
    columns = list(results[0])
    print("| " + " | ".join(column.replace("_", " ") for column in columns) + " |")
    print("|" + "---|" * len(columns))
    for result in results:
        print("| " + " | ".join(f"{result[c]:,}" if isinstance(result[c], int) else str(result[c])
                                for c in columns) + " |")


if __name__ == "__main__":
    main()
