"""What operators, scripts and dashboards rely on: admin socket, verbs, HTTP, settings, secrets."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import psycopg
import pytest

from harness import wait_until

DRIVER_WORDS = ["SELECT 1", "SHOW TimeZone", "SHOW transaction_isolation", "SET datestyle = 'ISO'",
                "DISCARD ALL", "SELECT version()", "BEGIN", "COMMIT", "ROLLBACK"]
SHOWS = ["STATUS", "TABLES", "CLIENTS", "SERVERS", "POOLS", "MEMBERS", "LAG", "VERIFY",
         "DIFFERENCES", "EVENTS", "CONFIG", "STATS", "VERSION"]
METRICS = """build_info phase epoch primary clients held_clients servers queries_total query_seconds
overhead_seconds commit_wait_seconds commits_unacknowledged_total mirror_state mirror_lag_seconds
mirror_backlog_keys mirror_keys_total mirror_batches_total mirror_errors_total journal_bytes
last_boundary_timestamp_seconds oldest_transaction_seconds load_rows_total load_bytes_total
verify_rows_total verify_differences verify_timestamp_seconds flip_blackout_seconds flips_total
auth_failures_total members""".split()
RFC3339_UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def psql(program, *commands, check=True):
    arguments = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(["psql", "-X", "-At", "-h", str(program.admin_directory), "-p",
                           str(program.port), "pgjanus", *arguments],
                          capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def small(app, sides, pgjanus):
    """A running proxy over a source with two small tables, nothing prepared."""
    app("""CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
           CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                                customer int REFERENCES customers, total numeric(10,2));
           INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 100) i;
           INSERT INTO orders (customer, total) SELECT i % 100 + 1, i FROM generate_series(1, 500) i""")
    return pgjanus


def test_psql_on_the_admin_socket(small):
    names = dict(line.split("|", 1) for line in psql(small, "SHOW STATUS").stdout.splitlines())
    assert names["phase"] == "idle" and names["primary"] == "source"
    assert names["mirror.state"] == "off" and names["mirror.lag_ms"] == ""
    assert "CUTOVER" in psql(small, "help").stdout
    both = psql(small, "show Version; SHOW lag").stdout
    assert both.startswith("pgjanus ") and "mirror.state|off" in both
    document = json.loads(psql(small, "SHOW STATUS JSON").stdout)
    assert document["databases"][0]["database"] == "app"
    wrong = psql(small, "DROP TABLE x", check=False)
    assert wrong.returncode == 1 and "HELP" in wrong.stderr
    for what in SHOWS:
        psql(small, f"SHOW {what}", f"SHOW {what} JSON")


def test_psycopg_in_both_protocols_and_in_transactions(small):
    for prepare in (False, True):
        with small.admin() as admin:
            for words in DRIVER_WORDS:
                admin.execute(words, prepare=prepare)
            for what in SHOWS:
                cursor = admin.execute(f"SHOW {what}", prepare=prepare)
                assert cursor.description and cursor.fetchall() is not None
            version, = admin.execute("SHOW VERSION JSON", prepare=prepare).fetchone()
            assert json.loads(version) if isinstance(version, str) else version
            with pytest.raises(psycopg.errors.SyntaxError):
                admin.execute("FLY", prepare=prepare)
            # An earlier step is missing, and the connection goes on.
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                admin.execute("LOAD", prepare=prepare)
            assert admin.execute("SHOW VERSION", prepare=prepare).fetchone()
    with small.admin() as admin:
        admin.autocommit = False
        admin.execute("SHOW POOLS")
        assert admin.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        admin.rollback()  # The driver's word: nothing flips.
        assert admin.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert small.status()["primary"] == "source"
    with pytest.raises(psycopg.OperationalError, match="pgjanus"):
        psycopg.connect(host=str(small.admin_directory), port=small.port, dbname="app", user="x")


def test_node_postgres_on_the_admin_socket(small, tmp_path):
    modules = Path(__file__).resolve().parents[2] / "build" / "node" / "node_modules"
    assert (modules / "pg").exists(), "deploy/setup --npm build/node tests/drivers puts it there"
    script = tmp_path / "admin.cjs"
    script.write_text("""
      const {Client} = require('pg');
      (async () => {
        const client = new Client({host: process.argv[2], port: +process.argv[3],
                                   database: 'pgjanus', user: 'node'});
        await client.connect();
        await client.query('BEGIN');
        const plain = await client.query('SHOW STATUS');
        const named = await client.query({name: 's', text: 'SHOW LAG', values: []});
        await client.query('ROLLBACK');
        let state = '';
        try { await client.query('LOAD'); } catch (error) { state = error.code; }
        console.log(plain.rows.length > 10, named.rows.length > 3, state);
        await client.end();
      })();""")
    done = subprocess.run(["node", str(script), str(small.admin_directory), str(small.port)],
                          capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "NODE_PATH": str(modules)})
    assert done.stdout.strip() == "true true 55000", done.stderr


def test_the_status_document_everywhere_the_same(small):
    by_cli = small.do("status").json
    code, body = small.http("/status")
    assert code == 200
    by_http = json.loads(body)
    assert by_cli.keys() == by_http.keys() == {"version", "databases"}
    assert by_cli["databases"][0].keys() == by_http["databases"][0].keys()
    status = by_http["databases"][0]
    for name in ("database phase primary epoch held mirror reads load tables verify last_flip "
                 "rollback waiting_for members clients").split():
        assert name in status
    assert status["last_flip"] is None and status["mirror"]["lag_ms"] is None
    text = small.cli("status", parse=False)
    assert text.code == 0 and re.search(r"phase +idle", text.stdout)
    assert small.cli("status", "--database", "app").code == 0
    other = small.cli("status", "--database", "other")
    assert other.code == 1 and "other" in other.stderr


def test_a_whole_migration_by_its_verbs(small, sides):
    assert small.cli("load").code == 2
    assert small.cli("verify").code == 2
    check = small.do("check").json
    assert {f["level"] for f in check["findings"]} <= {"pass", "warn", "fail"}
    assert all(f.keys() >= {"id", "level", "subject", "detail", "remedy"} for f in check["findings"])
    small.do("prepare")
    small.do("prepare")  # What is done says so.
    small.do("load")
    small.wait_in_sync()
    # No clean verification since the load: a guard refuses, and says which.
    refused = small.cli("cutover")
    assert refused.code == 4 and "verified" in refused.stdout + refused.stderr
    verify = small.do("verify").json
    assert {t["name"] for t in verify["tables"]} == {"public.customers", "public.orders"}
    assert verify["differences"] == [] and "boundary" in verify
    dry = small.do("cutover", "--dry-run").json
    assert dry["ready"] is True
    assert all(g.keys() >= {"name", "ok", "skippable", "detail", "remedy"} for g in dry["guards"])
    small.do("reads", "25%")
    assert small.status()["reads"]["target_percent"] == 25
    small.do("reads", "primary")
    assert small.cli("reads", "elsewhere").code == 1
    small.do("pause", "--timeout", "20s")
    assert small.status()["held"] == "pause"
    small.do("resume")
    assert small.status()["held"] == "none"

    sides.target.execute("SET pgjanus.apply = 'on'")
    sides.target.execute("UPDATE customers SET name = 'planted' WHERE id = 7")
    found = small.cli("verify", "public.customers")
    assert found.code == 3
    difference, = found.json["differences"]
    assert difference["table"] == "public.customers" and difference["key"] == {"id": "7"}
    assert difference["kind"] == "changed" and difference["columns"] == ["name"]
    shown = small.cli("verify", "public.customers", parse=False)
    assert "id=7" in shown.stdout and "in name" in shown.stdout
    small.do("verify", "--repair")
    small.do("verify")

    small.do("cutover")
    status = small.status()
    assert status["primary"] == "target" and status["last_flip"]["to"] == "target"
    assert RFC3339_UTC.match(status["last_flip"]["at"]), status["last_flip"]
    small.do("cutover")  # Done already.
    small.wait_in_sync()
    small.do("rollback")
    assert small.status()["primary"] == "source"
    events = psql(small, "SHOW EVENTS").stdout  # finish takes the audit log with it.
    assert '["' not in events
    assert f"uid {os.getuid()}" in events and "cutover" in events
    wrong = small.cli("finish", "--confirm", "wrong")
    assert wrong.code not in (0, 2) and "app" in wrong.stderr
    small.wait_in_sync()
    small.do("finish", "--confirm", "app")
    assert small.status()["phase"] == "finished"


def test_http_endpoints(small):
    assert small.http("/healthz")[0] == 200 and small.http("/readyz")[0] == 200
    for path in ("/", "/status", "/metrics", "/healthz", "/readyz"):
        assert small.http(path, method="HEAD") == (200, "")
        for method in ("POST", "PUT", "DELETE"):
            assert small.http(path, method=method)[0] == 405
    assert small.http("/nothing")[0] == 404
    with urllib.request.urlopen(f"http://127.0.0.1:{small.http_port}/", timeout=5) as page:
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "http" not in re.sub(r"http-equiv", "", page.read().decode())


def test_metrics_are_complete_and_well_formed(small):
    small.do("prepare")
    small.do("load")
    small.wait_in_sync()
    small.do("verify")
    with small.connect() as client:
        client.execute("INSERT INTO customers VALUES (1000, 'x')")
    # Numbers that the engine reads now and then may take a moment.
    wait_until(lambda: all(f"\npgjanus_{name}{suffix}" in small.http("/metrics")[1]
                           for name in METRICS
                           for suffix in ("_bucket{" if name.endswith("_seconds") and name in (
                               "query_seconds", "overhead_seconds", "commit_wait_seconds",
                               "flip_blackout_seconds") else "{",)),
               20, lambda: "all metrics of the contract, missing: " + ", ".join(
                   name for name in METRICS if f"pgjanus_{name}" not in small.http("/metrics")[1]))
    text = small.http("/metrics")[1]
    for line in text.splitlines():
        assert line.startswith("#") or re.match(r'^pgjanus_\w+\{database="app"', line), line
    assert 'pgjanus_mirror_state{database="app",state="in_sync"} 1' in text
    unpacked = Path(__file__).resolve().parents[2] / "build/promtool/usr/bin/promtool"
    promtool = shutil.which("promtool") or (unpacked if unpacked.exists() else None)
    assert promtool, "promtool is missing: tests/run puts it under build/promtool"
    done = subprocess.run([str(promtool), "check", "metrics"], input=text, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def test_no_password_anywhere(source, target, programs, app):
    app("CREATE TABLE t (id int PRIMARY KEY)")
    program = programs(None, None, arguments=[
        "--source", source.owner_url, f"--target={target.owner_url}", "--log-level", "debug",
        "--database", "app"])
    program.source = source.owner_url  # For the client; the environment has no URL.
    program.environment = {"SOURCE_DATABASE_URL": None}
    program.start()
    secrets = ("app-secret", "target-secret")

    def clean(text, where):
        assert not [secret for secret in secrets if secret in text], where
    def processes():  # pgjanus and its children: start() made it the leader of a session.
        return subprocess.run(["ps", "-ww", "-o", "args=", "--sid", str(program.process.pid)],
                              capture_output=True, text=True, check=False).stdout
    clean(processes(), "ps")
    assert "pgjanus run" in processes()
    with open(f"/proc/{program.process.pid}/cmdline", "rb") as cmdline:
        line = cmdline.read().decode()
    clean(line, "cmdline")
    assert "--source" in line and "xxx" in line
    working = program.cli_process("migrate")
    while working.poll() is None:  # pg_dump and pg_restore come and go.
        clean(processes(), "ps during migrate")
    assert working.returncode == 0, working.communicate()
    with program.connect() as client:
        client.execute("INSERT INTO t VALUES (1)")
    for what in [f"SHOW {show}" for show in SHOWS] + ["CHECK", "VERIFY"]:
        done = psql(program, what, check=False)
        clean(done.stdout + done.stderr, what)
    for path in ("/status", "/metrics", "/"):
        clean(program.http(path)[1], path)
    for text in (str(program.cli("status")), program.log()):
        clean(text, "status and log")


def test_a_second_proxy_on_the_same_socket_is_refused_and_a_dead_ones_replaced(
        source, target, programs):
    first = programs(source.owner_url, target.owner_url).start()
    second = programs(source.owner_url, target.owner_url)
    second.admin_directory, second.port = first.admin_directory, first.port
    second.start(ready=False)
    assert second.exited() == 1 and "already serves" in second.log()
    assert first.do("status")
    first.restart()  # Killed: its socket is still there.
    assert first.do("status")
    assert first.term() == 0
    assert not list(first.admin_directory.iterdir())


def test_finding_the_proxy_names_none_and_several(source, target, cluster, programs, tmp_path):
    home = tmp_path / "run"
    home.mkdir(mode=0o700)
    program = programs(source.owner_url, target.owner_url,
                       environment={"XDG_RUNTIME_DIR": str(home)})
    anywhere = {"PGJANUS_ADMIN_DIR": str(home / "pgjanus"), "PGJANUS_LISTEN": None}
    none = program.cli("status", environment=anywhere | {"PGJANUS_LISTEN": "127.0.0.1:1"})
    assert none.code == 1 and str(home / "pgjanus") in none.stderr
    program.admin_directory = home / "pgjanus"
    program.start(ready=False)
    wait_until(lambda: program.cli("status", parse=False).code == 0, 20, "the admin socket")
    other = programs(source.owner_url, target.owner_url)
    other.admin_directory = program.admin_directory
    other.start(ready=False)
    wait_until(lambda: other.cli("status", parse=False).code == 0, 20, "the other admin socket")
    environment = {key: value for key, value in program.client_environment().items()
                   if key != "PGJANUS_LISTEN"}
    done = subprocess.run([str(program.binary), "status"], env=environment, capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert str(program.port) in done.stderr and str(other.port) in done.stderr


def test_wrong_settings_name_flag_variable_or_line(source, target, programs, tmp_path):
    def refused(*words, arguments=(), environment=None):
        program = programs(source.owner_url, target.owner_url, arguments=arguments,
                           environment=environment)
        program.start(ready=False)
        assert program.exited() == 1
        for word in words:
            assert word in program.log(), program.log()
    refused("PGJANUS_ACKNOWLEDGE_WAIT", "1s", environment={"PGJANUS_ACKNOWLEDGE_WAIT": "1"})
    refused("--threads", arguments=["--threads", "many"])
    refused("--pool", "transaction", arguments=["--pool", "statement"])
    refused("--sorce", arguments=["--sorce", "x"])
    refused("both set", environment={"SOURCE_DATABASE_URL_FILE": "/nowhere"})
    config = tmp_path / "two.toml"
    config.write_text('[[database]]\nname = "a"\n\n[[database]]\nname = "b"\n')
    refused(f"{config}:4", "[[database]]", arguments=["--config", str(config)])
    refused("/nowhere/ever.toml", arguments=["--config", "/nowhere/ever.toml"])


def test_reload_and_shutdown(small):
    assert "info" in psql(small, "SHOW CONFIG").stdout
    small.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "event=reloaded" in small.log(), 10, "the reload")
    assert "read again" in psql(small, "RELOAD").stdout
    psql(small, "SHUTDOWN")
    assert small.exited() == 0
    assert "event=draining" in small.log() and "event=stopped" in small.log()
    late = small.cli("status")
    assert late.code == 1 and str(small.admin_directory) in late.stderr


def test_a_cancelled_load_goes_on_and_a_cancelled_verb_says_so(small, app, source):
    app("INSERT INTO customers SELECT i, repeat('x', 1000) FROM generate_series(1000, 40000) i")
    small.do("prepare")
    process = small.cli_process("load")
    wait_until(lambda: small.status()["phase"] != "prepared" or process.poll() is not None, 30,
               "the load to begin", every=0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, 0)  # 0: it was faster than we were.
    small.wait_in_sync()
    small.do("load")  # Done already, or joined.
    small.do("verify")


def test_an_interrupted_cutover_is_undone(small):
    small.do("prepare")
    small.do("load")
    small.wait_in_sync()
    with small.connect(autocommit=False) as busy:
        busy.execute("UPDATE customers SET name = 'busy' WHERE id = 1")
        cutover = small.cli_process("cutover", "--force", "--wait", "60s")
        wait_until(lambda: small.status()["waiting_for"] or cutover.poll() is not None, 30,
                   "the cutover to wait for the open transaction")
        cutover.send_signal(signal.SIGINT)
        stdout, stderr = cutover.communicate(timeout=30)
        assert cutover.returncode == 5, (stdout, stderr)
        assert small.status()["primary"] == "source" and small.status()["held"] == "none"
        busy.commit()
    with small.connect() as client:
        assert client.execute("SELECT name FROM customers WHERE id = 1").fetchone() == ("busy",)
        client.execute("UPDATE customers SET name = 'free' WHERE id = 1")


def test_check_works_without_a_proxy_and_promote_is_not_there_yet(source, target, programs, app):
    app("CREATE TABLE t (id int PRIMARY KEY)")
    program = programs(source.owner_url, target.owner_url)
    result = program.cli("check")
    assert result.code == 0, result
    assert not program.admin_directory.exists()
    text = program.cli("check", parse=False)
    assert text.code == 0 and "pass" in text.stdout
    promote = program.cli("promote", "--confirm", "app", "--accept-loss")
    assert promote.code == 1 and "not there yet" in promote.stderr
    assert program.cli("--version", parse=False).stdout.startswith("pgjanus ")
