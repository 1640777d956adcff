"""Limits of the load: kept, named, and changed while it runs; progress that says what is done."""

import json

import pytest

from harness import WriteLoad, equal_within, wait_until

TABLE = """
CREATE TABLE big (id bigint PRIMARY KEY, body text);
INSERT INTO big SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 60000) i;
CREATE TABLE other (id int PRIMARY KEY, t text);
INSERT INTO other SELECT i, md5(i::text) FROM generate_series(1, 30000) i;
"""


@pytest.mark.parametrize("limit", ['rows_per_second = 2000', 'bytes_per_second = "300kB"'])
def test_a_limit_is_kept_named_and_lifted_while_the_load_runs(limit, app, sides, configured):
    app(TABLE)
    configured.write(f"[load]\nworkers = 2\n{limit}\n")
    configured.start()
    configured.do("prepare")
    verb = configured.cli_process("load")
    name = limit.split(" ")[0]
    wait_until(lambda: f"load.{name}" in (configured.status()["load"]["limit"] or ""), 60,
               lambda: f"the limit to be named: {configured.status()['load']}")
    status = configured.status()
    assert status["phase"] == "loading"
    assert status["load"]["workers"] and status["load"]["workers"][0]["what"]
    assert "pgjanus_load_limited" in configured.http("/metrics")[1]
    configured.write("[load]\nworkers = 6\n")
    out, err = verb.communicate(timeout=120)
    assert verb.returncode == 0, err
    assert "90000 rows" in json.loads(out)["message"]
    tables = {table["name"]: table for table in configured.status()["tables"]}
    assert tables["public.big"]["rows"] == 60000
    assert tables["public.big"]["bytes_done"] == tables["public.big"]["bytes_total"] > 0
    assert configured.status()["load"]["limit"] is None
    equal_within(sides.source, sides.target)


def test_one_table_is_loaded_again_while_the_others_go_on(app, source, sides, configured, seed):
    app(TABLE)
    configured.write("[load]\nworkers = 2\n")
    configured.start()
    configured.do("prepare")
    configured.do("load")

    def write(connection, chooser, worker, count):
        connection.execute("UPDATE big SET body = md5(random()::text) WHERE id = %s",
                           (chooser.randrange(1, 60000),))
        connection.execute("UPDATE other SET t = md5(random()::text) WHERE id = %s",
                           (chooser.randrange(1, 30000),))
        return worker, count
    with WriteLoad(source.owner_url, write, threads=2, seed=seed, pause=0.002) as load:
        configured.do("load", "public.big")
        load.progress(50)
    load.check()
    configured.wait_in_sync()
    equal_within(sides.source, sides.target)


def test_a_load_is_stopped_inside_an_index_and_goes_on_there(app, sides, configured):
    """The index's function sleeps: that build would take ten minutes."""
    sleeping = """CREATE OR REPLACE FUNCTION public.slow(i bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN i; END $$"""
    quick = sleeping.replace("PERFORM pg_sleep(0.01);", "")
    app(TABLE + quick + "; CREATE INDEX slow_one ON big (slow(id));" + sleeping)
    configured.write("[load]\nworkers = 2\n")
    configured.start()
    assert "no load is under way" in configured.do("load", "--stop").json["message"]
    configured.do("prepare")
    verb = configured.cli_process("load")

    def building():
        return sides.target.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                                    "AND query LIKE '%INDEX slow_one%' AND pid <> pg_backend_pid()").fetchone()[0]
    wait_until(building, 60, lambda: f"the index to be begun: {configured.status()['load']}")
    refused = configured.cli("prepare")
    assert refused.code == 1 and "STOP LOAD" in refused.stderr, refused
    assert "has ended" in configured.do("load", "--stop").json["message"]
    _, err = verb.communicate(timeout=60)
    assert verb.returncode == 1 and "the load was stopped" in err
    wait_until(lambda: not building(), 30, "the server to end what it was at")
    status = configured.status()
    assert status["phase"] == "loading" and "was stopped" in status["load"]["error"]
    sides.target.execute("SET ROLE app")
    sides.target.execute(quick)
    sides.target.execute("RESET ROLE")
    configured.do("load")
    assert "load_table_planned table=public.big" in configured.log()
    assert configured.log().count("event=load_table_planned table=public.big ") == 1
    equal_within(sides.source, sides.target)
