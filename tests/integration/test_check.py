"""check finds what a migration would trip over, says what to do, and changes nothing."""

import json
import os
import shutil
import subprocess

import pytest

from capture_harness import control
from harness import find_binary, free_port, wait_until


def check(source_url, target_url, *more):
    """(exit status, {id: [finding, ...]}, everything printed)."""
    done = subprocess.run([str(find_binary()), "check", "--json", "--source", source_url,
                           "--target", target_url, *more], text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    findings = {}
    for finding in json.loads(done.stdout)["findings"]:
        assert finding["detail"] and (finding["level"] == "pass" or finding["remedy"]), finding
        findings.setdefault(finding["id"], []).append(finding)
    return done.returncode, findings, done.stdout + done.stderr


def levels(findings, *but):
    return {f["level"] for name, found in findings.items() if name not in but for f in found}


def test_a_sound_pair_passes_before_and_after_prepare(source, target, app):
    app("CREATE TABLE one (id integer PRIMARY KEY); INSERT INTO one VALUES (1)")
    for _ in range(2):
        status, findings, _ = check(source.owner_url, target.owner_url)
        assert status == 0 and levels(findings) == {"pass"}, findings
        assert control("prepare", source.owner_url, target.owner_url)["status"] == 0


PLANTED = {
    "a table without key": ("app", "CREATE TABLE bag (v text)", "tables_without_key", "warn"),
    "a deferrable unique key": ("app", "CREATE TABLE bag (v integer NOT NULL UNIQUE DEFERRABLE)", "tables_without_key", "warn"),
    "no tables": ("app", "DROP TABLE one, tree", "tables", "warn"),
    "a foreign partition": ("source", "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;"
                            "ALTER TABLE tree DROP CONSTRAINT tree_pkey; ALTER TABLE tree OWNER TO postgres; CREATE FOREIGN TABLE far PARTITION OF tree FOR VALUES FROM (1) TO (2) SERVER far;"
                            "ALTER TABLE tree OWNER TO app", "foreign_partitions", "fail"),
    "no right to create": ("source", "REVOKE CREATE ON DATABASE app FROM app", "rights", "fail"),
    "refused DDL": ("source", "REVOKE CREATE ON DATABASE app FROM app", "probe", "fail"),
    "another owner": ("source", "ALTER TABLE one OWNER TO postgres", "rights", "fail"),
    "a subscription's table": ("source", "CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false);"
                               "INSERT INTO pg_subscription_rel SELECT oid, 'public.one'::regclass, 'r', NULL FROM pg_subscription",
                               "subscriptions", "fail"),
    "large objects": ("app", "SELECT lo_create(0)", "large_objects", "warn"),
    "an unlogged table": ("app", "CREATE UNLOGGED TABLE fast (id integer PRIMARY KEY)", "unlogged_tables", "warn"),
    "a materialized view": ("app", "CREATE MATERIALIZED VIEW seen AS SELECT * FROM one", "materialized_views", "warn"),
    "forced row security": ("app", "ALTER TABLE one ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "row_security", "fail"),
    "a rule": ("app", "CREATE RULE r AS ON INSERT TO one DO ALSO NOTIFY x", "rules", "warn"),
    "an event trigger": ("source", "CREATE FUNCTION ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
                         "CREATE EVENT TRIGGER et ON sql_drop EXECUTE FUNCTION ev()", "event_triggers", "warn"),
    "privileges that the target can have": ("app", "GRANT SELECT ON one TO pg_monitor", "privileges", "pass"),
    "a role that the target lacks": ("source", "CREATE ROLE only_there; GRANT SELECT ON one TO only_there", "privileges", "warn"),
    "a base type of somebody's own": ("source", "CREATE TYPE odd; CREATE FUNCTION odd_in(cstring) RETURNS odd IMMUTABLE STRICT LANGUAGE internal AS 'textin';"
                                     "CREATE FUNCTION odd_out(odd) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'textout';"
                                     "CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = text); ALTER TABLE one ADD o odd", "types", "fail"),
    "a collation that the target lacks": ("target", "DELETE FROM pg_collation WHERE collname = 'ucs_basic'", "collations", "fail"),
    "settings of the database": ("source", "ALTER DATABASE app SET statement_timeout = '5s'", "database_settings", "warn"),
    "a target with empty tables": ("target app", "CREATE TABLE one (id integer, name text COLLATE pg_catalog.ucs_basic)", "target_tables", "pass"),
    "a target with more columns": ("target app", "CREATE TABLE one (id integer PRIMARY KEY, name text COLLATE pg_catalog.ucs_basic, note text DEFAULT '')", "target_tables", "pass"),
    "a target that needs more": ("target app", "CREATE TABLE one (id integer PRIMARY KEY, name text COLLATE pg_catalog.ucs_basic, note text NOT NULL)", "target_tables", "fail"),
    "a target with other types": ("target app", "CREATE TABLE one (id bigint PRIMARY KEY, name text COLLATE pg_catalog.ucs_basic)", "target_tables", "fail"),
    "a target with tables of its own": ("target app", "CREATE TABLE stray (id integer)", "target_tables", "fail"),
    "a target with another key": ("target app", "CREATE TABLE one (id integer, name text COLLATE pg_catalog.ucs_basic, day date DEFAULT now(), PRIMARY KEY (id, day))", "target_tables", "warn"),
    "a target with rows": ("target", "CREATE TABLE one AS SELECT 1", "target_empty", "fail"),
    "a target that refuses the replica role": ("target", "REVOKE SET ON PARAMETER session_replication_role FROM app", "replica_role", "warn"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found_and_nothing_is_changed(source, target, app, case):
    where, sql, name, level = PLANTED[case]
    app("CREATE TABLE one (id integer PRIMARY KEY, name text COLLATE pg_catalog.ucs_basic);"
        "CREATE TABLE tree (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    if where == "app":
        app(sql)
    else:
        server = source if where == "source" else target
        server.script(sql, "app", "app" if where.endswith("app") else "postgres")
    status, findings, printed = check(source.owner_url, target.owner_url)
    assert level in {f["level"] for f in findings[name]}, printed
    assert status == (2 if "fail" in levels(findings) else 0)
    if level == "warn":
        assert status == 0
    for server in (source, target):
        assert server.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgjanus%'", database="app") == [(0,)]


def test_the_load_is_sized_up_by_a_sample(source, target, app):
    app("CREATE TABLE one (id integer PRIMARY KEY, v text); INSERT INTO one VALUES (1, 'x')")
    _, findings, _ = check(source.owner_url, target.owner_url)
    assert "no table is large enough" in findings["duration"][0]["detail"]
    app("INSERT INTO one SELECT i, repeat(md5(i::text), 4) FROM generate_series(2, 40000) i; CREATE TABLE \"Odd name\" (id integer PRIMARY KEY)")
    status, findings, printed = check(source.owner_url, target.owner_url)
    assert status == 0 and levels(findings) == {"pass"}, printed
    assert "2 tables" in findings["size"][0]["detail"] and "public.one" in findings["size"][0]["detail"]
    assert "over one connection" in findings["duration"][0]["detail"]
    assert "needed" in findings["disk"][0]["detail"]
    # What was tried is gone, and a target that refuses temporary tables is no obstacle.
    assert target.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'pgjanus%'", database="app") == [(0,)]
    target.execute("REVOKE TEMPORARY ON DATABASE app FROM PUBLIC, app")
    status, findings, printed = check(source.owner_url, target.owner_url)
    assert status == 0 and [f["level"] for f in findings["duration"]] == ["warn"], printed


def test_a_table_that_is_locked_does_not_hold_up_the_check(source, target, app):
    app("CREATE TABLE one (id integer PRIMARY KEY)")
    with source.connect("app", autocommit=False) as holder:
        holder.execute("LOCK TABLE one")
        status, findings, printed = check(source.owner_url, target.owner_url)
        assert status == 0 and findings["size"][0]["level"] == "warn", printed


def test_too_little_room_for_locks_is_found_before_prepare_meets_it(source, target, app):
    target.configure(max_locks_per_transaction=10, max_connections=40, max_prepared_transactions=0)
    target.restart()
    app("DO $$ BEGIN FOR n IN 1..700 LOOP EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, v text)', n); END LOOP; END $$")
    status, findings, printed = check(source.owner_url, target.owner_url)
    assert status == 2 and findings["locks"][0]["level"] == "fail", printed
    assert findings["locks"][0]["remedy"].startswith("max_locks_per_transaction = 34 "), printed
    refused = control("prepare", source.owner_url, target.owner_url)
    assert refused["status"] != 0 and "shared memory" in json.dumps(refused), refused
    assert target.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 't%' AND relnamespace = 'public'::regnamespace", database="app") == [(0,)]


def test_unreachable_and_refused_sides_are_findings_without_a_password(source, target):
    wrong = source.owner_url.replace("app-secret", "not-my-secret")
    status, findings, printed = check(wrong, f"postgresql://x:y-secret@127.0.0.1:{free_port()}/x")
    assert status == 2 and [f["level"] for f in findings["reachable"]] == ["fail", "fail"]
    assert "authentication" in findings["reachable"][0]["detail"] and "password" in findings["reachable"][0]["remedy"]
    assert "not-my-secret" not in printed and "y-secret" not in printed
    status, findings, _ = check(source.owner_url, wrong.replace("127.0.0.1", "nowhere.invalid"))
    assert status == 2 and [f["level"] for f in findings["reachable"]] == ["pass", "fail"]


def test_another_encoding_or_collation_is_said(source, target, app):
    app("CREATE TABLE one (id integer PRIMARY KEY)")
    target.execute("CREATE DATABASE old OWNER app TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    status, findings, _ = check(source.owner_url, target.url("app", "target-secret", "old"))
    assert status == 0, findings
    assert findings["encoding"][0]["level"] == findings["collation"][0]["level"] == "warn"


@pytest.mark.skipif(not shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin"), reason="no pgbouncer")
@pytest.mark.parametrize("mode,level", [("transaction", "fail"), ("session", "pass")])
def test_a_transaction_pooler_is_found(source, target, app, factory, mode, level):
    app("CREATE TABLE one (id integer PRIMARY KEY)")
    port = free_port()
    directory = source.directory
    (directory / "users.txt").write_text('"app" "app-secret"\n')
    (directory / "bouncer.ini").write_text(
        f"[databases]\napp = host=127.0.0.1 port={source.port} dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = plain\nauth_file = {directory}/users.txt\npool_mode = {mode}\n"
        "unix_socket_dir =\n")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    bouncer = subprocess.Popen([*user, shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin"), "-q",
                                str(directory / "bouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = source.owner_url.replace(str(source.port), str(port))
        found = []

        def ready():
            found[:] = check(url, target.owner_url)
            return found[1]["reachable"][0]["level"] == "pass"
        wait_until(ready, 20, "pgbouncer to answer")
        assert found[1]["pooler"][0]["level"] == level, found[2]
    finally:
        bouncer.terminate()
        bouncer.wait()
