"""A verification that is interrupted goes on where it stood; its limits are the load's; it gives way.

PGJANUS_VERIFY_SECONDS=600 makes a long run under write load; PGJANUS_SEED repeats one.
"""

import json
import os
import time

import pytest

from harness import WORLD, WorldLoad, WriteLoad, wait_until

SECONDS = float(os.environ.get("PGJANUS_VERIFY_SECONDS", "20"))

# A key that is cut into ranges, and one that hangs on a collation and is not.
TABLES = """
CREATE TABLE big (id bigint PRIMARY KEY, body text);
INSERT INTO big SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 60000) i;
CREATE TABLE named (name text PRIMARY KEY, body text);
INSERT INTO named SELECT 'n' || i, repeat(md5(i::text), 8) FROM generate_series(1, 60000) i;
CREATE TABLE small (id int PRIMARY KEY, n int);
INSERT INTO small SELECT i, i FROM generate_series(1, 100) i;
"""
SLOW = '[load]\nworkers = 2\nbytes_per_second = "200kB"\n'  # Parts of 1 MB.


@pytest.fixture
def loaded(app, configured):
    def make(tables):
        app(tables)
        configured.write("")
        configured.start()
        configured.do("prepare")
        configured.do("load")
        return configured
    return make


def plant(connection, *statements):
    with connection.transaction():
        connection.execute("SET LOCAL pgjanus.apply = 'on'")
        for statement in statements:
            connection.execute(statement)


def running(program):
    return program.status()["verify"]["running"]


def keys(document):
    return {(d["table"], d["kind"], *d["key"].values()) for d in document["differences"]}


PLANTED = {("public.big", "changed", "1"), ("public.big", "missing", "59999"),
           ("public.big", "extra", "60001"), ("public.named", "changed", "n77")}


def plant_everywhere(sides):
    plant(sides.target, "UPDATE big SET body = 'x' WHERE id = 1", "DELETE FROM big WHERE id = 59999",
          "INSERT INTO big VALUES (60001, '')", "UPDATE named SET body = '' WHERE name = 'n77'")


def test_killed_it_goes_on_and_names_what_was_found_before_and_after(loaded, sides):
    program = loaded(TABLES)
    plant_everywhere(sides)
    program.write(SLOW)
    program.cli_process("verify")

    def done():
        return sides.source.execute(
            "SELECT count(*) FILTER (WHERE done) FROM pgjanus.verified_parts").fetchone()[0]

    def slowed():
        """The status is told now and then: what it says of limits comes a moment after the parts."""
        now = running(program)
        return (now and done() >= 2 and now["parts_total"] > 8 and now["limit"] == "load.bytes_per_second = 204800"
                and now["workers"] and now["bytes_done"] < now["bytes_total"])
    wait_until(slowed, 100, lambda: f"two parts, slowed down; {running(program)}")
    program.kill9()
    before = done()
    program.write("")
    program.start()
    program.wait_in_sync()
    outcome = program.cli("verify")
    assert outcome.code == 3, outcome
    assert keys(outcome.json) == PLANTED
    assert outcome.json["resumed"] >= before > 0
    rows = {table["name"]: table["rows"] for table in outcome.json["tables"]}
    assert rows == {"public.big": 60000, "public.named": 60000, "public.small": 100}
    assert running(program) is None
    assert program.do("verify", "--repair").json["differences"] == []
    # What has ended is not gone on with, and a load makes what was compared count for nothing.
    assert program.do("verify").json["resumed"] == 0


def test_stopped_it_stays_stopped_and_goes_on_when_asked(loaded, sides):
    program = loaded(TABLES)
    plant_everywhere(sides)
    program.write(SLOW)
    verb = program.cli_process("verify")
    wait_until(lambda: running(program) and running(program)["parts_done"] >= 2, 100,
               lambda: f"two parts; {running(program)}")
    assert "has ended" in program.do("verify", "--stop").json["message"]
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 1 and "the comparison was stopped" in err
    program.write("")
    assert running(program) is None
    outcome = program.cli("verify")
    assert outcome.code == 3 and keys(outcome.json) == PLANTED, outcome
    assert outcome.json["resumed"] >= 2
    assert "no verification is under way" in program.do("verify", "--stop").json["message"]


def test_what_was_compared_before_a_reload_is_compared_again(loaded, sides):
    program = loaded(TABLES)
    program.write(SLOW)
    program.cli_process("verify")
    wait_until(lambda: sides.source.execute(
        "SELECT count(*) FROM pgjanus.verified_parts WHERE done AND table_id = "
        "(SELECT id FROM pgjanus.tables WHERE table_name = 'big')").fetchone()[0] > 0, 100, "a part of big")
    program.kill9()
    program.write("")
    program.start()
    program.wait_in_sync()
    program.do("load", "public.big")
    program.do("load", "public.named")
    plant(sides.target, "UPDATE big SET body = 'x' WHERE id = 1")
    outcome = program.cli("verify")
    assert outcome.code == 3 and keys(outcome.json) == {("public.big", "changed", "1")}


def test_a_scheduled_one_gives_way_at_once_and_goes_on(loaded, sides):
    program = loaded(TABLES)
    plant_everywhere(sides)
    program.write(SLOW + '[verify]\nevery = "1h"\n')
    wait_until(lambda: running(program) and running(program)["parts_done"] > 0, 100,
               lambda: f"a part; {program.status()['verify']}")
    assert program.status()["verify"]["at"] is None
    program.do("reads", "target")  # In the middle of a part.
    assert "the comparison was stopped" in program.log()
    program.write('[verify]\nevery = "1h"\n')
    wait_until(lambda: program.status()["verify"]["differences"] == len(PLANTED), 60,
               lambda: f"the rest of it; {program.status()['verify']}")
    wait_until(lambda: "before an interruption" in program.log(), 20, "the run to be written down")
    with program.admin() as connection:
        assert len(connection.execute("SHOW DIFFERENCES").fetchall()) == len(PLANTED)
        assert connection.execute("SHOW VERIFY").fetchone()[:4] == (program.status()["verify"]["at"], "3",
                                                                    str(len(PLANTED)), "ended")


def test_a_slow_one_makes_way_for_ddl_while_it_rests(loaded, sides):
    program = loaded(TABLES)
    program.write(SLOW)
    verb = program.cli_process("verify", "named")
    wait_until(lambda: sides.source.execute(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = "
        "'named'::regclass AND a.application_name = 'pgjanus verify'").fetchone()[0], 60, "the lock")
    with sides.source.transaction():
        sides.source.execute("SET LOCAL lock_timeout = '60s'; LOCK TABLE named")
    program.write("")
    out, err = verb.communicate(timeout=100)
    assert verb.returncode == 0, err
    assert json.loads(out)["differences"] == []


def test_parts_side_by_side_raise_no_false_alarm(source, loaded, sides, seed):
    """Ranges of a key, slices, groups of small tables and several workers, all under writes."""
    program = loaded(TABLES + WORLD)

    def write(connection, chooser, worker, count):
        for _ in range(3):
            connection.execute("UPDATE big SET body = md5(random()::text) WHERE id = %s",
                               (chooser.randrange(1, 60000),))
            connection.execute("UPDATE named SET name = 'm' || md5(random()::text) WHERE name = %s",
                               (f"n{chooser.randrange(1, 60000)}",))
            connection.execute("UPDATE big SET id = -id WHERE id = %s", (chooser.randrange(-60000, 60000),))
        return worker, count
    began, runs = time.monotonic(), 0
    with WorldLoad(source.owner_url, threads=3, seed=seed) as world, \
            WriteLoad(source.owner_url, write, threads=2, seed=seed, pause=0.002) as load:
        while runs < 3 or time.monotonic() - began < SECONDS:
            before = load.written() + world.written()
            program.write(SLOW)  # Until the parts are made: small ones.
            verb = program.cli_process("verify")
            wait_until(lambda: verb.poll() is not None
                       or (running(program) and running(program)["parts_total"] > 20), 60, "the plan")
            program.write("[load]\nyield = \"off\"\n")
            out, err = verb.communicate(timeout=200)
            assert verb.returncode == 0, err + out
            assert json.loads(out)["differences"] == [] and json.loads(out)["complete"], out
            assert load.written() + world.written() > before, "the load stood still"
            runs += 1
    load.check()
    plant(sides.target, "UPDATE big SET body = 'planted' WHERE id = (SELECT max(id) FROM big)")
    assert program.cli("verify", "big").code == 3
    print(f"seed {seed}: {runs} runs under load, no false alarm")
