"""The verifier beside a running mirror loop, without a proxy: it finds what was planted, names it by
key and column, raises no false alarm under load, and its repair heals."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness import WORLD, WorldLoad, equal_within, wait_until

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    given = os.environ.get(f"PGJANUS_{name.upper()}")
    return given or str(ROOT / "build" / "dev" / "tests" / name)


@pytest.fixture
def control(source, target):
    def run(verb):
        done = subprocess.run([tool("control"), verb, source.owner_url, target.owner_url],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture
def load(source, target, factory, control):
    """Prepares and loads; afterwards nobody mirrors until somebody verifies."""
    def run():
        control("prepare")
        log = factory.directory / "mirroring.log"
        with open(log, "wb") as errors:
            program = subprocess.Popen(
                [tool("mirroring"), source.owner_url, target.owner_url], stdout=subprocess.PIPE,
                stderr=errors, text=True)
        try:
            for line in program.stdout:
                event = json.loads(line)["event"]
                assert event != "failed", line
                if event == "loaded":
                    break
            else:
                pytest.fail(f"mirroring ended\n{log.read_text()[-3000:]}")
        finally:
            program.kill()
            program.wait(20)
    return run


@pytest.fixture
def verify(source, target):
    """verify(*arguments) -> (exit status, outcome); waits at most two minutes."""
    def run(*arguments, expect=None):
        done = subprocess.run([tool("verifying"), source.owner_url, target.owner_url, *arguments],
                              capture_output=True, text=True, timeout=120)
        assert done.stdout, done.stderr[-3000:]
        outcome = json.loads(done.stdout)
        if expect is not None:
            assert done.returncode == expect, f"{outcome}\n{done.stderr[-3000:]}"
        return outcome
    return run


def found(outcome):
    """Differences as comparable values: table, kind, the key's texts, columns."""
    return sorted((d["table"], d["kind"], str(sorted(d["key"].items(), key=str)), tuple(d["columns"]))
                  for d in outcome["document"]["differences"])


def expected(table, kind, key, *columns):
    return (table, kind, str(sorted(key.items(), key=str)), columns)


def plant(connection, *statements):
    """Changes rows of the mirror behind everybody's back."""
    with connection.transaction():
        connection.execute("SET LOCAL pgjanus.apply = 'on'; SET LOCAL session_replication_role = replica")
        for statement in statements:
            done = connection.execute(statement)
            assert done.rowcount > 0, statement


# One statement each on the mirror, and what the verifier must say.
PLANTED = [
    ("DELETE FROM ledger WHERE worker = -1 AND count = 5",
     expected("public.ledger", "missing", {"worker": "-1", "count": "5"})),
    ("INSERT INTO ledger VALUES (-2, 1, 'nobody wrote this')",
     expected("public.ledger", "extra", {"worker": "-2", "count": "1"})),
    ("UPDATE ledger SET note = NULL WHERE worker = -1 AND count = 6",  # NULL for ''
     expected("public.ledger", "changed", {"worker": "-1", "count": "6"}, "note")),
    ("UPDATE kinds SET n = 1.0, f8 = 0 WHERE id = 1",  # scale; -0
     expected("public.kinds", "changed", {"id": "1"}, "f8", "n")),
    ("UPDATE kinds SET f4 = '1.0000001e-30', b = NULL, j = '{}', tz = tz + interval '1 microsecond', "
     "at = '{{a,b},{c,NULL}}' WHERE id = 2",
     expected("public.kinds", "changed", {"id": "2"}, "f4", "b", "j", "tz", "at")),
    ("UPDATE kinds SET f4 = 'NaN', n = 123456789012345678901234567890.123456788 WHERE id = 3",
     expected("public.kinds", "changed", {"id": "3"}, "f4", "n")),
    ("UPDATE wide SET body = overlay(body placing '#' from 50000) WHERE id = 7",
     expected("public.wide", "changed", {"id": "7"}, "body")),
    ("UPDATE measures SET value = value + 1 WHERE area = 'south' AND at = (SELECT min(at) FROM "
     "measures WHERE area = 'south')", None),
    ("UPDATE dogs SET name = 'cat' WHERE id = 1007",
     expected("public.dogs", "changed", {"id": "1007"}, "name")),
    ("DELETE FROM ONLY animals WHERE id = 7", expected("public.animals", "missing", {"id": "7"})),
    ('UPDATE "Odd Names"."Table ""quoted""" SET "Ünïcode \\ value" = \'ß\'',
     expected('Odd Names.Table "quoted"', "changed", {"select": "1.50", "Key One": "a\tb\\n"},
              "Ünïcode \\ value")),
    ("UPDATE spelled SET word = 'HELLO'", None),  # equal by type, another text
    ("UPDATE people SET mood = 'bad', home = ROW('x', NULL) WHERE id = 3",
     expected("public.people", "changed", {"id": "3"}, "mood", "home")),
    ("UPDATE seats SET label = 'seat ' || CASE id WHEN 1 THEN 2 ELSE 1 END || ' swapped' WHERE id IN (1, 2)",
     None),
    ("DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag WHERE a = 3 AND b = 'b0')", None),
    ("INSERT INTO bag VALUES (3, 'b1'), (3, NULL)", None),
]
IMPLIED = [
    expected("public.spelled", "missing", {"word": "Hello"}),
    expected("public.spelled", "extra", {"word": "HELLO"}),
    expected("public.seats", "changed", {"id": "1"}, "label"),
    expected("public.seats", "changed", {"id": "2"}, "label"),
    expected("public.bag", "missing", {"a": "3", "b": "b0"}),
    expected("public.bag", "extra", {"a": "3", "b": "b1"}),
    expected("public.bag", "extra", {"a": "3", "b": None}),
]
ROWS = '''
INSERT INTO ledger SELECT -1, n, '' FROM generate_series(1, 50) n;
INSERT INTO "Odd Names"."Table ""quoted""" VALUES (E'a\\tb\\\\n', 1.50, 'ä');
INSERT INTO spelled VALUES ('Hello', 1);
'''


def test_everything_planted_is_found_named_and_healed(source, app, sides, load, verify):
    app(WORLD)
    app(ROWS)
    load()
    clean = verify(expect=0)
    assert clean["document"]["differences"] == [] and clean["document"]["complete"], clean
    assert {t["name"] for t in clean["document"]["tables"]} >= {"public.people", "public.bag"}
    by_name = {t["name"]: t["rows"] for t in clean["document"]["tables"]}
    assert by_name["public.people"] == 3000 and by_name["public.dogs"] == 50, by_name

    plant(sides.target, *[statement for statement, _ in PLANTED])
    outcome = verify(expect=3)
    south = [d for d in outcome["document"]["differences"] if d["table"] == "public.measures"]
    assert len(south) == 1 and south[0]["columns"] == ["value"], south
    assert south[0]["key"].keys() == {"area", "at", "id"} and south[0]["key"]["area"] == "south"
    others = [d for d in found(outcome) if d[0] != "public.measures"]
    assert others == sorted([d for _, d in PLANTED if d] + IMPLIED)
    # The last run's findings stay on the primary.
    stored = sides.source.execute("SELECT count(*) FROM pgjanus.differences").fetchone()[0]
    assert stored == len(outcome["document"]["differences"])

    # A run over some tables names only theirs.
    one = verify("wide", expect=3)
    assert found(one) == [expected("public.wide", "changed", {"id": "7"}, "body")]

    healed = verify("--repair", expect=0)
    assert healed["document"]["repaired"] == len(found(outcome)), healed
    assert healed["document"]["differences"] == []
    assert sides.source.execute("SELECT count(*) FROM pgjanus.differences").fetchone()[0] == 0
    equal_within(sides.source, sides.target)
    assert verify(expect=0)["document"]["differences"] == []


def test_no_false_alarm_while_everybody_writes(source, app, sides, load, verify, seed):
    app(WORLD)
    # What the load writes it would heal.
    app("CREATE TABLE quiet (id int PRIMARY KEY, note text); INSERT INTO quiet VALUES (3, 'as it was')")
    with WorldLoad(source.owner_url, threads=4, seed=seed) as writers:
        load()
        for _ in range(4):
            before = writers.written()
            outcome = verify(expect=0)
            assert outcome["document"]["differences"] == [], outcome
            assert writers.written() > before, "the load stood still"
        plant(sides.target, "UPDATE quiet SET note = 'planted' WHERE id = 3")
        outcome = verify(expect=3)
        assert found(outcome) == [expected("public.quiet", "changed", {"id": "3"}, "note")]
        assert verify("--repair", expect=0)["document"]["differences"] == []


def test_many_differences_are_all_listed(source, app, sides, load, verify):
    app("CREATE TABLE big (id int PRIMARY KEY, body text);"
        "INSERT INTO big SELECT n, md5(n::text) FROM generate_series(1, 60000) n;"
        "CREATE TABLE copies (body text);"
        "INSERT INTO copies SELECT 'row ' || n % 100 FROM generate_series(1, 5000) n")
    load()
    plant(sides.target, "DELETE FROM big WHERE id % 2 = 0", "UPDATE big SET body = id WHERE id % 3 = 0",
          "INSERT INTO big SELECT n, '' FROM generate_series(100001, 100010) n",
          "DELETE FROM copies WHERE body = 'row 5'", "INSERT INTO copies VALUES ('row 6'), ('row 6')")
    outcome = verify(expect=3)
    kinds = {}
    for difference in outcome["document"]["differences"]:
        name = difference["table"], difference["kind"]
        kinds[name] = kinds.get(name, 0) + difference.get("rows", 1)
    assert kinds == {("public.big", "missing"): 30000, ("public.big", "changed"): 10000,
                     ("public.big", "extra"): 10, ("public.copies", "missing"): 50,
                     ("public.copies", "extra"): 2}
    assert verify("--repair", expect=0)["document"]["differences"] == []
    equal_within(sides.source, sides.target)


def test_tables_columns_and_sequences_are_compared(source, app, sides, load, verify):
    app("CREATE TABLE a (id int PRIMARY KEY, gone text, kind varchar(10)); INSERT INTO a VALUES (1);"
        "CREATE TABLE b (id serial PRIMARY KEY); INSERT INTO b DEFAULT VALUES; CREATE SEQUENCE s")
    load()
    sides.target.execute("ALTER TABLE a DROP COLUMN gone, ADD COLUMN more int, "
                         "ALTER COLUMN kind TYPE varchar(20); DROP SEQUENCE s; CREATE SEQUENCE other")
    app("CREATE TABLE c (id int PRIMARY KEY)")
    assert found(verify(expect=3)) == sorted([
        expected("public.a", "missing", {}, "gone"), expected("public.a", "extra", {}, "more"),
        expected("public.a", "changed", {}, "kind"), expected("public.c", "missing", {}),
        expected("public.s", "missing", {}), expected("public.other", "extra", {})])
    assert "no mirrored table is called nothing" in verify("nothing", expect=1)["message"]
    assert verify("b", expect=0)["document"]["complete"] is False


def test_a_comparison_makes_way_for_ddl_of_the_app(source, target, app, sides, load):
    """A long read of ours must not keep an ALTER TABLE, and everybody behind it, waiting."""
    # Ten bytes a row on disk, 100 kB as text: seconds to read.
    app("CREATE TABLE slow (id int PRIMARY KEY, digits numeric);"
        "INSERT INTO slow SELECT n, '1e100000' FROM generate_series(1, 8000) n")
    load()
    with subprocess.Popen([tool("verifying"), source.owner_url, target.owner_url], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        wait_until(lambda: sides.source.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.relation = 'slow'::regclass AND a.application_name = 'pgjanus verify'"
        ).fetchone()[0], 30, "the comparison to begin")
        with sides.source.transaction():
            sides.source.execute("SET LOCAL lock_timeout = '60s'; LOCK TABLE slow")
        output, errors = program.communicate(timeout=100)
    assert "verify_interrupted" in errors, errors[-3000:]
    assert program.returncode == 0 and not json.loads(output)["document"]["differences"], output
