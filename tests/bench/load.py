"""Loading: pgjanus against pgcopydb, pg_dump with pg_restore, and a bare COPY pipe.

One source and one target server, a database for each kind of data. Contenders take turns, round
after round, each round beginning with another one, each into an empty database that is dropped afterwards.
What a server does for the first time only (new WAL files, memory, hint bits of the rows) one copy has done before that is not measured. Each begins with an empty target and ends
with rows, indexes and foreign keys there; the floor alone finds its tables made and adds nothing but indexes.
pgjanus' time is that of `prepare` and `load`: schema, capture on the source, rows, and in sync. `load` alone is
what begins where the floor does, and is told besides.
"""

import argparse
import os
import shutil
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

from contenders import SERVER, say  # noqa: E402
from measure import table, three  # noqa: E402
from harness import ClusterFactory, Pgjanus, equal_within  # noqa: E402
from harness.cluster import run, server_programs  # noqa: E402

WIDE = """
CREATE TABLE wide (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount numeric(12,2), doc jsonb, body text, raw bytea);
INSERT INTO wide SELECT i, timestamptz '2024-01-01' + i * interval '1 minute', i / 7.0,
  jsonb_build_object('id', i, 'tags', jsonb_build_array(md5(i::text), md5((i+1)::text)),
                     'note', repeat(md5((i*3)::text), 10)),
  CASE WHEN i % 4 = 0 THEN (SELECT string_agg(md5((i * 100 + n)::text), '') FROM generate_series(1, 250) n) ELSE md5(i::text) END,
  decode(md5(i::text) || md5((i + 7)::text), 'hex')
FROM generate_series(1, {rows}) i;
"""
INDEXED = """
CREATE TABLE indexed (id bigint PRIMARY KEY, email text NOT NULL, town text, score int, at timestamptz NOT NULL, note text);
INSERT INTO indexed SELECT i, 'user' || i || '@example.org', 'town ' || i % 5000, (i * 7919::bigint) % 1000003,
  timestamptz '2020-01-01' + ((i * 104729::bigint) % 100000000) * interval '1 second', repeat(md5(i::text), 2)
FROM generate_series(1, {rows}) i;
CREATE UNIQUE INDEX ON indexed (email);
CREATE INDEX ON indexed (town, score);
CREATE INDEX ON indexed (score);
CREATE INDEX ON indexed (at);
"""
MANY = """
DO $$ BEGIN FOR n IN {first}..{last} LOOP
  EXECUTE format('CREATE TABLE small_%1$s (id int PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now(), n int)', n);
  EXECUTE format('INSERT INTO small_%1$s SELECT i, md5(i::text), now(), i FROM generate_series(1, 100) i', n);
  EXECUTE format('CREATE INDEX ON small_%1$s (n)', n);
END LOOP; END $$;
"""


class Data:
    """The databases on the source, one a kind."""

    def __init__(self, arguments):
        self.arguments = arguments

    def fill(self, server, kind):
        url = server.url("app", "app-secret", kind)
        if kind == "narrow":
            run([server_programs() / "pgbench", "-i", "-q", "-s", str(self.arguments.scale), url])
        else:
            with psycopg.connect(url, autocommit=True) as connection:
                if kind == "wide":
                    connection.execute(WIDE.format(rows=self.arguments.wide_rows))
                elif kind == "indexed":
                    connection.execute(INDEXED.format(rows=self.arguments.indexed_rows))
                else:
                    step = 200
                    for first in range(1, self.arguments.tables + 1, step):
                        connection.execute(MANY.format(
                            first=first, last=min(first + step - 1, self.arguments.tables)))
        server.execute("VACUUM ANALYZE", database=kind)

    def tables(self, server, kind):
        return [row[0] for row in server.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "ORDER BY relpages DESC, relname", database=kind)]


def shell(command, **options):
    """Runs a shell command; fails with what it printed."""
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stdout[-4000:]}")


class Tool:
    """A way of copying a database; run() is what is measured."""

    name = ""

    def __init__(self, source, target, kind, arguments, directory):
        self.kind, self.arguments, self.directory = kind, arguments, directory
        self.source_server, self.target_server = source, target
        self.source = source.url("app", "app-secret", kind)
        self.target = target.url("app", "app-secret", kind)

    def before(self):
        pass

    def run(self):
        raise NotImplementedError

    def after(self):
        pass


class Floor(Tool):
    """Tables are there; COPY of one after the other through a pipe, then keys and indexes one by one."""

    name = "floor (bare COPY pipe, keys)"

    def before(self):
        shell(f"pg_dump --section=pre-data --no-owner --no-acl '{self.source}' | psql -qX -v ON_ERROR_STOP=1 '{self.target}'")
        shell(f"pg_dump --section=post-data --no-owner --no-acl '{self.source}' > {self.directory}/post.sql")
        self.tables = Data(self.arguments).tables(self.source_server, self.kind)

    def run(self):
        if len(self.tables) > 10:
            shell(f"pg_dump --data-only '{self.source}' | psql -qX -v ON_ERROR_STOP=1 '{self.target}'")
        else:
            for name in self.tables:
                shell(f"psql -qX -c 'COPY {name} TO STDOUT' '{self.source}' | "
                      f"psql -qX -c 'COPY {name} FROM STDIN' '{self.target}'")
        shell(f"psql -qX -v ON_ERROR_STOP=1 -f {self.directory}/post.sql '{self.target}'")


class PgCopyDb(Tool):
    name = "pgcopydb clone"

    def run(self):
        jobs = self.arguments.jobs
        work = self.directory / f"pgcopydb-{time.monotonic_ns()}"
        shell(f"pgcopydb clone --source '{self.source}' --target '{self.target}' --dir {work} "
              f"--table-jobs {jobs} --index-jobs {jobs} --split-tables-larger-than '{self.arguments.split}' "
              f"--no-owner --no-acl --skip-large-objects --skip-extensions", env={**os.environ, "TMPDIR": str(self.directory)})
        shutil.rmtree(work, ignore_errors=True)


class DumpRestore(Tool):
    """pg_restore takes several jobs from files only, so the dump stands between."""

    name = "pg_dump, pg_restore -j"

    def run(self):
        dump = self.directory / "dump"
        jobs = self.arguments.jobs
        shell(f"pg_dump -Fd -Z0 -j {jobs} -f {dump} --no-owner --no-acl '{self.source}' && "
              f"pg_restore -j {jobs} --no-owner --no-acl -d '{self.target}' {dump}")
        shutil.rmtree(dump)


class Janus(Tool):
    name = "pgjanus prepare, load"

    def before(self):
        self.pgjanus = Pgjanus(self.directory / f"pgjanus-{time.monotonic_ns()}", self.source, self.target,
                               environment={"PGJANUS_LOAD_WORKERS": str(self.arguments.jobs)})
        self.pgjanus.start()
        self.peak, self.cpu = 0, 0

    def run(self):
        began = time.monotonic()
        self.pgjanus.do("prepare", timeout=600)
        self.prepared = time.monotonic() - began
        self.pgjanus.do("load", timeout=1200)
        self.loaded = time.monotonic() - began - self.prepared
        fields = Path(f"/proc/{self.pgjanus.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{self.pgjanus.process.pid}/status").read_text()
        self.peak = int(status.split("VmHWM:")[1].split()[0]) // 1024

    def after(self):
        say(f"    prepare took {self.prepared:.2f} s of it; pgjanus used {self.cpu:.1f} s of CPU, {self.peak} MB at most")
        if self.arguments.log:
            shutil.copy(self.pgjanus.log_path, self.arguments.log)
        with self.source_server.connect(self.kind) as left, self.target_server.connect(self.kind) as right:
            equal_within(left, right, 300)
        self.pgjanus.do("abort", "--confirm", self.kind)
        self.pgjanus.stop()


TOOLS = {"janus": Janus, "pgcopydb": PgCopyDb, "restore": DumpRestore, "floor": Floor}
KINDS = ("narrow", "many", "wide", "indexed")


def rows_of(server, kind):
    """(table, rows) of what arrived, and how many indexes."""
    with server.connect(kind) as connection:
        tables = [row[0] for row in connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1")]
        text = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM public.{name}" for name in tables)
        counts = sorted(connection.execute(text).fetchall()) if tables else []
        indexes = connection.execute("SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'").fetchone()[0]
        return counts, indexes


def measure(key, kind, source, target, arguments, directory):
    """Seconds, and those after the target's tables were there, where the tool tells."""
    target.execute(f"DROP DATABASE IF EXISTS {kind}")
    target.execute(f"CREATE DATABASE {kind} OWNER app")
    tool = TOOLS[key](source, target, kind, arguments, directory)
    tool.before()
    os.sync()
    for server in (source, target):
        server.execute("CHECKPOINT")
    began = time.monotonic()
    tool.run()
    seconds = time.monotonic() - began
    if rows_of(target, kind) != rows_of(source, kind):
        raise RuntimeError(f"{tool.name} did not copy everything of {kind}")
    tool.after()
    target.execute(f"DROP DATABASE {kind}")
    return seconds, getattr(tool, "loaded", seconds)


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--scale", type=int, default=50, help="of pgbench's tables (50)")
    parser.add_argument("--tables", type=int, default=2000, help="small ones (2000)")
    parser.add_argument("--wide-rows", type=int, default=150_000, help="(150000)")
    parser.add_argument("--indexed-rows", type=int, default=1_500_000, help="(1500000)")
    parser.add_argument("--jobs", type=int, default=4, help="of each contender (4)")
    parser.add_argument("--split", default="200MB", help="pgcopydb's --split-tables-larger-than (200MB)")
    parser.add_argument("--only", default=",".join(TOOLS), help=f"some of: {','.join(TOOLS)}")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of: {','.join(KINDS)}")
    parser.add_argument("--log", help="where pgjanus' last log goes")
    arguments = parser.parse_args()
    keys, kinds = arguments.only.split(","), arguments.kinds.split(",")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # Leaves no server behind.
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-bench-load-"))
    directory.chmod(0o755)
    factory = ClusterFactory(directory)
    try:
        settings = {**SERVER, "autovacuum": "off"}
        source = factory.make("source", fsync=True, auth="trust", settings=settings)
        target = factory.make("target", fsync=True, auth="trust", settings=settings)
        for server in (source, target):
            server.execute("CREATE ROLE app LOGIN PASSWORD 'app-secret'")
            server.execute("GRANT SET ON PARAMETER session_replication_role TO app")
        for kind in kinds:
            say(f"filling {kind}")
            source.execute(f"CREATE DATABASE {kind} OWNER app")
            Data(arguments).fill(source, kind)
        results = {kind: {key: [] for key in keys} for kind in kinds}
        loads = {kind: [] for kind in kinds}
        for kind in kinds:
            measure("floor", kind, source, target, arguments, directory)
        for number in range(arguments.rounds):
            first = number % len(keys)
            for kind in kinds:
                for key in keys[first:] + keys[:first]:
                    seconds, loaded = measure(key, kind, source, target, arguments, directory)
                    results[kind][key].append(seconds)
                    if key == "janus":
                        loads[kind].append(loaded)
                    say(f"round {number + 1}, {kind}, {TOOLS[key].name}: {seconds:.2f} s")
        print(f"\n`tests/bench/load {' '.join(sys.argv[1:])}`, {os.cpu_count()} cores, everything on one machine")
        table("Seconds, median (min to max)", ["", *kinds],
              [[TOOLS[key].name, *(three(results[kind][key], 2) for kind in kinds)] for key in keys])
        if "janus" in keys:
            others = [key for key in keys if key != "janus"]
            table("pgjanus' speed as a multiple of the other's, round by round", ["", *kinds, "all"],
                  [[TOOLS[key].name,
                    *(three([b / a for a, b in zip(results[kind]["janus"], results[kind][key])], 2) for kind in kinds),
                    three([statistics.geometric_mean([results[kind][key][n] / results[kind]["janus"][n] for kind in kinds])
                           for n in range(arguments.rounds)], 2)] for key in others])
            table("`load` alone", ["", *kinds],
                  [["seconds", *(three(loads[kind], 2) for kind in kinds)]] +
                  ([["as a multiple of the floor", *(three([a / b for a, b in zip(loads[kind], results[kind]["floor"])], 2)
                                                     for kind in kinds)]] if "floor" in keys else []))
    finally:
        for server in factory.made:
            server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
