"""Loading history beside a running mirror, without a proxy: exact whatever happens meanwhile."""

import json
import os
import random
import subprocess
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest

from harness import WORLD, WorldLoad, WriteLoad, assert_equal, equal_within, wait_until

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    given = os.environ.get(f"PGJANUS_{name.upper()}")
    return given or str(ROOT / "build" / "dev" / "tests" / name)


class Mirroring:
    """The program `mirroring` between two prepared databases."""

    def __init__(self, directory, source, target, workers):
        self.directory = directory
        self.command = [tool("mirroring"), source, target, str(workers)]
        self.process = None
        self.events = []
        self.starts = 0

    def start(self):
        self.starts += 1
        self.events = []
        with open(self.directory / f"log-{self.starts}", "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log,
                                            text=True)
        threading.Thread(target=self._read, args=(self.process, self.events), daemon=True).start()
        return self

    @staticmethod
    def _read(process, events):
        for line in process.stdout:
            events.append(json.loads(line))

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def last(self, kind):
        found = [event for event in self.events if event["event"] == kind]
        return found[-1] if found else None

    def wait(self, kind, limit=120, unless="failed"):
        wait_until(lambda: self.last(kind) or self.last(unless) or self.process.poll() is not None,
                   limit, lambda: f"{kind}; last: {self.events[-1:]}\n{self.log()}")
        assert self.last(kind), f"{self.last(unless) or 'mirroring ended'}\n{self.log()}"
        return self.last(kind)

    def log(self):
        return (self.directory / f"log-{self.starts}").read_text()[-5000:]


@pytest.fixture
def mirroring(factory, source, target):
    made = []

    def make(workers=3):
        directory = Path(tempfile.mkdtemp(prefix="mirroring-", dir=factory.directory))
        made.append(Mirroring(directory, source.owner_url, target.owner_url, workers))
        return made[-1]
    yield make
    for program in made:
        if program.process:
            program.kill()


@pytest.fixture
def prepare(source, target):
    def run(verb="prepare"):
        done = subprocess.run([tool("control"), verb, source.owner_url, target.owner_url],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return run


def valid_everywhere(connection):
    """Indexes and constraints that are not valid."""
    return connection.execute(
        "SELECT conname FROM pg_constraint WHERE NOT convalidated AND conparentid = 0 UNION ALL "
        "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid"
    ).fetchall()


def objects(connection):
    """Indexes, constraints, triggers, rules and policies of the app, as definitions."""
    return sorted(row[0] for row in connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname NOT IN ('pgjanus', 'pg_catalog') "
        "UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE conrelid <> 0 AND conparentid = 0 AND connamespace <> 'pgjanus'::regnamespace "
        "UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid "
        "WHERE NOT tgisinternal AND pronamespace <> 'pgjanus'::regnamespace "
        "UNION ALL SELECT definition FROM pg_rules WHERE schemaname NOT IN ('pgjanus', 'pg_catalog') "
        "UNION ALL SELECT polrelid::regclass || ' ' || polname FROM pg_policy "
        "UNION ALL SELECT statistics_name FROM pg_stats_ext").fetchall())


BIG = """
CREATE TABLE big (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, n int NOT NULL, body text);
INSERT INTO big SELECT i, 'user' || i || '@example.org', i %% 100, repeat(md5(i::text), 8)
  FROM generate_series(1, {rows}) i;
CREATE INDEX ON big (n);
CREATE TABLE parts (id bigint, at date, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO parts SELECT i, date '2024-01-01' + (i %% 700)::int, md5(i::text) FROM generate_series(1, 20000) i;
CREATE TABLE loose (a int, b text);
INSERT INTO loose SELECT i %% 1000, 'row ' || i %% 77 FROM generate_series(1, 20000) i;
CREATE TABLE refers (id serial PRIMARY KEY, big bigint REFERENCES big ON DELETE CASCADE, part bigint,
                     at date, FOREIGN KEY (part, at) REFERENCES parts);
INSERT INTO refers (big) SELECT i FROM generate_series(1, 5000) i;
""".replace("%%", "%")


def churn(connection, chooser, worker, count):
    """Moves rows between pages and partitions, swaps unique values, deletes and comes back."""
    kind = chooser.randrange(8)
    top = churn.top
    with connection.transaction():
        if kind == 0:
            connection.execute("UPDATE big SET body = repeat(md5(random()::text), %s), n = n + 1 "
                               "WHERE id = %s", (chooser.randrange(1, 40), chooser.randrange(1, top)))
        elif kind == 1:
            one, two = sorted(chooser.sample(range(1, top), 2))
            rows = connection.execute("SELECT id, email FROM big WHERE id IN (%s, %s) ORDER BY id "
                                      "FOR UPDATE", (one, two)).fetchall()
            if len(rows) == 2:
                connection.execute("UPDATE big SET email = 'moving' || id WHERE id = %s", (one,))
                connection.execute("UPDATE big SET email = %s WHERE id = %s", (rows[0][1], two))
                connection.execute("UPDATE big SET email = %s WHERE id = %s", (rows[1][1], one))
        elif kind == 2:
            gone = connection.execute("DELETE FROM big WHERE id = %s RETURNING id, email, n, body",
                                      (chooser.randrange(5001, top),)).fetchone()
            if gone and chooser.random() < 0.7:
                connection.execute("INSERT INTO big VALUES (%s, %s, %s, %s)", gone)
        elif kind == 3:
            connection.execute("INSERT INTO big VALUES (%s, %s, 1, 'new')",
                               (10_000_000 + worker * 1_000_000 + count, f"new{worker}-{count}"))
        elif kind == 4:
            connection.execute("UPDATE parts SET at = date '2024-01-01' + %s WHERE id = %s "
                               "AND id > 100", (chooser.randrange(700), chooser.randrange(1, 20000)))
        elif kind == 5:
            connection.execute("INSERT INTO loose SELECT %s, 'row ' || i FROM generate_series(1, 3) i",
                               (chooser.randrange(1000),))
        elif kind == 6:
            connection.execute("DELETE FROM loose WHERE ctid IN (SELECT ctid FROM loose WHERE a = %s "
                               "LIMIT 2 FOR UPDATE SKIP LOCKED)", (chooser.randrange(1000),))
        else:
            connection.execute("UPDATE big SET id = id + 100000000 WHERE id = (SELECT id FROM big "
                               "WHERE id = %s FOR UPDATE SKIP LOCKED)", (chooser.randrange(5001, top),))
    return worker, count


churn.top = 60000


@pytest.fixture
def busy(source, seed):
    """A churn straight on the source; runs inside `with busy`."""
    return WriteLoad(source.owner_url, churn, threads=4, seed=seed, pause=0.002)


def test_a_busy_database_is_loaded_exactly(app, source, target, sides, prepare, mirroring, busy):
    app(BIG.format(rows=60000))
    prepare()
    with busy:
        busy.progress(50)
        program = mirroring().start()
        program.wait("loaded")
        busy.progress(200)
    busy.check()
    equal_within(sides.source, sides.target)
    assert objects(sides.source) == objects(sides.target)
    assert valid_everywhere(sides.target) == []
    progress = program.last("progress")
    assert progress["tables"]["public.big"]["rows"] > 50000
    assert progress["tables"]["public.big"]["bytes"] == progress["tables"]["public.big"]["bytes_total"]
    chunks = sides.target.execute(
        "SELECT count(*) FROM pgjanus.chunks JOIN pgjanus.tables ON id = table_id "
        "WHERE table_name = 'big' AND done").fetchone()[0]
    assert chunks >= 2, "too small a table: nothing was cut"
    assert sides.target.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'big'").fetchone()[0]


def test_all_the_world_is_loaded(app, source, target, sides, prepare, mirroring, seed):
    source.script(WORLD, "app", "app")
    prepare()
    with WorldLoad(source.owner_url, threads=4, seed=seed, pause=0.002) as load:
        load.progress(50)
        mirroring().start().wait("loaded")
        load.progress(200)
    load.check()
    equal_within(sides.source, sides.target)
    load.check_kept(sides.target)


@pytest.mark.parametrize("way", ["program", "target", "source"])
def test_killed_at_any_moment_the_load_goes_on(way, app, source, target, sides, prepare, mirroring,
                                               busy, seed):
    app(BIG.format(rows=60000))
    prepare()
    chooser = random.Random(seed)
    program = mirroring(workers=2)
    if way == "source":
        busy = WriteLoad(source.owner_url, churn, threads=2, seed=seed, pause=0.005)
    with busy:
        program.start()
        for _ in range(6):
            if program.last("loaded"):
                break
            seen = len(program.events)
            steps = chooser.randrange(1, 6)
            wait_until(lambda: len(program.events) >= seen + steps or program.last("loaded"), 60,
                       lambda: f"progress; {program.events[-1:]}\n{program.log()}")
            if way == "program":
                program.kill()
                program.start()
            else:
                server = source if way == "source" else target
                server.kill9()
                server.start()
                sides = type(sides)(source=source.connect("app"), target=target.connect("app"))
        program.wait("loaded")
        busy.progress(50)
    equal_within(sides.source, sides.target)
    twice = sides.target.execute("SELECT count(*) FROM pgjanus.chunks WHERE NOT done").fetchone()[0]
    assert twice == 0
    assert objects(sides.source) == objects(sides.target)


@pytest.mark.parametrize("command", ["CLUSTER big USING big_pkey", "VACUUM FULL big", "TRUNCATE loose, refers",
                                     "TRUNCATE big CASCADE", "TRUNCATE parts CASCADE"])
def test_tables_rewritten_during_the_load(command, app, source, target, sides, prepare, mirroring, busy):
    app(BIG.format(rows=60000))
    prepare()
    with busy:
        program = mirroring(workers=2).start()
        for _ in range(3):
            seen = len(program.events)
            wait_until(lambda: len(program.events) > seen or program.last("loaded"), 60, "progress")
            app(command)
        program.wait("loaded")
        app(command)
        busy.progress(50)
    equal_within(sides.source, sides.target)
    assert objects(sides.source) == objects(sides.target)


def test_what_must_not_act_on_the_mirror_does_not(app, sides, prepare, mirroring):
    app("""
        CREATE TABLE old (id int PRIMARY KEY, n int);
        INSERT INTO old SELECT i, i FROM generate_series(1, 100) i;
        ALTER TABLE old ADD CONSTRAINT small CHECK (n < 50) NOT VALID;
        CREATE TABLE fleeting (id int PRIMARY KEY, until timestamptz,
          CONSTRAINT later CHECK (until > clock_timestamp()));
        INSERT INTO fleeting VALUES (1, clock_timestamp() + '0.2 s');
        CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN NEW.n := NEW.n * 2; RETURN NEW; END';
        CREATE TRIGGER plain BEFORE INSERT ON old FOR EACH ROW EXECUTE FUNCTION twice();
        CREATE TRIGGER stubborn BEFORE UPDATE ON old FOR EACH ROW EXECUTE FUNCTION twice();
        ALTER TABLE old ENABLE ALWAYS TRIGGER stubborn;
        CREATE RULE noisy AS ON UPDATE TO fleeting DO ALSO SELECT 1;
        CREATE MATERIALIZED VIEW filled AS SELECT sum(n) FROM old;
        CREATE MATERIALIZED VIEW unfilled AS SELECT sum(n) FROM old WITH NO DATA;
        SELECT pg_sleep(0.3);
    """)
    prepare()
    mirroring().start().wait("loaded")
    app("UPDATE old SET n = n WHERE id < 20; INSERT INTO old VALUES (101, 3)")
    equal_within(sides.source, sides.target)
    kept = sides.target.execute("SELECT kind, name FROM pgjanus.kept ORDER BY 1, 2").fetchall()
    assert kept == [("check", "later"), ("check", "small"), ("trigger", "stubborn")]
    populated = dict(sides.target.execute("SELECT matviewname, ispopulated FROM pg_matviews").fetchall())
    assert populated == {"filled": True, "unfilled": False}


def test_rows_that_are_not_ours_are_not_overwritten(app, sides, prepare, mirroring):
    app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    prepare()
    sides.target.execute("SET pgjanus.apply = 'on'; INSERT INTO t VALUES (2)")
    failed = mirroring().start().wait("failed")
    assert "public.t" in failed["error"] and "did not put there" in failed["error"]
    assert sides.target.execute("SELECT id FROM t").fetchall() == [(2,)]
    state, why = sides.target.execute("SELECT state, error FROM pgjanus.tables").fetchone()
    assert state == "error" and "did not put there" in why


def test_one_broken_table_does_not_keep_the_others(app, sides, prepare, mirroring):
    app("""CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good SELECT generate_series(1, 1000);
           CREATE TABLE bad (id int PRIMARY KEY, n int); INSERT INTO bad VALUES (1, 1);""")
    prepare()
    sides.target.execute("ALTER TABLE bad ALTER n TYPE smallint; ")
    app("UPDATE bad SET n = 100000")
    program = mirroring().start()
    failed = program.wait("failed")
    assert "public.bad" in failed["error"] and "out of range" in failed["error"]
    assert dict(sides.target.execute("SELECT table_name, state FROM pgjanus.tables").fetchall()) == {
        "good": "mirrored", "bad": "error"}
    sides.target.execute("ALTER TABLE bad ALTER n TYPE int")
    program.kill()
    program.start().wait("loaded")
    equal_within(sides.source, sides.target)


def test_a_locked_table_is_waited_for_and_said(app, source, sides, prepare, mirroring):
    app("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000);"
        "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 1000)")
    prepare()
    holder = source.connect("app", autocommit=False)
    holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    program = mirroring().start()
    wait_until(lambda: any("public.t: " in event.get("waiting", "") for event in program.events), 60,
               "the lock to be named")
    wait_until(lambda: sides.target.execute("SELECT state FROM pgjanus.tables WHERE table_name = 'u'")
               .fetchone()[0] in ("indexing", "mirrored"), 60, "the other table to go on")
    holder.rollback()
    holder.close()
    program.wait("loaded")
    assert_equal(sides.source, sides.target)


def test_an_unplugged_schema_is_loaded_as_it_stands(app, source, target, sides, prepare, mirroring, busy):
    """prepare --no-schema: the target has its tables, indexes and foreign keys already."""
    app(BIG.format(rows=20000))
    schema = subprocess.run(["pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--dbname",
                             source.owner_url], capture_output=True, text=True, check=True).stdout
    with psycopg.connect(target.owner_url, autocommit=True) as connection:
        connection.execute("\n".join(l for l in schema.splitlines() if not l.startswith("\\")))
    prepare("prepare-no-schema")
    with busy:
        mirroring().start().wait("loaded")
        busy.progress(100)
    equal_within(sides.source, sides.target)
    assert objects(sides.source) == objects(sides.target)


def test_what_a_mirrors_function_says_does_not_end_a_copy(app, source, target, sides, configured):
    """INFO reaches the client whatever client_min_messages says: while rows are copied in, it is no error."""
    app("CREATE FUNCTION loud(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE INFO 'looked at %, which is %', $1, repeat('x', $1 % 3000); RETURN true; END$$;"
        "CREATE TABLE big (id int PRIMARY KEY, t text, CHECK (loud(id))); INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, 20000) i")
    configured.write("[load]\nworkers = 1\n")
    configured.start()
    configured.do("prepare")
    configured.do("load")
    configured.wait_in_sync()
    assert "load_retried" not in configured.log()
    assert_equal(sides.source, sides.target)
