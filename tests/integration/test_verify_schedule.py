"""[verify] every: comparisons that come by themselves and give way to an operator's command."""

import pytest

from harness import wait_until


@pytest.fixture
def loaded(app, configured):
    """loaded(sql): a program with the tables of `sql`, which compares nothing by itself yet."""
    def make(sql):
        app(sql)
        configured.write('[verify]\nevery = "0s"\n')
        configured.start()
        for verb in ("prepare", "load"):
            configured.do(verb)
        return configured
    return make


def test_the_schedule_verifies_after_a_load_and_finds_what_was_planted(loaded, sides):
    program = loaded("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i")
    assert program.status()["verify"]["at"] is None
    program.write('[verify]\nevery = "1s"\n')
    wait_until(lambda: program.status()["verify"]["differences"] == 0, 60,
               lambda: f"a verification of its own; {program.status()['verify']}")
    guards = {guard["name"]: guard for guard in program.do("cutover", "--dry-run").json["guards"]}
    assert guards["verified"]["ok"], guards
    sides.target.execute("BEGIN; SET LOCAL pgjanus.apply = 'on'; UPDATE t SET n = -1 WHERE id = 7; COMMIT")
    wait_until(lambda: program.status()["verify"]["differences"] == 1, 60,
               lambda: f"the difference to be found; {program.status()['verify']}")
    wait_until(lambda: "peer=schedule exit_code=3" in program.log(), 20, "the run to be written down")
    # A command goes first, whatever the schedule does at that moment.
    assert program.do("verify", "--repair").json["repaired"] == 1
    program.do("reads", "target")
    wait_until(lambda: program.status()["verify"]["differences"] == 0, 60, "clean again")


def test_what_is_stopped_rests_until_the_schedule_has_gone_by(loaded, sides):
    program = loaded("CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
    for every in ("0s", "1h"):
        program.write(f'[verify]\nevery = "{every}"\n[load]\nbytes_per_second = "100kB"\n')
        if every == "0s":
            verb = program.cli_process("verify")
            wait_until(lambda: program.status()["verify"]["running"], 60, "the verification")
    program.do("verify", "--stop")
    assert verb.wait(60) == 1
    beats = set()

    def several():
        beats.add(sides.source.execute("SELECT max(seen_at) FROM pgjanus.members").fetchone())
        return len(beats) > 4
    wait_until(several, 60, "the watch to have looked four times more")
    assert not program.status()["verify"]["running"], "it began anew"


def test_what_made_a_comparison_old_is_known_after_a_kill(app, source, target, sides, pgjanus):
    """One table loaded anew, DDL left out: no process that comes later takes the clean comparison before it for an answer."""
    app("CREATE TABLE t (id int PRIMARY KEY, n int, m int); CREATE TABLE u (id int PRIMARY KEY, n int)")

    def counts():
        guards = {guard["name"]: guard for guard in pgjanus.cli("cutover", "--dry-run").json["guards"]}
        return guards["verified"]["ok"]

    def killed():
        pgjanus.kill9()
        pgjanus.start()
        pgjanus.wait_in_sync()

    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    killed()
    assert counts()
    pgjanus.do("load", "public.u")
    killed()
    assert not counts()
    pgjanus.do("verify")
    assert counts()
    sides.target.execute("SET pgjanus.apply = 'on'; CREATE VIEW in_the_way AS SELECT m FROM t")
    with pgjanus.connect() as client:
        client.execute("ALTER TABLE t DROP COLUMN m")
    wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 20, "the mirror to say so")
    with pgjanus.admin() as admin:
        admin.execute("SKIP")
    pgjanus.wait_in_sync()
    killed()
    assert not counts()
