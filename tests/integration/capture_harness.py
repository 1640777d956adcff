"""What test_capture.py judges by: rows before, rows after, and the journal between.

Which keys a statement changed is found out by comparing all rows, not from the triggers.
"""

import json
import os
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

HERE = Path(__file__).parent
ODD_SETTINGS = """
SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kathmandu';
SET extra_float_digits = -6; SET bytea_output = 'escape'; SET search_path = public
"""
PINNED = """
SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC';
SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C';
SET search_path = pg_catalog
"""


def control_binary():
    given = os.environ.get("PGJANUS_CONTROL")
    return given or str(HERE.parent.parent / "build" / "dev" / "tests" / "control")


def control(verb, source_url, target_url, *more, environment=None):
    """Runs tests/tools/control; its JSON with the exit status as `status`."""
    done = subprocess.run([control_binary(), verb, source_url, target_url, *more], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          env=dict(os.environ, **(environment or {})))
    answer = json.loads(done.stdout)
    answer["status"], answer["progress"] = done.returncode, done.stderr
    return answer


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


class Judge:
    """Superuser's view of the source: rows of all listed tables, and the journal."""

    def __init__(self, cluster, database="app"):
        self.connection = cluster.connect(database)
        self.connection.execute(PINNED)
        self.tables = {}
        self.load_tables()

    def load_tables(self):
        rows = self.connection.execute(
            "SELECT t.id, t.schema_name, t.table_name, t.key_columns, t.columns, c.relkind = 'p'"
            "  FROM pgjanus.tables t JOIN pg_namespace n ON n.nspname = t.schema_name"
            "  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name").fetchall()
        self.tables = {row[2]: row for row in rows}

    def rows(self):
        """table -> {key texts: row} or, without key, Counter of rows."""
        state = {}
        for name, (_, schema, table, key, columns, tree) in self.tables.items():
            source = f"{'' if tree else 'ONLY '}{quoted(schema)}.{quoted(table)} t"
            texts = self._texts(key or columns)
            found = self.connection.execute(f"SELECT {texts}, t::text FROM {source}").fetchall()
            if key:
                state[name] = {tuple(row[0]): row[1] for row in found}
                assert len(state[name]) == len(found)
            else:
                state[name] = Counter(tuple(row[0]) for row in found)
        return state

    @staticmethod
    def _texts(columns):
        # format('%s') is the type's output function; it makes '' of NULL.
        parts = [f"CASE WHEN num_nulls({quoted(c)}) = 0 THEN format('%%s', {quoted(c)}) END"
                 for c in columns]
        return f"ARRAY[{', '.join(parts)}]::text[]".replace("%%", "%")

    def clear(self):
        self.connection.execute("TRUNCATE pgjanus.journal")

    def journal(self):
        """table -> (set of keys, Counter of row weights, whether a reload is asked for)."""
        names = {row[0]: name for name, row in self.tables.items()}
        found = defaultdict(lambda: (set(), Counter(), []))
        for table, key, weight in self.connection.execute(
                "SELECT table_id, key, weight FROM pgjanus.journal").fetchall():
            keys, weights, reloads = found[names[table]]
            if key is None:
                assert weight is None
                reloads.append(True)
            elif weight is None:
                assert self.tables[names[table]][3], f"a key for {names[table]}, which has none"
                keys.add(tuple(key))
            else:
                weights[tuple(key)] += weight
        return found

    def check(self, before, after, *, reload=(), touched=None):
        """The journal names exactly what changed between the two; `touched` adds, by table, keys
        that were written without a difference in the end."""
        journal, touched = self.journal(), touched or {}
        for name in self.tables:
            keys, weights, reloads = journal[name]
            if name in reload:
                assert reloads, f"{name}: no reload noted"
                continue
            assert not reloads, f"{name}: reload noted"
            if self.tables[name][3]:
                changed = {key for key in before[name].keys() | after[name].keys()
                           if before[name].get(key) != after[name].get(key)}
                wanted = changed | set(touched.get(name, ()))
                assert keys == wanted, f"{name}: too much {keys - wanted}, missing {wanted - keys}"
            else:
                net = Counter(after[name])
                net.subtract(before[name])
                assert +weights == +net and +Counter({k: -v for k, v in weights.items()}) == \
                    +Counter({k: -v for k, v in net.items()}), name


def reset(owner):
    """Base rows; `owner` is a connection of the role that owns the tables."""
    tables = owner.execute(
        "SELECT string_agg(format('public.%I', relname), ', ') FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition").fetchone()[0]
    owner.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    owner.execute((HERE / "capture_base.sql").read_text())


def rejected(connection, sql, sqlstate):
    """Runs SQL that must fail with this SQLSTATE."""
    try:
        connection.execute(sql)
    except psycopg.Error as error:
        assert error.sqlstate == sqlstate, f"{error.sqlstate}: {error}"
        return error
    raise AssertionError(f"not refused: {sql}")


@pytest.fixture(scope="module")
def world(factory):
    """A source with every kind of table, prepared by a role that merely owns them; a target."""
    source, target = factory.make("source"), factory.make("target")
    urls = source.plain_owner(), target.rds_owner()
    source.execute("CREATE ROLE writer LOGIN PASSWORD 'app-secret'")
    source.script((HERE / "capture_schema.sql").read_text(), "app", "app")
    answer = control("prepare", *urls)
    assert answer["status"] == 0, answer
    made = SimpleNamespace(
        source=source, target=target, urls=urls, judge=Judge(source), prepared=answer,
        owner=source.connect("app", "app"), writer=source.connect("app", "writer"))
    made.writer.execute(ODD_SETTINGS)
    made.owner.execute("SET lock_timeout = '20s'")
    yield made
    for connection in (made.judge.connection, made.owner, made.writer):
        connection.close()
    source.stop("immediate")
    target.stop("immediate")


@pytest.fixture
def base(world):
    reset(world.owner)
    world.judge.clear()
    return world


def judged(world, sql, **expected):
    """Runs SQL as the writer and compares what changed with what was noted."""
    before = world.judge.rows()
    world.writer.execute(sql)
    world.judge.check(before, world.judge.rows(), **expected)
