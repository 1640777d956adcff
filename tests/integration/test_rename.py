"""A target that differs on purpose: other names, columns, indexes and partitions of its own."""

import hashlib
import threading

import psycopg
import pytest

from harness import wait_until

SETTINGS = """
[[rename]]
source = "public.users"
target = "auth.users"

[[rename]]
source = "public.docs"
target = "archive.papers"
"""

SOURCE = """
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE, mood mood DEFAULT 'fine', at timestamptz DEFAULT now());
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users, total numeric);
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, body text);
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric);
CREATE TABLE docs (id serial PRIMARY KEY, body text);
CREATE INDEX docs_body ON docs (md5(body));
CREATE TABLE plain (a int, b text);
CREATE VIEW rich AS SELECT users.id, users.email, sum(o.total) AS total
  FROM users LEFT JOIN orders o ON o.user_id = users.id GROUP BY users.id;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN NEW.at := coalesce(NEW.at, now()); RETURN NEW; END';
CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO users (email) SELECT 'u' || n FROM generate_series(1, 500) n;
INSERT INTO orders (user_id, total) SELECT 1 + n % 500, n FROM generate_series(1, 2000) n;
INSERT INTO events SELECT n, '2025-01-01'::timestamptz + n * interval '1 hour', 'e' || n FROM generate_series(1, 3000) n;
INSERT INTO items SELECT n, 'i' || n, n FROM generate_series(1, 300) n;
INSERT INTO docs (body) SELECT repeat('d', n) FROM generate_series(1, 100) n;
INSERT INTO plain SELECT n % 10, 'p' || n % 3 FROM generate_series(1, 100) n;
"""

# What the operator made before: events in partitions, items with more of everything.
TARGET = """
CREATE TABLE events (id bigint, at timestamptz NOT NULL, body text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2025-03-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2025-03-01') TO (MAXVALUE);
CREATE TABLE items (note text DEFAULT 'new', id int PRIMARY KEY, price numeric, name text,
  seen bigserial, UNIQUE (name));
CREATE INDEX items_price ON items (price);
"""

PAIRS = (("public.users", "auth.users", "id, email, mood, at"),
         ("public.orders", "public.orders", "id, user_id, total"),
         ("public.events", "public.events", "id, at, body"),
         ("public.items", "public.items", "id, name, price"),
         ("public.docs", "archive.papers", "id, body"),
         ("public.plain", "public.plain", "a, b"))


def digest(connection, table, columns):
    rows = connection.execute(f"SELECT ROW({columns})::text FROM {table}").fetchall()
    return len(rows), hashlib.sha256("\n".join(sorted(r[0] for r in rows)).encode()).hexdigest()


def differing(sides):
    return [theirs for ours, theirs, columns in PAIRS
            if digest(sides.source, ours, columns) != digest(sides.target, theirs, columns)]


def equal(pgjanus, sides):
    pgjanus.wait_in_sync()
    wait_until(lambda: not differing(sides), 30, "equal rows on both sides")


@pytest.fixture
def renaming(source, target, app, configured):
    app(SOURCE)
    target.script(TARGET, "app", "app")
    configured.write(SETTINGS)
    configured.start()
    for verb in ("prepare", "load"):
        configured.do(verb)
    return configured


def work(client, turn):
    """What an app does: names with and without a schema, simple, extended and prepared."""
    for n in range(6):  # psycopg prepares by itself from the fifth time on.
        client.execute("INSERT INTO users (email) VALUES (%s)", (f"w{turn}-{n}",))
        client.execute("UPDATE public.users SET email = public.users.email || '!' WHERE public.users.email = %s",
                       (f"w{turn}-{n}",))
        found = client.execute("SELECT users.email FROM users WHERE id = (SELECT max(id) FROM public.users)",
                               prepare=True).fetchone()
        assert found == (f"w{turn}-{n}!",)
    with client.transaction():
        user = client.execute("INSERT INTO users (email) VALUES (%s) RETURNING users.id", (f"t{turn}",)).fetchone()[0]
        client.execute("INSERT INTO orders (user_id, total) VALUES (%s, 7)", (user,))
        client.execute("WITH users AS (DELETE FROM users WHERE email = %s RETURNING id) SELECT count(*) FROM users",
                       (f"w{turn}-0!",))
    client.execute("INSERT INTO docs (body) VALUES ('simple'); DELETE FROM docs WHERE docs.id = 1 + (SELECT min(d.id) "
                   "FROM public.docs AS d); UPDATE docs SET body = docs.body || 'x' WHERE docs.body = 'simple'")
    client.execute("SELECT nextval('docs_id_seq'), currval('public.docs_id_seq')")
    client.execute("UPDATE events SET at = at + interval '60 days', body = 'moved' WHERE mod(id, 10) = %s", (turn,))
    client.execute("INSERT INTO events VALUES (%s, '2025-02-01', 'new')", (10_000 + turn,))
    client.execute("UPDATE items SET name = 'x' || name, price = price + 1 WHERE mod(id, 7) = %s", (turn,))
    client.execute("INSERT INTO items (id, name) VALUES (%s, 'late')", (1000 + turn,))
    client.execute("DELETE FROM items WHERE name = 'late'")
    client.execute("INSERT INTO plain VALUES (1, 'p1'); DELETE FROM plain WHERE ctid = (SELECT min(ctid) FROM plain)")
    with client.cursor().copy("COPY users (email) FROM STDIN") as copy:
        for n in range(50):
            copy.write_row((f"c{turn}-{n}",))
    assert client.execute("SELECT count(*) FROM rich").fetchone() == client.execute("SELECT count(*) FROM users").fetchone()


def planted_and_healed(pgjanus, sides, mirror, names):
    with mirror.transaction():
        mirror.execute("SET LOCAL pgjanus.apply = 'on'; SET LOCAL session_replication_role = replica")
        mirror.execute(f"DELETE FROM {names['users']} WHERE id = 7")
        mirror.execute("UPDATE events SET body = 'wrong' WHERE id = 8")
        mirror.execute("UPDATE items SET price = -1 WHERE id = 9")
    found = pgjanus.cli("verify")
    assert found.code == 3, found
    assert {(d["table"], d["key"]["id"], d["kind"]) for d in found.json["differences"]} == {
        ("public.users", "7", "missing"), ("public.events", "8", "changed"), ("public.items", "9", "changed")}, found
    repaired = pgjanus.cli("verify", "--repair")
    assert repaired.code == 0, repaired
    equal(pgjanus, sides)


def test_the_whole_migration_there_and_back(renaming, sides):
    pgjanus = renaming
    assert not differing(sides)
    pgjanus.do("verify")
    names = {table["name"] for table in pgjanus.status()["tables"]}
    assert "public.users" in names and "auth.users" not in names and "public.docs" in names
    with pgjanus.connect(autocommit=True) as client:
        work(client, 1)
        equal(pgjanus, sides)
        planted_and_healed(pgjanus, sides, sides.target, {"users": "auth.users"})
        # The target's own columns are its own: defaults where rows came, nothing compared.
        assert sides.target.execute("SELECT count(*) FROM items WHERE note IS DISTINCT FROM 'new'").fetchone() == (0,)
        pgjanus.do("verify")
        pgjanus.do("cutover")
        port = client.execute("SELECT inet_server_port()").fetchone()
        work(client, 2)
        client.execute("UPDATE items SET note = 'kept' WHERE id = 5")
        equal(pgjanus, sides)
        planted_and_healed(pgjanus, sides, sides.source, {"users": "public.users"})
        pgjanus.do("verify")
        pgjanus.do("rollback")
        assert client.execute("SELECT inet_server_port()").fetchone() != port
        work(client, 3)
        equal(pgjanus, sides)
        pgjanus.do("verify")
        pgjanus.do("cutover")
        work(client, 4)
        equal(pgjanus, sides)
        pgjanus.do("finish", "--confirm", "app")
        assert client.execute("SELECT count(*) > 0 FROM users").fetchone() == (True,)
    assert sides.target.execute("SELECT to_regclass('public.users'), to_regclass('public.docs')").fetchone() == (None, None)


def test_statements_longer_than_a_session_holds_find_renamed_tables(renaming, sides):
    pgjanus = renaming
    long = "x" * (5 << 20)  # More than is held of a statement: the names stand in what is.
    with pgjanus.connect(autocommit=True) as client:
        pgjanus.wait_in_sync()
        pgjanus.do("verify")
        pgjanus.do("cutover")
        for prepare in (False, True):
            for relation in ("docs", "public.docs"):
                client.execute(f"INSERT INTO {relation} (body) VALUES ('{long}')", prepare=prepare)
                client.execute(f"UPDATE {relation} SET body = '{long}y' WHERE length(body) = {len(long)}", prepare=prepare)
        assert client.execute("SELECT count(*) FROM docs WHERE length(body) > 5000000").fetchone() == (4,)
        with pytest.raises(psycopg.errors.UndefinedTable):  # A name behind it is refused, never another table's.
            client.execute(f"INSERT INTO docs (body) VALUES ('{long}') RETURNING public.docs.id")
        with client.cursor().copy("COPY docs (body) FROM STDIN") as copy:
            copy.write_row((long,))
        equal(pgjanus, sides)


def test_reads_on_the_target_find_renamed_tables(source, target, renaming):
    pgjanus = renaming
    with pgjanus.connect(autocommit=True) as client:
        client.execute("CREATE FUNCTION served_by() RETURNS int STABLE LANGUAGE sql AS 'SELECT inet_server_port()'")
        pgjanus.wait_in_sync()
        pgjanus.do("reads", "target")

        def side(relation, **options):
            port, rows = client.execute(f"SELECT served_by(), count(*) FROM {relation}", **options).fetchone()
            assert rows >= 100
            return {source.port: "source", target.port: "target"}[port]
        for relation in ("docs", "public.docs", "docs AS d"):
            wait_until(lambda: side(relation) == "target", 40, f"reads of {relation} to reach the target")
            for _ in range(8):
                assert side(relation, prepare=True) in ("source", "target")
        for number in range(20):  # Its own writes, wherever it reads.
            client.execute("INSERT INTO docs (body) VALUES (%s)", (f"mine {number}",))
            assert client.execute("SELECT count(*) FROM docs WHERE docs.body LIKE 'mine%'").fetchone() == (number + 1,)


def columns_of(connection, table):
    return [row[0] for row in connection.execute(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || "
        "coalesce(pg_get_expr(d.adbin, d.adrelid) ~ 'nextval', false) FROM pg_attribute a "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname", (table,)).fetchall()]


def test_schema_changes_reach_the_other_name_both_ways(renaming, sides):
    pgjanus = renaming
    with pgjanus.connect(autocommit=True) as client:
        client.execute("ALTER TABLE users ADD COLUMN age int DEFAULT 7")
        client.execute("ALTER TABLE public.docs ADD COLUMN n serial")
        client.execute("ALTER TABLE public.docs ADD COLUMN m int NOT NULL DEFAULT 0; UPDATE public.docs SET m = id")
        client.execute("ALTER TABLE public.docs ALTER m DROP DEFAULT, ALTER m ADD GENERATED BY DEFAULT AS IDENTITY (START WITH 7000)")
        client.execute("CREATE INDEX users_age ON users (age); ALTER TABLE users ALTER COLUMN age SET NOT NULL")
        client.execute("CREATE UNIQUE INDEX users_id_email ON users (id, email); CREATE UNIQUE INDEX events_at ON events (id, at)")
        client.execute("CREATE TABLE fresh (id int PRIMARY KEY, user_id int REFERENCES users)")
        client.execute("CREATE VIEW grown AS SELECT users.id, docs.n FROM users, public.docs WHERE users.age = docs.n")
        client.execute("ALTER TABLE items ADD COLUMN more text")
        client.execute("ALTER TABLE events ADD COLUMN kind text DEFAULT 'k'; CREATE INDEX events_kind ON events (kind)")
        client.execute("INSERT INTO users (email, age) VALUES ('grown', 8); INSERT INTO fresh SELECT max(id), max(id) FROM users")
        client.execute("INSERT INTO docs (body) VALUES ('n'); UPDATE items SET more = 'm' WHERE id < 5")
        client.execute("ALTER TABLE users ADD CONSTRAINT users_both UNIQUE USING INDEX users_id_email; ALTER TABLE events ADD CONSTRAINT events_both UNIQUE USING INDEX events_at")

        def settled():
            return (columns_of(sides.source, "users") == columns_of(sides.target, "auth.users")
                    and columns_of(sides.source, "docs") == columns_of(sides.target, "archive.papers")
                    and set(columns_of(sides.source, "items")) < set(columns_of(sides.target, "items"))
                    and columns_of(sides.source, "events") == columns_of(sides.target, "events")
                    and not differing(sides)
                    and digest(sides.source, "users", "users.*")[0] == digest(sides.target, "auth.users", "users.*")[0]
                    and digest(sides.source, "docs", "id, n, m") == digest(sides.target, "archive.papers", "id, n, m")
                    and digest(sides.source, "fresh", "fresh.*") == digest(sides.target, "fresh", "fresh.*")
                    and digest(sides.source, "items", "id, more") == digest(sides.target, "items", "id, more"))
        wait_until(settled, 60, "the schema changes on the target")
        assert sides.target.execute("SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' "
                                    "AND conrelid = 'fresh'::regclass").fetchone() == ("auth.users",)
        assert sides.target.execute("SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'u' AND conname ~ '_both$' ORDER BY 1").fetchall() == [
            ("auth.users",), ("events",)]
        assert sides.target.execute("SELECT to_regclass('auth.users_age'), to_regclass('public.users_age')").fetchone() == (
            "auth.users_age", None)
        pgjanus.wait_in_sync()
        for verb in ("verify", "cutover"):
            pgjanus.do(verb)
        client.execute("INSERT INTO items (id, name) VALUES (4000, 'across')")
        wait_until(lambda: sides.source.execute("SELECT FROM items WHERE id = 4000").fetchall(), 20, "mirroring back")
        client.execute("ALTER TABLE users ADD COLUMN later text DEFAULT 'now'; ALTER TABLE public.users DROP COLUMN age CASCADE")
        client.execute("CREATE TABLE aside (a int PRIMARY KEY)")
        client.execute("INSERT INTO users (email, later) VALUES ('back', 'x'); INSERT INTO docs (body) VALUES ('back')")
        client.execute("ALTER TABLE events DETACH PARTITION events_old; DELETE FROM events_old WHERE id = 20; "
                       "ALTER TABLE events ATTACH PARTITION events_old FOR VALUES FROM (MINVALUE) TO ('2025-03-01')")
        client.execute("ALTER TABLE items ALTER COLUMN note SET DEFAULT 'newer'")
        wait_until(settled, 60, "the schema changes on the source")
        pgjanus.wait_in_sync()
        for verb in ("verify", "rollback"):
            pgjanus.do(verb)
        work(client, 5)
        equal(pgjanus, sides)


def test_pooled_clients_find_renamed_tables(source, target, app, programs, tmp_path, sides):
    app(SOURCE)
    target.script(TARGET, "app", "app")
    file = tmp_path / "pgjanus.toml"
    file.write_text(SETTINGS)
    pgjanus = programs(source.owner_url, target.owner_url,
                       arguments=["--config", str(file), "--pool", "transaction"]).start()
    for verb in ("prepare", "load", "verify"):
        pgjanus.do(verb)
    with pgjanus.connect(autocommit=True) as client:
        work(client, 1)
        for turn, verb in enumerate(("cutover", "rollback", "cutover"), 2):
            pgjanus.do("verify")
            pgjanus.do(verb)
            work(client, turn)
            equal(pgjanus, sides)


def test_what_does_not_fit_is_named_before_anything_is_changed(target, app, configured, sides, tmp_path):
    app(SOURCE + "CREATE SCHEMA other; CREATE TABLE other.users (id int PRIMARY KEY);"
        "CREATE FUNCTION count_users() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM users'")
    target.script("CREATE TABLE users (id int); CREATE TABLE items (id int PRIMARY KEY, name varchar, price numeric);"
                  "CREATE TABLE stray (id int); CREATE SCHEMA archive;"
                  "CREATE TABLE archive.papers (id int PRIMARY KEY, body text, extra text NOT NULL)", "app", "app")
    configured.write(SETTINGS)
    configured.start()
    found = configured.cli("check", "--config", str(tmp_path / "pgjanus.toml"))
    assert found.code == 2, found
    told = {(f["id"], f["level"], f["subject"]): f for f in found.json["findings"]}
    subjects = {subject for name, level, subject in told if name == "target_tables" and level == "fail"}
    assert subjects == {"table public.users", "table public.items", "table public.docs", "table public.stray"}, subjects
    assert any(name == "rename_in_function" and level == "warn" and "count_users" in subject for name, level, subject in told)
    assert any(name == "rename_unclear" and level == "warn" and "other.users" in subject for name, level, subject in told)
    refused = configured.cli("prepare")
    assert refused.code == 2, refused
    assert "public.users" in refused.stdout + refused.stderr
    for side in (sides.source, sides.target):
        assert side.execute("SELECT to_regnamespace('pgjanus')").fetchone() == (None,)


def test_a_name_that_the_search_path_decides_never_means_the_wrong_table(renaming, sides):
    pgjanus = renaming
    with pgjanus.connect(autocommit=True) as client:
        client.execute("CREATE SCHEMA tenant; CREATE TABLE tenant.users (id int PRIMARY KEY, email text)")
        pgjanus.wait_in_sync()
        pgjanus.do("verify")
        pgjanus.do("cutover")
        client.execute("SET search_path = tenant, public")
        with pytest.raises(psycopg.errors.UndefinedTable):
            client.execute("INSERT INTO users (email) VALUES ('whose?')")
        client.execute("INSERT INTO tenant.users VALUES (1, 'tenant'); INSERT INTO public.users (email) VALUES ('ours')")
    assert sides.target.execute("SELECT count(*) FROM tenant.users").fetchone() == (1,)


def test_a_row_that_only_the_targets_constraint_refuses_stops_the_mirror_until_mended(renaming, sides):
    pgjanus = renaming
    with pgjanus.connect(autocommit=True) as client:
        client.execute("INSERT INTO items (id, name) VALUES (5001, 'i1')")
        wait_until(lambda: pgjanus.status()["mirror"]["state"] == "stalled", 30, "the mirror to stop")
        assert "items_name_key" in pgjanus.status()["mirror"]["error"]
        client.execute("UPDATE items SET name = 'i5001' WHERE id = 5001")
        with pgjanus.admin() as admin:
            admin.execute("RETRY")
        equal(pgjanus, sides)


class Writer(threading.Thread):
    """Writes renamed tables through the proxy until told to stop; remembers what was acknowledged."""

    def __init__(self, url, number):
        super().__init__()
        self.url, self.number, self.stop, self.done, self.failure = url, number, threading.Event(), [], None

    def run(self):
        try:
            with psycopg.connect(self.url, autocommit=True, prepare_threshold=(None, 0)[self.number % 2]) as client:
                while not self.stop.is_set():
                    email = f"load-{self.number}-{len(self.done)}"
                    with client.transaction():
                        client.execute("INSERT INTO users (email) VALUES (%s)", (email,))
                        client.execute("UPDATE public.docs SET body = docs.body || 'x' WHERE docs.id = %s", (20 + self.number,))
                    client.execute("UPDATE users SET mood = 'sad' WHERE public.users.email = %s", (email,), prepare=True)
                    client.execute("UPDATE items SET price = price + 1 WHERE id = %s", (1 + len(self.done) % 300,))
                    self.done.append(email)
        except psycopg.Error as error:
            self.failure = error


@pytest.mark.parametrize("pool", ("session", "transaction"))
def test_flips_under_load_lose_nothing_of_renamed_tables(pool, source, target, app, programs, tmp_path, sides):
    app(SOURCE)
    target.script(TARGET, "app", "app")
    file = tmp_path / "pgjanus.toml"
    file.write_text(SETTINGS)
    pgjanus = programs(source.owner_url, target.owner_url, arguments=["--config", str(file), "--pool", pool]).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    writers = [Writer(pgjanus.url, number) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        for verb in ("cutover", "rollback", "cutover"):
            pgjanus.do("verify")
            pgjanus.do(verb, "--wait", "30s")
            for writer in writers:
                goal = len(writer.done) + 10
                wait_until(lambda: len(writer.done) >= goal or writer.failure, 30, "the writers to go on")
    finally:
        for writer in writers:
            writer.stop.set()
            writer.join()
    assert not [writer.failure for writer in writers if writer.failure]
    equal(pgjanus, sides)
    acknowledged = {email for writer in writers for email in writer.done}
    for side, table in ((sides.source, "public.users"), (sides.target, "auth.users")):
        there = {row[0] for row in side.execute(f"SELECT email FROM {table} WHERE mood = 'sad' AND email LIKE 'load-%'").fetchall()}
        assert acknowledged <= there, sorted(acknowledged - there)[:5]
