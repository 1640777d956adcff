"""Capture stands, is missed when it is gone, fences, and lets go."""

import threading

import psycopg
import pytest

from capture_harness import base, control, judged, rejected, reset, world  # noqa: F401
from harness import wait_until


def test_replica_role_does_not_get_past_capture(base):
    before = base.judge.rows()
    with base.source.connect("app") as superuser:
        superuser.execute("SET session_replication_role = replica; UPDATE plain SET v = 'r';"
                          "DELETE FROM customer WHERE id = 1; INSERT INTO city VALUES (9, 'nine')")
    base.judge.check(before, base.judge.rows())


def test_only_the_schemas_owner_and_superusers_pass_with_the_mark(base):
    mark = "BEGIN; SET LOCAL pgjanus.apply = 'on'; UPDATE plain SET v = 'w'; COMMIT"
    base.owner.execute(mark)
    assert not base.judge.journal()
    with base.source.connect("app") as superuser:
        superuser.execute(mark.replace("'w'", "'s'"))
        superuser.execute("SET ROLE writer; " + mark.replace("'w'", "'u'"))
    assert not base.judge.journal()
    base.writer.execute(mark.replace("'w'", "'v'"))
    assert len(base.judge.journal()["plain"][0]) == 20


def test_roles_of_the_app_get_nothing_from_our_schema(base):
    for sql in ("SELECT * FROM pgjanus.journal", "INSERT INTO pgjanus.journal VALUES ('1', 1)",
                "SELECT pgjanus.guard()", "CREATE TABLE pgjanus.x ()"):
        rejected(base.writer, sql, "42501")
    base.source.execute("GRANT CREATE ON SCHEMA public TO writer", database="app")
    base.writer.execute("CREATE TABLE mine (id integer)")
    rejected(base.writer, "CREATE TRIGGER x AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows"
                          " FOR EACH STATEMENT EXECUTE FUNCTION pgjanus.capture_1_insert()", "42501")
    base.writer.execute("DROP TABLE mine")


def test_a_column_renamed_or_dropped_behind_our_back_asks_for_a_reload(base):
    """The app's writes go on; nothing is lost silently."""
    base.owner.execute("ALTER TABLE plain RENAME id TO ident; ALTER TABLE keyless_stable RENAME b TO bb;"
                       "ALTER TABLE city RENAME name TO title; ALTER TABLE city RENAME id TO number")
    try:
        before = base.judge.journal()
        assert not before
        base.writer.execute("INSERT INTO plain VALUES (500, 'x'); UPDATE keyless_stable SET a = 9;"
                            "UPDATE city SET title = 't'; DELETE FROM plain WHERE ident = 1")
        journal = base.judge.journal()
        assert {name for name, found in journal.items() if found[2]} == \
            {"plain", "keyless_stable", "city", "capital", "village"}
        assert not any(found[0] for found in journal.values())
    finally:
        base.owner.execute("ALTER TABLE plain RENAME ident TO id; ALTER TABLE keyless_stable RENAME bb TO b;"
                           "ALTER TABLE city RENAME title TO name; ALTER TABLE city RENAME number TO id")
    base.judge.clear()
    judged(base, "UPDATE plain SET v = 'again'; UPDATE keyless_stable SET b = 'again'")


def test_a_column_retyped_behind_our_back_is_still_noted(base):
    base.owner.execute("ALTER TABLE key_domain ALTER k TYPE bigint")
    judged(base, "INSERT INTO key_domain VALUES (5000000000, 1); UPDATE key_domain SET v = 3")
    base.owner.execute("DELETE FROM key_domain; ALTER TABLE key_domain ALTER k TYPE small_posint")


def test_a_lost_trigger_is_found_and_set_right(base):
    owner = base.owner
    numbers = {name: row[0] for name, row in base.judge.tables.items()}

    def lost():
        answer = control("lost", *base.urls)
        return {name for name, number in numbers.items() if number in answer["document"]["lost"]}
    assert lost() == set()
    owner.execute("ALTER TABLE plain DISABLE TRIGGER ALL; ALTER TABLE plain ENABLE TRIGGER ALL;"
                  "ALTER TABLE composite DISABLE TRIGGER USER;"
                  "DROP TRIGGER pgjanus_delete ON key_text;"
                  "ALTER TABLE measures_new_rest ENABLE REPLICA TRIGGER pgjanus_update;"
                  "CREATE OR REPLACE TRIGGER pgjanus_insert AFTER INSERT ON key_uuid FOR EACH STATEMENT"
                  " EXECUTE FUNCTION pgjanus.capture_1_truncate();"
                  "CREATE TABLE measures_newest PARTITION OF measures FOR VALUES FROM ('2030-01-01') TO ('2040-01-01');"
                  "GRANT ALL ON measures_newest TO writer")
    assert lost() == {"plain", "composite", "key_text", "measures", "key_uuid"}
    assert control("recapture", *base.urls)["document"]["steps"] == 6
    assert lost() == set()
    judged(base, "INSERT INTO measures_newest VALUES (1, '2031-01-01', 1); DELETE FROM key_text;"
                 " UPDATE plain SET v = 'x'; DELETE FROM composite; UPDATE measures_new_rest SET v = 0;"
                 " INSERT INTO key_uuid DEFAULT VALUES")
    # A partition that leaves takes its triggers along: its rows are gone from the tree.
    owner.execute("DROP TABLE measures_newest; CREATE TABLE joined () INHERITS (plain)")
    assert lost() == {"plain"}
    assert control("recapture", *base.urls)["document"]["steps"] == 1
    base.judge.clear()
    judged(base, "UPDATE plain SET v = 'row level' WHERE id < 5")
    owner.execute("DROP TABLE joined")
    assert lost() == {"plain"}
    control("recapture", *base.urls)
    assert lost() == set()


@pytest.mark.parametrize("change, back", [
    ("ALTER TABLE plain DISABLE TRIGGER pgjanus_insert", "ALTER TABLE plain ENABLE ALWAYS TRIGGER pgjanus_insert"),
    ("ALTER TRIGGER pgjanus_update ON plain RENAME TO another", "ALTER TRIGGER another ON plain RENAME TO pgjanus_update"),
    ("DROP TRIGGER pgjanus_delete ON plain", "recapture"),
    ("CREATE OR REPLACE TRIGGER pgjanus_insert AFTER INSERT ON plain FOR EACH STATEMENT"
     " EXECUTE FUNCTION pgjanus.capture_1_truncate()", "recapture"),
    ("ALTER FUNCTION pgjanus.capture_1_insert() RENAME TO another", "ALTER FUNCTION pgjanus.another() RENAME TO capture_1_insert"),
    ("ALTER TABLE plain RENAME TO another", "ALTER TABLE another RENAME TO plain"),
    ("CREATE SCHEMA elsewhere; ALTER TABLE plain SET SCHEMA elsewhere",
     "ALTER TABLE elsewhere.plain SET SCHEMA public; DROP SCHEMA elsewhere"),
    ("ALTER SCHEMA public RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO public"),
    ("CREATE TABLE another PARTITION OF measures FOR VALUES FROM ('2030-01-01') TO ('2040-01-01')", "DROP TABLE another"),
    ("CREATE TABLE another () INHERITS (plain)", "DROP TABLE another; recapture"),
    ("ALTER TABLE keyless_tree DETACH PARTITION keyless_tree_one",
     "ALTER TABLE keyless_tree ATTACH PARTITION keyless_tree_one FOR VALUES IN (1)"),
    ("UPDATE pgjanus.tables SET local_name = 'another' WHERE id = 1", "UPDATE pgjanus.tables SET local_name = NULL"),
])
def test_whatever_weakens_capture_leaves_another_footprint(base, change, back):
    """The watch looks closely only when it changes."""
    def footprint():
        return control("lost", *base.urls)["document"]["footprint"]
    before = footprint()
    base.source.execute("SELECT pg_current_xact_id()", database="app")
    assert footprint() == before  # Though ids are used up meanwhile, so that it is the change that shows below.
    base.source.execute(change, database="app")
    try:
        assert footprint() != before
    finally:
        statements = back.removesuffix("recapture").rstrip("; ")
        if statements:
            base.source.execute(statements, database="app")
        if back.endswith("recapture"):
            control("recapture", *base.urls)
    assert control("lost", *base.urls)["document"]["lost"] == []


def test_triggers_leave_with_what_left_the_table(base):
    """A detached partition of a tree without key, a table that was swapped by renaming."""
    owner, numbers = base.owner, {name: row[0] for name, row in base.judge.tables.items()}
    owner.execute("ALTER TABLE keyless_tree DETACH PARTITION keyless_tree_one;"
                  "ALTER TABLE plain RENAME TO plain_old; CREATE TABLE plain (LIKE plain_old INCLUDING ALL);"
                  "GRANT ALL ON plain TO writer")
    try:
        assert set(control("lost", *base.urls)["document"]["lost"]) == {numbers["keyless_tree"], numbers["plain"]}
        assert control("recapture", *base.urls)["document"]["steps"] == 3
        assert control("lost", *base.urls)["document"]["lost"] == []
        base.judge.clear()
        base.writer.execute("DELETE FROM keyless_tree_one; UPDATE plain_old SET v = 'x'")
        assert not base.judge.journal()
        judged(base, "INSERT INTO plain VALUES (1, 'new')")
    finally:
        owner.execute("DROP TABLE plain; ALTER TABLE plain_old RENAME TO plain;"
                      "ALTER TABLE keyless_tree ATTACH PARTITION keyless_tree_one FOR VALUES IN (1)")
        control("recapture", *base.urls)
    assert control("lost", *base.urls)["document"]["lost"] == []


def test_tables_that_wait_for_a_lock_do_not_hold_up_the_app(base):
    """An open writer keeps our DDL waiting; other writers hardly notice; the holder is named."""
    base.owner.execute("DROP TRIGGER pgjanus_delete ON plain")
    blocker = base.source.connect("app", "writer", application_name="the blocker", autocommit=False)
    blocker.execute("UPDATE plain SET v = 'held' WHERE id = 1")
    result = {}
    thread = threading.Thread(target=lambda: result.update(control("recapture", *base.urls)))
    thread.start()
    seen = set()

    def tries():  # Each try waits with a transaction of its own.
        seen.update(base.source.execute(
            "SELECT virtualtransaction FROM pg_locks WHERE NOT granted"
            " AND relation = 'public.plain'::regclass", database="app"))
        return len(seen) > 1
    wait_until(tries, 20, "our DDL to wait for the writer, and to try again")
    base.writer.execute("SET statement_timeout = '5s'")
    for _ in range(20):
        base.writer.execute("UPDATE plain SET v = 'goes on' WHERE id = 2")
    base.writer.execute("RESET statement_timeout")
    assert thread.is_alive()
    blocker.rollback()
    blocker.close()
    thread.join(30)
    assert result["status"] == 0 and result["document"]["steps"] == 1
    assert "waiting for " in result["progress"] and "the blocker" in result["progress"]
    assert control("lost", *base.urls)["document"]["lost"] == []


def test_an_old_snapshot_meets_triggers_that_are_newer(base):
    """A transaction that began before the triggers stood, and writes after: captured all the same."""
    base.owner.execute("DROP TRIGGER pgjanus_update ON plain; DROP TRIGGER pgjanus_delete ON plain")
    with base.source.connect("app", "writer") as old:
        old.execute("PREPARE change AS UPDATE plain SET v = 'old snapshot' WHERE id < 4")
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM composite")
        answer = control("recapture", *base.urls)
        assert answer["status"] == 0 and answer["document"]["steps"] == 1, answer
        old.execute("EXECUTE change")
        old.execute("COMMIT")
    assert base.judge.journal()["plain"][0] == {("1",), ("2",), ("3",)}


def test_the_fence_refuses_writes_on_the_target(base):
    """The guard stands on every relation there; only our own mark passes."""
    with psycopg.connect(base.urls[1], autocommit=True) as target:
        for sql in ("INSERT INTO plain VALUES (1, 'x')", "DELETE FROM plain", "TRUNCATE plain",
                    "INSERT INTO measures VALUES (1, '2020-01-01', 1)",
                    "INSERT INTO measures_new_odd (id, at) VALUES (1, '2020-01-01')",
                    "UPDATE ONLY city SET name = 'x'", "COPY plain FROM PROGRAM 'true'"):
            if "PROGRAM" in sql:
                continue
            error = rejected(target, sql, "25006")
            assert "this database is now the mirror" in str(error)
        rejected(target, "SET session_replication_role = replica; INSERT INTO plain VALUES (1, 'x')", "25006")
        target.execute("RESET session_replication_role; SET pgjanus.apply = 'on'; INSERT INTO plain VALUES (1, 'x');"
                       "DELETE FROM plain; RESET pgjanus.apply")


def test_the_fence_on_the_journal_stops_every_captured_write(base):
    """As after a flip: whatever the statement, role or isolation, SQLSTATE 25006 and nothing else."""
    base.owner.execute("ALTER TABLE pgjanus.journal ENABLE ALWAYS TRIGGER this_database_is_now_the_mirror")
    try:
        before = base.judge.rows()
        for sql in ("INSERT INTO plain VALUES (900, 'x')", "UPDATE plain SET v = 'x'", "DELETE FROM keyless",
                    "TRUNCATE plain", "UPDATE city SET name = 'x'", "DELETE FROM measures_old",
                    "DELETE FROM customer WHERE id = 1", "SELECT write_plain(901)",
                    "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE plain SET v = 'x'"):
            rejected(base.writer, sql, "25006")
            base.writer.execute("ROLLBACK")
        with base.source.connect("app") as superuser:
            rejected(superuser, "SET session_replication_role = replica; DELETE FROM plain", "25006")
        assert base.judge.rows() == before
    finally:
        base.owner.execute("ALTER TABLE pgjanus.journal DISABLE TRIGGER this_database_is_now_the_mirror")


def test_dropping_the_schema_frees_the_app_at_once(world):
    """The operator's way out, last in this file: no proxy, one statement, every trigger is gone."""
    reset(world.owner)
    world.owner.execute("DROP SCHEMA pgjanus CASCADE")
    world.writer.execute("UPDATE plain SET v = 'free'; DELETE FROM measures; TRUNCATE keyless;"
                         "UPDATE city SET name = 'free'; DELETE FROM customer")
    assert world.source.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgjanus%'",
                                database="app")[0][0] == 0
