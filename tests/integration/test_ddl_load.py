"""DDL beside `prepare` and `load`: an app whose schema changes meanwhile loses nothing, and neither of them ends for it."""

import threading

import pytest

from harness import wait_until
from test_ddl import BASE, Writer, alike, run

INDEXED = ("CREATE TABLE indexed (id int NOT NULL, n int NOT NULL); INSERT INTO indexed SELECT i, i FROM generate_series(1, 50) i; CREATE UNIQUE INDEX one ON indexed (id);"
           "CREATE UNIQUE INDEX two ON indexed (n); CREATE TABLE refers (n int REFERENCES indexed (n))")
CHANGES = (
    "ALTER TABLE accounts ADD COLUMN more int DEFAULT 3; UPDATE accounts SET more = id WHERE id % 3 = 0",
    "ALTER TABLE accounts ALTER balance TYPE numeric(20,4)",
    "ALTER TABLE notes RENAME TO remarks; ALTER TABLE remarks ALTER body SET NOT NULL; CREATE INDEX ON remarks (body)",
    "ALTER TABLE heap DROP COLUMN number",
    "ALTER TABLE indexed ADD CONSTRAINT key PRIMARY KEY USING INDEX one; CREATE UNIQUE INDEX one ON indexed (n, id); ALTER TABLE indexed ADD UNIQUE USING INDEX two",
    "CREATE TABLE fresh (id serial PRIMARY KEY, account bigint REFERENCES accounts); INSERT INTO fresh (account) VALUES (1), (2)",
    "CREATE VIEW rich AS SELECT * FROM accounts WHERE balance > 100",
    "CREATE SCHEMA extra; CREATE TABLE extra.t (id serial PRIMARY KEY); INSERT INTO extra.t VALUES (DEFAULT)",
)
PARTITION = "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); INSERT INTO days VALUES ('2026-02-07', 1, 'new')"


@pytest.fixture
def pgjanus(source, target, programs):
    return programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()


def waits_for(server, table, who="%"):
    return server.execute("SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = relation JOIN pg_stat_activity a USING (pid) "
                          "WHERE relname = %s AND NOT granted AND application_name LIKE %s", (table, who), database="app")


@pytest.mark.parametrize("changes", ((*CHANGES, PARTITION), *((change,) for change in CHANGES[4:]), (PARTITION,)),
                         ids=("all", "constraints", "a table", "a view", "a schema", "a partition"))
def test_what_comes_between_prepare_and_load(changes, source, target, sides, app, pgjanus):
    """Each by itself, too: what stops the load first may be any of them."""
    app(BASE + INDEXED)
    pgjanus.do("prepare")
    run(pgjanus, *changes)
    pgjanus.do("load")
    alike(pgjanus, source, target, sides)
    pgjanus.do("verify")


def test_what_comes_while_the_schema_is_read_ahead(source, target, sides, app, pgjanus):
    """What pg_dump says, and what the tables look like, before the mirror has followed: nothing of it is built."""
    app(BASE + INDEXED + "; CREATE INDEX gone ON heap (word); CREATE INDEX held_up ON accounts (owner)")
    pgjanus.do("prepare")
    loading = threading.Thread(target=pgjanus.do, args=("load",))
    with source.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE pgjanus.tables IN ACCESS EXCLUSIVE MODE")  # The mirror does not follow before.
        somebody.execute("SET ROLE app; ALTER TABLE accounts RENAME COLUMN owner TO holder; ALTER TABLE accounts ADD COLUMN owner text DEFAULT 'x';"
                         "CREATE INDEX of_new ON accounts (owner); DROP INDEX gone; CREATE TABLE fresh (id int PRIMARY KEY)")
        loading.start()
        wait_until(lambda: waits_for(source, "accounts", "pgjanus schema"), 30, "pg_dump to wait for the table")
        somebody.execute("COMMIT")
    loading.join()
    assert "load_begun_again" not in pgjanus.log()
    alike(pgjanus, source, target, sides)
    pgjanus.do("verify")


def test_what_comes_while_a_load_runs(source, target, sides, app, pgjanus):
    """One table is held up, so that the load is under way while the others' columns change."""
    app(BASE + INDEXED)
    app("CREATE TABLE held (id int PRIMARY KEY); INSERT INTO held SELECT generate_series(1, 50)")
    pgjanus.do("prepare")
    loading = threading.Thread(target=pgjanus.do, args=("load",))
    with source.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        loading.start()
        wait_until(lambda: waits_for(source, "held", "pgjanus load"), 30, "the load to wait for the table")
        run(pgjanus, *CHANGES, PARTITION)
        somebody.execute("ALTER TABLE held ADD COLUMN n int DEFAULT 7")
        somebody.execute("COMMIT")
    loading.join()
    with Writer(pgjanus.url) as writer:
        run(pgjanus, "UPDATE held SET n = id", "ALTER TABLE held ALTER n SET NOT NULL")
        # `notes` and the column of `heap` that the writer knows are gone: it writes to what is left.
        wait_until(lambda: writer.failure, 20, "the writer to meet the new schema")
        writer.failure = None
    alike(pgjanus, source, target, sides)
    pgjanus.do("verify")


def test_prepare_gives_way_to_the_apps_locks(source, target, sides, app, pgjanus):
    """Describing a view locks its tables; whoever has them locked is waited for in tries, in which we hold nothing."""
    app(BASE)
    app("CREATE VIEW rich AS SELECT a.*, n.body FROM accounts a JOIN notes n ON n.account = a.id")
    preparing = threading.Thread(target=pgjanus.do, args=("prepare",))
    with source.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
        preparing.start()
        wait_until(lambda: waits_for(source, "accounts"), 30, "prepare to wait")
        # What it would hold meanwhile is had by the app within a second: no deadlock, no waiting for prepare.
        somebody.execute("SET LOCAL lock_timeout = '1500ms'; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        somebody.execute("COMMIT")
    preparing.join()
    pgjanus.do("load")
    alike(pgjanus, source, target, sides)


def test_a_second_prepare_goes_on_where_the_first_stands(source, target, sides, app, pgjanus):
    """Columns that a view of now has are not on the target yet, and names hold blanks."""
    app(BASE + INDEXED)
    app('CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."my table" (id int PRIMARY KEY, t text); INSERT INTO "Odd Schema"."my table" VALUES (1)')
    pgjanus.do("prepare")
    changes = [change for change in CHANGES if "RENAME" not in change]
    run(pgjanus, *changes, PARTITION, 'CREATE TABLE "Odd Schema".late (id int PRIMARY KEY, t text UNIQUE); INSERT INTO "Odd Schema".late VALUES (1)')
    pgjanus.do("prepare")
    pgjanus.do("load")
    alike(pgjanus, source, target, sides)
    pgjanus.do("verify")
