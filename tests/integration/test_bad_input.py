"""Wrong settings, wrong databases, wrong clients: a clear error, and nothing left behind."""

import contextlib
import hashlib
import os
import socket
from pathlib import Path

import psycopg
import pytest

from harness import wait_until


def refused(program, *words, limit=30):
    """`run` ends by itself with exit code 1 and says all of these words."""
    program.start(ready=False)
    assert program.exited(limit) == 1, program.log()
    said = program.log().lower()
    for word in words:
        assert word.lower() in said, f"{word!r} is not in:\n{program.log()}"
    for secret in ("app-secret", "target-secret", "not-the-password"):
        assert secret not in program.log()


def clean(*connections):
    """Nothing of ours in these databases."""
    for connection in connections:
        assert connection.execute("SELECT to_regnamespace('pgjanus')").fetchone() == (None,)
        assert not connection.execute(
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal").fetchall()


def findings(result, level="fail"):
    return [f for f in result.json["findings"] if f["level"] == level]


@pytest.mark.parametrize("url", ["not a url", "http://host/db", "postgresql://u:not-the-password@h:nan/d",
                                 "postgresql://u@h/d?no_such=1", ""])
def test_a_wrong_url_is_refused_at_the_start(programs, target, url):
    refused(programs(url or None, target.owner_url), "SOURCE_DATABASE_URL")


def test_an_unknown_key_and_a_wrong_value_name_the_line(programs, source, target, tmp_path):
    config = tmp_path / "pgjanus.toml"
    config.write_text('[mirror]\nacknowledge = "both"\nacknowlege_wait = "1s"\n')
    refused(programs(source.owner_url, target.owner_url, arguments=["--config", str(config)]),
            "acknowlege_wait", f"{config}:3")
    config.write_text('[listen]\n\naddress = 7\n')
    refused(programs(source.owner_url, target.owner_url, arguments=["--config", str(config)],
                     environment={"PGJANUS_LISTEN": None}), f"{config}:3")
    config.write_text('[listen\n')
    refused(programs(source.owner_url, target.owner_url, arguments=["--config", str(config)]),
            str(config))


def test_source_and_target_being_one_database_is_refused(programs, source):
    refused(programs(source.owner_url, source.owner_url), "same database")
    # Also when it is spelled differently, which only the server can tell.
    other = source.owner_url.replace("127.0.0.1", "localhost")
    program = programs(source.owner_url, other).start(ready=False)
    assert program.exited() == 1, program.log()
    assert "same database" in program.log()
    with source.connect("app") as connection:
        clean(connection)


def test_a_taken_port_is_refused(programs, source, target):
    program = programs(source.owner_url, target.owner_url)
    with contextlib.closing(socket.create_server(("127.0.0.1", program.port))):
        refused(program, str(program.port))


def test_a_wrong_password_is_said_and_clients_are_told(programs, source, target):
    wrong = source.url("app", "not-the-password", "app")
    program = programs(wrong, target.owner_url).start(ready=False)
    wait_until(lambda: "password" in program.log().lower(), 30, "the log to say it")
    assert "not-the-password" not in program.log()
    if program.running():
        assert program.http("/readyz")[0] == 503
        result = program.cli("check")
        assert result.code == 2 and findings(result), result


def test_an_unreachable_target_at_the_start_and_later(programs, source, target, app, sides):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    target.stop()
    program = programs(source.owner_url, target.owner_url).start()
    with program.connect() as client:
        client.execute("INSERT INTO notes (body) VALUES ('served')")
        checked = program.cli("check")
        assert checked.code == 2 and findings(checked), checked
        failed = program.cli("prepare")
        assert failed.code != 0, failed
        clean(sides.source)
        target.start()
        for verb in ("prepare", "load", "verify"):
            wait_until(lambda verb=verb: program.cli(verb).code == 0, 60, f"{verb} to succeed",
                       every=0.2)
        target.stop()
        for number in range(5):
            client.execute("INSERT INTO notes (body) VALUES (%s)", (f"degraded {number}",))
        wait_until(lambda: program.status()["mirror"]["state"] == "degraded", 20, "degraded")
        refused_flip = program.cli("cutover", "--force", "--wait", "100ms")
        assert refused_flip.code in (2, 4), refused_flip
        target.start()
        program.wait_in_sync()
    with target.connect("app") as right:
        assert right.execute("SELECT count(*) FROM notes").fetchone() == (6,)


def test_an_unreachable_source_answers_clients_with_57P03(programs, source, target):
    source.stop()
    program = programs(source.owner_url, target.owner_url).start(ready=False)
    wait_until(lambda: program.http("/healthz")[0] == 200, 20, "/healthz")
    assert program.http("/readyz")[0] == 503
    with pytest.raises(psycopg.OperationalError) as told:
        program.connect(connect_timeout=20)
    assert "57P03" in str(told.value) or "primary" in str(told.value), told.value
    source.start()
    program.wait_ready()
    with program.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_target_that_is_not_empty_is_refused(app, target, sides, pgjanus):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text); INSERT INTO notes VALUES (1, 's')")
    target.script("CREATE TABLE notes (id serial PRIMARY KEY, body text);"
                  "INSERT INTO notes VALUES (5, 'mine')", "app", "app")
    checked = pgjanus.cli("check")
    assert checked.code == 2 and any("notes" in str(f) for f in findings(checked)), checked
    result = pgjanus.cli("prepare")
    assert result.code == 2, result
    assert "notes" in result.stdout + result.stderr
    clean(sides.source, sides.target)
    assert sides.target.execute("SELECT body FROM notes").fetchall() == [("mine",)]


def test_a_source_without_rights_is_refused(source, target, programs, sides):
    source.script("CREATE TABLE theirs (id int PRIMARY KEY)", "app")
    source.execute("CREATE ROLE reader LOGIN PASSWORD 'app-secret'")
    source.execute("GRANT SELECT ON theirs TO reader", database="app")
    program = programs(source.url("reader", "app-secret", "app"), target.owner_url).start()
    checked = program.cli("check")
    assert checked.code == 2, checked
    assert any("theirs" in str(f) or "CREATE" in str(f) for f in findings(checked)), checked
    result = program.cli("prepare")
    assert result.code == 2, result
    clean(sides.source, sides.target)


def test_verbs_out_of_order_say_which_step_is_missing(app, pgjanus, sides):
    app("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    for verb in ("load", "verify", "cutover", "rollback"):
        result = pgjanus.cli(verb, timeout=30)
        assert result.code in (2, 4), f"{verb}: {result}"
        assert result.stdout + result.stderr
    assert pgjanus.cli("finish", "--confirm", "app").code in (2, 4)
    clean(sides.source, sides.target)
    assert pgjanus.cli("no-such-verb").code == 1


def test_verbs_without_a_proxy_say_so(programs, source, target):
    result = programs(source.owner_url, target.owner_url).cli("status")
    assert result.code == 1, result
    assert result.stderr or result.stdout


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 64,
                                      b"\xff" * 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                      os.urandom(200), b"\x00\x00\x00\x08\x04\xd2\x16\x2e",
                                      b"\x7f\xff\xff\xff\x00\x03\x00\x00"])
def test_a_client_that_speaks_no_postgres_is_turned_away(source, programs, target, greeting):
    program = programs(source.owner_url, target.owner_url).start()
    with contextlib.closing(socket.create_connection(("127.0.0.1", program.port), 5)) as client:
        client.settimeout(20)
        client.sendall(greeting)
        with contextlib.suppress(ConnectionResetError, socket.timeout):
            while client.recv(4096):
                pass
    assert program.running()
    with program.connect() as other:
        assert other.execute("SELECT 1").fetchone() == (1,)
    wait_until(lambda: program.status()["clients"] == 0, 20, "no client to be left")


def test_half_open_connections_hurt_nobody(programs, source, target):
    program = programs(source.owner_url, target.owner_url).start()
    halves = []
    try:
        for opening in (b"", b"\x00", b"\x00\x00\x00\x54\x00\x03\x00\x00user\x00app\x00"):
            for _ in range(20):
                halves.append(socket.create_connection(("127.0.0.1", program.port), 5))
                halves[-1].sendall(opening)
        with program.connect() as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
    finally:
        for half in halves:
            half.close()
    wait_until(lambda: program.status()["clients"] == 0, 20, "no client to be left")
    # A client that vanished in the middle of a transaction leaves no server behind.
    client = program.connect()
    client.execute("BEGIN")
    socket.socket(fileno=os.dup(client.fileno())).shutdown(socket.SHUT_RDWR)
    with source.connect() as watching:
        wait_until(lambda: not watching.execute(
            "SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = 'app' "
            "AND application_name NOT LIKE 'pgjanus%%'").fetchall(), 20,
            "the vanished client's server to be free")


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_a_value_of_100_megabytes_streams(programs, source, target, app, sides):
    app("CREATE TABLE blobs (id int PRIMARY KEY, body text); ALTER TABLE blobs ALTER body SET "
        "STORAGE EXTERNAL")
    program = programs(source.owner_url, target.owner_url).start()
    before = resident_bytes(program.process.pid)
    value = ("0123456789abcdef" * (100 << 16))
    wanted = hashlib.md5(value.encode()).hexdigest()
    with program.connect() as client:
        client.execute("INSERT INTO blobs VALUES (1, %s)", (value,))
        assert client.execute("SELECT md5(body) FROM blobs").fetchone() == (wanted,)
        (back,) = client.execute("SELECT body FROM blobs").fetchone()
        assert back == value
    # It passed three times; held once it would be 100 MB more.
    assert resident_bytes(program.process.pid) - before < 60 << 20
    for verb in ("prepare", "load"):
        program.do(verb)
    with program.connect() as client:
        client.execute("UPDATE blobs SET body = body || 'x'")
    program.wait_in_sync()
    wait_until(lambda: sides.target.execute("SELECT length(body) FROM blobs").fetchone()
               == (len(value) + 1,), 30, "the value on the target")

