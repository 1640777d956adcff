"""DDL while mirroring: what the app does to its schema arrives on the mirror, in its place among the rows.

At the end of each test both sides hold the same rows (compare.py) and the same schema (pg_dump, and
nothing of ours in it).
"""

import itertools
import re
import subprocess
import threading

import psycopg
import pytest

from harness import assert_equal, equal_within, wait_until
from harness.cluster import server_programs

BASE = """
CREATE TABLE accounts (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL DEFAULT 0);
INSERT INTO accounts SELECT i, 'owner ' || i, i FROM generate_series(1, 500) i;
CREATE TABLE notes (id serial PRIMARY KEY, account bigint REFERENCES accounts ON DELETE CASCADE, body text);
INSERT INTO notes (account, body) SELECT i, 'note ' || i FROM generate_series(1, 300) i;
CREATE TABLE heap (word text, number int);
INSERT INTO heap SELECT 'w' || i % 7, i % 5 FROM generate_series(1, 100) i;
CREATE TABLE days (day date, seq int, what text, PRIMARY KEY (day, seq)) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
INSERT INTO days SELECT date '2026-01-01' + i % 28, i, 'day ' || i FROM generate_series(1, 100) i;
"""


def schema_of(server, sequences=True):
    """pg_dump --schema-only without what is ours, and without what depends on the server's names."""
    dump = subprocess.run(
        [str(server_programs() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges",
         "--exclude-schema=pgjanus", "--quote-all-identifiers",
         "-h", str(server.directory), "-p", str(server.port), "-U", "postgres", "app"],
        capture_output=True, text=True, check=True).stdout
    lines = [line for line in dump.splitlines()
             if line.strip() and not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog.set_config"))]
    text = "\n".join(lines)
    # Statements in the order of their text: pg_dump's own follows names and, where those are equal, OIDs.
    statements = [part.strip() for part in re.split(r";\n", text)]
    if not sequences:  # A mirror that was the primary keeps its sequences stopped.
        statements = [re.sub(r"(START WITH|MINVALUE|MAXVALUE) \d+|NO (MIN|MAX)VALUE", "", part) for part in statements]
    return sorted(part for part in statements if '"pgjanus' not in part)


class Writer:
    """Writes to accounts, notes, heap and days through the proxy until it is left."""

    firsts = itertools.count(0, 100_000)  # Each writer's numbers are its own.

    def __init__(self, url):
        self.url, self.stop, self.count, self.failure = url, threading.Event(), next(self.firsts), None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            with psycopg.connect(self.url, autocommit=True, prepare_threshold=None) as connection:
                while not self.stop.is_set():
                    self.count += 1
                    n = self.count
                    connection.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (n % 500 + 1,))
                    connection.execute("INSERT INTO heap VALUES (%s, %s)", (f"w{n % 7}", n % 5))
                    connection.execute("INSERT INTO days VALUES ('2026-01-05', %s, 'new')", (1000 + n,))
                    if n % 5 == 0:
                        connection.execute("DELETE FROM heap WHERE number = %s AND word = %s", (n % 5, f"w{n % 7}"))
        except psycopg.Error as error:
            self.failure = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.failure is None, self.failure

    def progress(self, more=20):
        goal = self.count + more
        wait_until(lambda: self.count >= goal or self.failure, 20, "the writer to go on", every=0.02)


@pytest.fixture
def pgjanus(source, target, programs):
    """Acknowledged means on both sides here, however slow the machine."""
    return programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()


@pytest.fixture
def mirrored(source, target, sides, app, pgjanus):
    app(BASE)
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    return pgjanus


def alike(pgjanus, source, target, sides, sequences=True):
    pgjanus.wait_in_sync()
    assert schema_of(source, sequences) == schema_of(target, sequences)
    assert_equal(sides.source, sides.target)


def run(pgjanus, *statements):
    with pgjanus.connect() as client:
        for statement in statements:
            client.execute(statement)


def test_what_migrations_do(source, target, sides, mirrored):
    changed_columns(source, target, sides, mirrored)
    partitions_come_and_go(source, target, sides, mirrored)
    new_tables_types_and_schemas(source, target, sides, mirrored)


def changed_columns(source, target, sides, mirrored):
    with Writer(mirrored.url) as writer:
        run(mirrored, "CREATE TABLE tags (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL)",
            "INSERT INTO tags (name) VALUES ('a'), ('b')")
        # Acknowledged means on both sides, in a table that is a moment old too.
        assert sides.target.execute("SELECT count(*) FROM tags").fetchone() == (2,)
        writer.progress()
        run(mirrored, "BEGIN", "ALTER TABLE accounts ADD COLUMN level int", "UPDATE accounts SET level = id % 3",
            "ALTER TABLE accounts ALTER COLUMN level SET NOT NULL", "ALTER TABLE accounts ALTER level SET DEFAULT 7", "COMMIT")
        assert sides.target.execute("SELECT count(*) FROM accounts WHERE level = id % 3").fetchone() == (500,)
        writer.progress()
        run(mirrored,
            "ALTER TABLE accounts ADD COLUMN made timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE accounts ADD COLUMN token uuid DEFAULT gen_random_uuid()",
            "ALTER TABLE accounts ADD COLUMN doubled numeric GENERATED ALWAYS AS (balance * 2) STORED",
            "CREATE INDEX accounts_level ON accounts (level)",
            "CREATE INDEX CONCURRENTLY accounts_owner ON accounts (lower(owner))",
            "ALTER TABLE notes RENAME TO remarks",
            "ALTER TABLE remarks RENAME COLUMN body TO words",
            "ALTER TABLE remarks ALTER COLUMN words TYPE varchar(40)",
            "ALTER TABLE remarks ADD CONSTRAINT short CHECK (length(words) < 40) NOT VALID",
            "ALTER TABLE remarks VALIDATE CONSTRAINT short",
            "ALTER TABLE accounts ALTER COLUMN owner TYPE text USING upper(owner)",
            "ALTER TABLE accounts DROP COLUMN level",
            "ALTER TABLE heap ALTER COLUMN number TYPE bigint", "UPDATE heap SET number = number + 1")
        with mirrored.connect() as client:
            client.execute("CREATE VIEW rich AS SELECT * FROM accounts WHERE balance > 100")
            client.execute("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
                           "'BEGIN NEW.made := now(); RETURN NEW; END'")
            client.execute("CREATE TRIGGER touched BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch()")
            client.execute("COMMENT ON TABLE accounts IS 'money'; COMMENT ON COLUMN accounts.made IS 'since'")
            client.execute("DROP TABLE tags")
        writer.progress()
    alike(mirrored, source, target, sides)


def partitions_come_and_go(source, target, sides, mirrored):
    with Writer(mirrored.url) as writer:
        run(mirrored, "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
            "INSERT INTO days_2 VALUES ('2026-02-03', 1, 'into the leaf')",
            "INSERT INTO days VALUES ('2026-02-04', 2, 'into the root')")
        assert sides.target.execute("SELECT count(*) FROM days_2").fetchone() == (2,)
        writer.progress()
        with mirrored.connect() as client:  # From its first row, in the transaction that makes it.
            with client.transaction():
                client.execute("CREATE TABLE days_3 PARTITION OF days FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')")
                client.execute("INSERT INTO days_3 VALUES ('2026-03-01', 1, 'x'), ('2026-03-02', 2, 'y')")
            client.execute("CREATE TABLE loose (day date NOT NULL, seq int NOT NULL, what text, PRIMARY KEY (day, seq))")
            client.execute("INSERT INTO loose SELECT '2026-04-02', i, 'loose ' || i FROM generate_series(1, 50) i")
            with client.transaction():
                client.execute("DELETE FROM loose WHERE seq < 5")
                client.execute("ALTER TABLE days ATTACH PARTITION loose FOR VALUES FROM ('2026-04-01') TO ('2026-05-01')")
                client.execute("UPDATE days SET what = 'attached' WHERE day = '2026-04-02' AND seq = 7")
        writer.progress()
        run(mirrored, "CREATE INDEX ON days (what)", "ALTER TABLE days ADD COLUMN more int DEFAULT 3",
            "ALTER TABLE days DETACH PARTITION days_2", "UPDATE days_2 SET what = 'alone'",
            "CREATE TABLE sub PARTITION OF days FOR VALUES FROM ('2026-06-01') TO ('2026-07-01') PARTITION BY LIST (seq)",
            "CREATE TABLE sub_1 PARTITION OF sub FOR VALUES IN (1)", "CREATE TABLE sub_x PARTITION OF sub DEFAULT",
            "INSERT INTO sub_1 VALUES ('2026-06-06', 1, 'deep')", "INSERT INTO days VALUES ('2026-06-07', 9, 'other')",
            "UPDATE days SET day = '2026-03-09' WHERE day = '2026-06-07'", "DROP TABLE days_3")
        writer.progress()
    alike(mirrored, source, target, sides)


def new_tables_types_and_schemas(source, target, sides, mirrored):
    with Writer(mirrored.url) as writer:
        run(mirrored, "CREATE TABLE copied AS SELECT id, owner, random() AS luck FROM accounts",
            "SELECT id, words AS body INTO chosen FROM remarks", "INSERT INTO copied VALUES (-1, 'later', 0)",
            "CREATE SCHEMA shop", "CREATE TYPE shop.size AS ENUM ('s', 'm')",
            "CREATE TYPE shop.spot AS (x int, y int)", "CREATE DOMAIN shop.price AS numeric CHECK (value >= 0)",
            "CREATE TABLE shop.shirts (id serial PRIMARY KEY, size shop.size, at shop.spot, cost shop.price DEFAULT 1)",
            "INSERT INTO shop.shirts (size, at) VALUES ('s', (1, 2))")
        run(mirrored, "ALTER TYPE shop.size ADD VALUE 'l'", "INSERT INTO shop.shirts (size) VALUES ('l')",
            "ALTER TYPE shop.size ADD VALUE 'xs' BEFORE 's'", "ALTER TYPE shop.size RENAME VALUE 'm' TO 'medium'",
            "ALTER TABLE accounts ADD COLUMN size shop.size DEFAULT 'xs'")
        writer.progress()
        # search_path and the role are those of the session.
        with mirrored.connect() as client:
            client.execute("SET search_path = shop, public")
            client.execute("CREATE TABLE socks (id int PRIMARY KEY, pair text DEFAULT 'two')")
            client.execute("INSERT INTO socks VALUES (1)")
            client.execute("CREATE FUNCTION pairs() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM shop.socks'")
            client.execute("CREATE MATERIALIZED VIEW shop.sizes AS SELECT size, count(*) FROM shirts GROUP BY 1")
        # What is rolled back does not come; the rest of its transaction does.
        with mirrored.connect() as client:
            client.execute("BEGIN; CREATE TABLE never (a int); ROLLBACK")
            with client.transaction():
                client.execute("CREATE TABLE half (a int PRIMARY KEY)")
                client.execute("INSERT INTO half VALUES (1)")
                client.execute("SAVEPOINT s")
                client.execute("ALTER TABLE half ADD COLUMN b int")
                client.execute("ROLLBACK TO s")
                client.execute("INSERT INTO half VALUES (2)")
            with client.transaction():
                client.execute("TRUNCATE remarks")
                client.execute("ALTER TABLE remarks ADD COLUMN extra text")
                client.execute("INSERT INTO remarks (words, extra) VALUES ('only', 'one')")
            with pytest.raises(psycopg.errors.DuplicateTable):
                client.execute("CREATE TABLE another (a int); CREATE TABLE half (a int)")
        writer.progress()
        # Two tables exchange their names, a keyless one gets a key, a key goes.
        run(mirrored, "BEGIN", "ALTER TABLE chosen RENAME TO passing", "ALTER TABLE half RENAME TO chosen",
            "ALTER TABLE passing RENAME TO half", "COMMIT", "ALTER TABLE half ADD PRIMARY KEY (id)",
            "UPDATE half SET body = 'changed' WHERE id < 20", "ALTER TABLE chosen DROP CONSTRAINT half_pkey",
            "INSERT INTO chosen VALUES (1), (1)", "ALTER TABLE heap ADD COLUMN serial_number serial")
        # Something else of the same name, in one transaction.
        run(mirrored, "CREATE SEQUENCE counted", "CREATE TABLE counts (id bigint DEFAULT nextval('counted'), s shop.size DEFAULT 's')",
            "INSERT INTO counts DEFAULT VALUES", "BEGIN", "DROP SEQUENCE counted CASCADE", "CREATE SEQUENCE counted INCREMENT 2",
            "ALTER TABLE counts ALTER id SET DEFAULT nextval('counted')", "ALTER TYPE shop.size RENAME TO was_size",
            "CREATE TYPE shop.size AS ENUM ('small', 'large')", "ALTER TABLE counts ALTER s DROP DEFAULT",
            "ALTER TABLE counts ALTER s TYPE shop.size USING CASE s WHEN 's' THEN 'small'::shop.size ELSE 'large' END",
            "CREATE TYPE shop.pair AS (a int)", "COMMIT",
            "CREATE TABLE paired (p shop.pair)", "INSERT INTO paired VALUES (ROW(1))", "BEGIN", "ALTER TABLE paired ALTER p TYPE int USING (p).a",
            "DROP TYPE shop.pair", "CREATE TYPE shop.pair AS (a int, b int)", "ALTER TABLE paired ALTER p TYPE shop.pair USING (p, 2)", "COMMIT")
        run(mirrored, "DO $$ BEGIN CREATE TYPE mood AS ENUM ('fine'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            "DO $$ BEGIN FOR i IN 1..3 LOOP EXECUTE format('CREATE TABLE made_%s (id int PRIMARY KEY, m mood)', i); "
            "EXECUTE format('INSERT INTO made_%s VALUES (1)', i); END LOOP; END $$",
            "CREATE FUNCTION make_one() RETURNS void LANGUAGE sql AS 'CREATE TABLE by_function (id int PRIMARY KEY)'",
            "SELECT make_one()", "INSERT INTO made_2 VALUES (2, 'fine')", "INSERT INTO by_function VALUES (1)")
        writer.progress()
        run(mirrored, "DROP SCHEMA shop CASCADE")
        writer.progress()
    alike(mirrored, source, target, sides)


def test_what_did_not_come_through_and_what_does_not_fit(source, target, sides, app, mirrored):
    refused_by_the_mirror(source, target, sides, mirrored)
    past_the_proxy(source, target, sides, app, mirrored)
    while_nobody_looked(source, target, sides, app, mirrored)


def past_the_proxy(source, target, sides, app, mirrored):
    with Writer(mirrored.url) as writer:
        app("CREATE TABLE aside (id int PRIMARY KEY, body text); INSERT INTO aside VALUES (1, 'before anybody looked')")
        app("ALTER TABLE accounts ADD COLUMN beside int DEFAULT 4; UPDATE accounts SET beside = id % 9;"
            "ALTER TABLE notes DROP COLUMN account; DROP TABLE days; CREATE INDEX ON heap (word)")
        wait_until(lambda: writer.failure, 20, "the writer to miss days", every=0.02)
        writer.failure = None
    app("INSERT INTO aside VALUES (2, 'after')")
    wait_until(lambda: schema_of(source) == schema_of(target), 20, "the schemas to be equal")
    alike(mirrored, source, target, sides)
    assert "public.aside" in mirrored.log(), "what was found is named"


def refused_by_the_mirror(source, target, sides, mirrored):
    sides.target.execute("SET pgjanus.apply = 'on'; CREATE VIEW in_the_way AS SELECT body FROM notes")
    run(mirrored, "ALTER TABLE notes DROP COLUMN body")
    wait_until(lambda: mirrored.status()["mirror"]["state"] == "stalled", 20, "the mirror to say so")
    with mirrored.admin() as admin:
        why = dict(admin.execute("SHOW STATUS").fetchall())["mirror.error"]
    assert "in_the_way" in why and "DROP COLUMN" in why, why
    body = mirrored.http("/status")[1]
    assert "in_the_way" in body and "DROP COLUMN" not in body, "no query texts over HTTP"
    run(mirrored, "INSERT INTO accounts VALUES (9001, 'meanwhile')")
    sides.target.execute("DROP VIEW in_the_way")
    with mirrored.admin() as admin:
        admin.execute("RETRY")
    alike(mirrored, source, target, sides)

    sides.target.execute("CREATE VIEW in_the_way AS SELECT seq, what FROM days")
    run(mirrored, "ALTER TABLE days DROP COLUMN what")
    wait_until(lambda: mirrored.status()["mirror"]["state"] == "stalled", 20, "the mirror to say so")
    with mirrored.admin() as admin:
        admin.execute("SKIP")
    mirrored.wait_in_sync()
    assert sides.source.execute("SELECT command FROM pgjanus.audit WHERE command = 'skip'").fetchone()
    run(mirrored, "INSERT INTO accounts VALUES (9002, 'goes on')")
    assert sides.target.execute("SELECT count(*) FROM accounts WHERE id > 9000").fetchone() == (2,)
    sides.target.execute("DROP VIEW in_the_way; ALTER TABLE days DROP COLUMN what")
    run(mirrored, "ALTER TABLE days ADD COLUMN what text")
    alike(mirrored, source, target, sides)


def test_after_a_flip_it_goes_the_other_way(source, target, sides, mirrored):
    """The old source is the mirror then, whose role may not set session_replication_role."""
    mirrored.do("verify")
    mirrored.do("cutover")
    with Writer(mirrored.url) as writer:
        run(mirrored, "CREATE TABLE after (id serial PRIMARY KEY, account bigint REFERENCES accounts, body text)",
            "INSERT INTO after (account, body) VALUES (1, 'x'), (2, 'y')",
            "ALTER TABLE accounts ADD COLUMN later int DEFAULT 5", "ALTER TABLE notes DROP COLUMN body",
            "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
            "INSERT INTO days_2 VALUES ('2026-02-03', 1, 'into the leaf')",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := NEW.body || 1; RETURN NEW; END'",
            "CREATE TRIGGER t BEFORE INSERT ON after FOR EACH ROW EXECUTE FUNCTION f()",
            "INSERT INTO after (account, body) VALUES (3, 'z')", "CREATE SEQUENCE loose_numbers INCREMENT 5")
        writer.progress()
    mirrored.wait_in_sync()
    assert_equal(sides.source, sides.target)
    mirrored.do("verify")
    mirrored.do("rollback")
    run(mirrored, "INSERT INTO after (account, body) VALUES (4, 'back')", "ALTER TABLE after ADD COLUMN home int")
    wait_until(lambda: not sides.source.execute("SELECT 1 FROM pgjanus.kept").fetchone(), 20, "constraints to be valid")
    alike(mirrored, source, target, sides, sequences=False)


def while_nobody_looked(source, target, sides, app, mirrored):
    mirrored.kill9()
    app("ALTER TABLE accounts RENAME TO clients; ALTER TABLE clients ADD COLUMN x int; "
        "UPDATE clients SET x = id; CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh VALUES (1)")
    mirrored.start()
    wait_until(lambda: schema_of(source) == schema_of(target), 20, "the schemas to be equal")
    alike(mirrored, source, target, sides)


def test_a_table_is_loaded_again_while_its_columns_change(source, target, sides, app, mirrored):
    """Neither the app's DDL nor the load waits for the other: the load goes on where the DDL has arrived."""
    with Writer(mirrored.url) as writer, mirrored.admin() as admin:
        for number in range(2):
            more = threading.Thread(target=app, args=(
                f"ALTER TABLE accounts ADD COLUMN more_{number} int DEFAULT {number}; "
                f"UPDATE accounts SET more_{number} = id % 7 WHERE id % 3 = 0; CREATE INDEX ON accounts (more_{number})",))
            more.start()
            admin.execute("LOAD accounts")
            more.join()
            run(mirrored, f"ALTER TABLE accounts DROP COLUMN more_{number}")
            admin.execute("LOAD accounts")
        writer.progress()
    alike(mirrored, source, target, sides)


def test_what_changes_there_and_back_before_the_mirror_sees_it(source, target, sides, app, mirrored):
    """Rows of a table without key are noted whole: with a column that the mirror never learns of."""
    def listed():
        return sides.source.execute("SELECT 'x' = ANY (columns) FROM pgjanus.tables WHERE table_name = 'heap'").fetchone()[0]

    with target.connect("app", autocommit=False) as somebody:
        somebody.execute("SELECT count(*) FROM heap")  # Keeps the mirror from changing the table.
        app("ALTER TABLE heap ADD COLUMN x int DEFAULT 3")
        wait_until(listed, 30, "the column to be captured")
        app("INSERT INTO heap VALUES ('between', 1, 2); UPDATE heap SET number = 77 WHERE word = 'w1'")
        app("ALTER TABLE heap DROP COLUMN x")
        wait_until(lambda: not listed(), 30, "the column to be captured no more")
        app("INSERT INTO heap VALUES ('after', 1); DELETE FROM heap WHERE word = 'w2'")
    equal_within(sides.source, sides.target)  # Nobody waits for what goes past the proxy.
    alike(mirrored, source, target, sides)


def test_columns_come_between_the_plan_of_a_load_and_its_copy(target, sides, app, mirrored):
    """The copy's snapshot shows rows that the plan's columns do not hold; nobody notes these rows again."""
    app("CREATE TABLE early (id int PRIMARY KEY); INSERT INTO early SELECT generate_series(1, 50)")
    mirrored.wait_in_sync()
    wait_until(lambda: sides.target.execute("SELECT to_regclass('early')").fetchone()[0], 20, "the table on the mirror")
    for more in ("", "ALTER TABLE early ALTER column_1 SET NOT NULL; ALTER TABLE early ADD CHECK (column_1 > 0)"):
        number = 1 if more else 0
        with mirrored.admin() as admin:
            with target.connect("app", autocommit=False) as somebody:
                somebody.execute("LOCK TABLE early IN SHARE ROW EXCLUSIVE MODE")
                loading = threading.Thread(target=admin.execute, args=("LOAD early",))
                loading.start()
                wait_until(lambda: sides.target.execute("SELECT 1 FROM pg_locks WHERE relation = 'early'::regclass AND NOT granted").fetchall(),
                           20, "the load to wait for the table")
                app(f"ALTER TABLE early ADD COLUMN column_{number} int; UPDATE early SET column_{number} = id; {more}")
                somebody.execute("COMMIT")
            loading.join()
        mirrored.wait_in_sync()
        wait_until(lambda: sides.target.execute("SELECT count(*) FROM information_schema.columns WHERE table_name = 'early'").fetchone()[0]
                   == number + 2, 20, "the column on the mirror")
        mirrored.wait_in_sync()
        equal_within(sides.source, sides.target)
    mirrored.do("verify")


def test_a_table_that_waits_to_be_loaded_does_not_hold_up_what_its_rows_would_have_to_fit(sides, app, mirrored):
    app("CREATE TABLE waits (id int PRIMARY KEY); INSERT INTO waits SELECT generate_series(1, 50)")
    wait_until(lambda: sides.target.execute("SELECT to_regclass('waits')").fetchone()[0], 20, "the table on the mirror")
    mirrored.wait_in_sync()
    mirrored.kill9()
    sides.target.execute("UPDATE pgjanus.tables SET state = 'error', boundary = (SELECT snapshot FROM pgjanus.boundary) WHERE table_name = 'waits'")
    mirrored.start()
    app("ALTER TABLE waits ADD COLUMN n int; UPDATE waits SET n = id; ALTER TABLE waits ALTER n SET NOT NULL")
    wait_until(lambda: sides.target.execute("SELECT 1 FROM pg_attribute WHERE attrelid = 'waits'::regclass AND attname = 'n' AND attnotnull").fetchall(),
               20, "the column on the mirror")
    with mirrored.admin() as admin:
        admin.execute("LOAD waits")
    mirrored.wait_in_sync()
    equal_within(sides.source, sides.target)
