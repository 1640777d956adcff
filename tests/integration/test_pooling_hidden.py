"""What statements do to their session without saying so, and what never ran: nobody else may meet it."""

import sys
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import wait_until
from relay_program import Relay
from test_pooling import pins, pooling, value  # noqa: F401 - fixtures among them
from wire_script import messages as m
from wire_script.peer import Peer

TRIGGERS = """
CREATE TABLE quiet (id int PRIMARY KEY, at timestamptz); CREATE TABLE setting (id int); CREATE TABLE temp (id int);
CREATE TABLE lock (id int); CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); CREATE VIEW setting_view AS SELECT * FROM setting;
CREATE FUNCTION f_quiet() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN IF TG_OP = ''UPDATE'' THEN NEW.at := now(); END IF; RETURN NEW; END';
CREATE FUNCTION f_setting() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM set_config(''work_mem'', ''5MB'', false); RETURN coalesce(NEW, OLD); END';
CREATE FUNCTION f_temp() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN CREATE TEMP TABLE IF NOT EXISTS made (); RETURN NEW; END';
CREATE FUNCTION f_lock() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_lock(42); RETURN NEW; END';
CREATE TRIGGER hidden BEFORE INSERT OR UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION f_quiet();
CREATE TRIGGER hidden BEFORE INSERT ON setting FOR EACH ROW EXECUTE FUNCTION f_setting();
CREATE TRIGGER hidden BEFORE INSERT ON temp FOR EACH ROW EXECUTE FUNCTION f_temp();
CREATE TRIGGER hidden BEFORE INSERT ON lock FOR EACH ROW EXECUTE FUNCTION f_lock();
CREATE TRIGGER hidden BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION f_setting();
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);
"""


@pytest.fixture
def pooled(source, target, app, programs):
    app(TRIGGERS)
    return programs(source.owner_url, target.owner_url, arguments=["--pool", "transaction"]).start()


SEES = {"setting": "SELECT current_setting('work_mem')", "temp": "SELECT to_regclass('pg_temp.made')::text",
        "lock": "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"}


@pytest.mark.parametrize("write, what", [
    ("INSERT INTO setting VALUES (1)", "setting"), ("INSERT INTO setting_view VALUES (1)", "setting"),
    ("COPY setting FROM STDIN", "setting"), ("DELETE FROM parent", "setting"),
    ("UPDATE pg_settings SET setting = 5120 WHERE name = 'work_mem'", "setting"),
    ("INSERT INTO temp VALUES (1)", "temp"), ("INSERT INTO lock VALUES (1)", "lock")])
def test_what_triggers_make_of_a_session_stays_its_own(pooled, write, what):
    with pooled.connect(autocommit=True) as client:
        before = value(client, SEES[what])
        with client.cursor() as cursor:
            if write.startswith("COPY"):
                with cursor.copy(write) as copy:
                    copy.write("1\n")
            else:
                cursor.execute(write)
        others = [pooled.connect(autocommit=True) for _ in range(12)]
        for other in others:
            assert value(other, SEES[what]) == before, "another client's session"
        after = value(client, SEES[what])
        assert after != before, "the session's own"
        for other in others:
            other.close()


def test_a_trigger_counts_from_its_first_moment(pooled, app):
    app("CREATE TABLE late (id int)")
    with pooled.connect(autocommit=True) as client, pooled.connect(autocommit=True) as other:
        before = value(other, SEES["setting"])
        for turn in range(5):
            client.execute("INSERT INTO late VALUES (1)")  # Known as harmless, once the catalog has been read.
            other.execute("CREATE TRIGGER hidden BEFORE INSERT ON late FOR EACH ROW EXECUTE FUNCTION f_setting()")
            client.execute("INSERT INTO late VALUES (1)")
            strangers = [pooled.connect(autocommit=True) for _ in range(4)]
            assert [value(one, SEES["setting"]) for one in strangers] == [before] * 4, "another client's session"
            assert value(client, SEES["setting"]) == "5MB"
            client.execute("RESET work_mem")
            other.execute("DROP TRIGGER hidden ON late")
            for one in strangers:
                one.close()


def test_a_trigger_that_only_computes_costs_no_question(pooled, source):
    with pooled.connect(autocommit=True) as client, source.connect("app") as admin:
        client.execute("INSERT INTO quiet VALUES (1)")
        client.execute("UPDATE quiet SET id = 2")
        last = "SELECT query FROM pg_stat_activity WHERE usename = 'app' AND query LIKE 'UPDATE quiet%'"
        wait_until(lambda: admin.execute(last).fetchone(), what="the write to be the server's last statement")


def peer(relay):
    made = Peer(("127.0.0.1", relay.port), ("app", "app-secret", "app"))
    made.start()
    made.transcript.clear()
    return made


def said(client, *parts, ready=1):
    client.transcript.clear()
    client.send(*parts)
    client.ready(ready)
    return [line for line in client.transcript if line[0] in "DE"]


def test_an_unnamed_statement_that_was_skipped_is_not_used(pooling):
    relay = pooling("size=1")
    client, other = peer(relay), peer(relay)
    use = m.bind() + m.execute() + m.SYNC
    skipped = m.describe_statement("none") + m.parse("SELECT 'skipped'") + m.SYNC
    assert "26000" in said(client, skipped)[0]
    assert "26000" in said(client, use)[0], "there is none"
    assert said(client, m.parse("SELECT 'first'"), use) == ["D b'\\x00\\x01\\x00\\x00\\x00\\x05first'"]
    assert said(other, m.parse("SELECT 'another client'"), use)[0].endswith("another client'")
    assert "26000" in said(client, skipped)[0]
    assert said(client, use)[0].endswith("first'")
    assert said(other, use)[0].endswith("another client'")
    # All in one go: what the use finds hangs on an answer that has not come.
    answers = said(client, skipped, use, ready=2)
    assert "26000" in answers[0] and answers[1].endswith("first'")
    # A Parse that fails leaves none.
    assert "42601" in said(client, m.parse("SELEC"), m.SYNC)[0]
    assert "26000" in said(client, use)[0]
    for one in (client, other):
        one.close()


def test_a_name_whose_parse_and_close_were_skipped_means_nothing(pooling):
    client = peer(pooling("size=1"))
    said(client, m.describe_statement("none"), m.parse("SELECT 1", "a"), m.close_statement("a"), m.SYNC)
    assert "26000" in said(client, m.bind((), "a"), m.execute(), m.SYNC)[0]
    said(client, m.parse("SELECT 'b'", "b"), m.describe_statement("none"), m.close_statement("b"), m.SYNC)
    assert said(client, m.bind((), "b"), m.execute(), m.SYNC)[0].endswith("b'"), "its Close was skipped"
    assert "42P05" in said(client, m.parse("SELECT 2", "b"), m.SYNC)[0]
    client.close()


@pytest.mark.parametrize("pool", ["session", "transaction"])
def test_late_copy_data_stays_with_the_server_that_was_to_have_it(pair, tmp_path, pool):
    relay = Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / "relay.log", f"pool={pool}", "threads=1")
    try:
        client = peer(relay)
        client.send(m.query("COPY t FROM STDIN"))
        client.until("G")
        late = m.copy_data(b"x" * 400_000)
        # The first line is wrong; the second message has begun when the error comes.
        client.send(m.copy_data(b"no number\n"), late[:100_000])
        client.ready()
        relay.tell("hold")
        relay.tell("quiesce 5000")
        relay.tell("primary target")
        relay.tell("release")
        client.send(late[100_000:], m.COPY_DONE)
        assert said(client, m.query("SELECT name FROM side"))[-1].endswith("target'")
        client.close()
    finally:
        relay.stop()


@pytest.mark.parametrize("pool", ["session", "transaction"])
def test_a_flush_between_batches_opens_no_gate(pair, tmp_path, pool):
    relay = Relay(pair[0].owner_url, pair[1].owner_url, tmp_path / "relay.log", f"pool={pool}", "threads=1")
    try:
        client = peer(relay)
        said(client, m.parse("SELECT 1"), m.bind(), m.execute(), m.SYNC, m.FLUSH)
        relay.tell("hold")
        client.send(m.query("SELECT name FROM side"))
        wait_until(lambda: "held" in relay.tell("clients"), what="the query to be held")
        relay.tell("primary target")
        relay.tell("release")
        client.transcript.clear()
        client.ready()
        assert any(line.endswith("target'") for line in client.transcript)
        # Nor the one that asks what a transaction has made of the session.
        function = "SELECT set_config('work_mem', '5MB', false)"
        for _ in range(20):
            client.transcript.clear()
            client.send(m.query(function), m.FLUSH, m.query("SELECT 2"), m.FLUSH, m.parse("SELECT 3", "n"), m.SYNC,
                        m.FLUSH, m.close_statement("n"), m.SYNC)
            client.ready(4)
            assert [line[0] for line in client.transcript if line[0] in "DC13ZE"] == list("DCZDCZ1Z3Z")
        client.close()
    finally:
        relay.stop()


def test_whatever_is_temporary_keeps_its_server(pooling):
    relay = pooling("size=2")
    with relay.connect() as client:
        for kind, drop in (("TYPE pg_temp.e AS ENUM ('a')", "TYPE pg_temp.e"), ("TEMP SEQUENCE q", "SEQUENCE q"),
                           ("DOMAIN pg_temp.d AS int", "DOMAIN pg_temp.d")):
            client.execute(f"CREATE {kind}")
            assert pins(relay) == ["temporary table"]
            client.execute(f"DROP {drop}")
            assert pins(relay) == [""]
