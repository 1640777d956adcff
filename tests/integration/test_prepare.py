"""prepare, abort, finish and unfence: what they leave in the databases, also when killed."""

import os
import random
import signal
import subprocess
import threading

import psycopg
import pytest

from capture_harness import HERE, control, control_binary, rejected

OURS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgjanus%' AND NOT tgisinternal"
SCHEMA = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgjanus'"
SIMPLE = """CREATE TABLE one (id integer PRIMARY KEY, v text); CREATE TABLE two (v text);
CREATE TABLE tree (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE tree_low PARTITION OF tree FOR VALUES FROM (0) TO (10);
INSERT INTO one VALUES (1, 'x'); INSERT INTO two VALUES ('y')"""


@pytest.fixture
def pair(source, target):
    """prepare and the other verbs between a plain owner's source and an RDS-like target."""
    def run(verb, *more):
        return control(verb, source.owner_url, target.owner_url, *more)
    run.source = lambda sql: source.execute(sql, database="app")
    run.target = lambda sql: target.execute(sql, database="app")
    run.urls = source.owner_url, target.owner_url
    return run


def nothing_left(pair):
    return all(side(sql)[0][0] == 0 for side in (pair.source, pair.target) for sql in (OURS, SCHEMA))


def definitions(server):
    """The schema as pg_dump tells it, without what differs by itself."""
    text = subprocess.run(
        ["pg_dump", "--schema-only", "--section=pre-data", "--no-owner", "--no-privileges",
         "--exclude-schema=pgjanus", "-h", str(server.directory), "-p", str(server.port),
         "-U", "postgres", "app"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [line for line in text.splitlines() if line and not line.startswith(("--", "\\"))]


def test_the_schema_comes_over_and_a_second_run_says_so(pair, source, target, app):
    source.execute("CREATE ROLE writer")
    app((HERE / "capture_schema.sql").read_text())
    app("COMMENT ON COLUMN plain.v IS 'a comment'")
    first = pair("prepare")
    assert first["status"] == 0, first
    assert definitions(source) == definitions(target)
    assert "already prepared" not in first["message"]
    again = pair("prepare")
    assert again["status"] == 0 and "already prepared" in again["message"]
    assert pair("lost")["document"]["lost"] == []
    states = [side("SELECT migration, side, role, epoch, phase, database FROM pgjanus.state")[0]
              for side in (pair.source, pair.target)]
    assert states[0][0] == states[1][0]
    assert [state[1:] for state in states] == [("source", "primary", 1, "prepared", "app"),
                                               ("target", "mirror", 1, "prepared", "app")]
    assert pair.source("TABLE pgjanus.tables") == pair.target("TABLE pgjanus.tables")
    assert pair.target("SELECT tgenabled FROM pg_trigger WHERE tgname = "
                       "'this_database_is_now_the_mirror'") == [("A",)]


def test_the_key_is_what_identifies_a_row_at_every_moment(pair, source, app):
    source.execute("CREATE ROLE writer")
    app((HERE / "capture_schema.sql").read_text())
    app("""CREATE TABLE no_keys (a integer UNIQUE, b integer NOT NULL, c integer NOT NULL, d integer NOT NULL,
             UNIQUE (b) DEFERRABLE, e integer GENERATED ALWAYS AS (d) STORED NOT NULL UNIQUE);
           CREATE UNIQUE INDEX ON no_keys (c) WHERE c > 0; CREATE UNIQUE INDEX ON no_keys ((d + 1));
           CREATE TABLE narrow (a integer NOT NULL, b integer NOT NULL, c text COLLATE "C" NOT NULL, UNIQUE (a, b), UNIQUE (c) INCLUDE (a));
           CREATE TABLE two_keys (a integer NOT NULL UNIQUE, b integer, c integer, PRIMARY KEY (c, b))""")
    tables = {table["name"].split(".", 1)[1]: table for table in pair("tables")["document"]}

    def key(name):
        return [column["name"] for column in tables[name]["key"]]
    assert key("no_keys") == [] and key("keyless") == [] and key("nothing") == []
    assert key("by_unique") == ["z", "y"] and key("narrow") == ["c"] and key("two_keys") == ["c", "b"]
    assert tables["deferrable_key"]["key_deferrable"] and not tables["plain"]["key_deferrable"]
    assert tables["key_citext"]["key"][0]["equals"] == "OPERATOR(public.=)"
    assert tables["narrow"]["key"][0]["collate"] == ' COLLATE pg_catalog."C"'
    assert tables["key_enum"]["key"][0]["stable"] and tables["key_domain"]["key"][0]["stable"]
    assert not tables["key_stamp"]["key"][0]["stable"]
    assert tables["measures"]["relations"] == ["measures", "measures_new", "measures_old",
                                               "measures_new_odd", "measures_new_rest"]
    assert not any(name.startswith("measures_") for name in tables)
    assert tables["city"]["inheritance"] and tables["village"]["inheritance"] and key("village") == []
    assert tables["customer"]["other_unique"] and not tables["plain"]["other_unique"]


def test_tables_that_are_new_are_added_by_another_run(pair, app):
    app(SIMPLE)
    assert pair("prepare", "two")["status"] == 0
    assert pair.source("SELECT array_agg(table_name::text ORDER BY id) FROM pgjanus.tables") == [(["one", "tree"],)]
    app("CREATE TYPE colour AS ENUM ('red'); CREATE SCHEMA more; CREATE TABLE more.things"
        " (id serial PRIMARY KEY, c colour DEFAULT 'red');"
        "CREATE TABLE tree_high PARTITION OF tree FOR VALUES FROM (10) TO (20)")
    answer = pair("prepare")
    assert answer["status"] == 0 and answer["document"]["added"] == 2, answer
    names = "SELECT array_agg(schema_name || '.' || table_name ORDER BY id) FROM pgjanus.tables"
    assert pair.source(names) == pair.target(names) == [(["public.one", "public.tree", "more.things", "public.two"],)]
    assert pair.target("SELECT column_default FROM information_schema.columns WHERE table_schema = 'more'"
                       " AND column_name = 'id'")[0][0] == "nextval('more.things_id_seq'::regclass)"
    assert pair.target("SELECT count(*) FROM pg_trigger WHERE tgname = 'pgjanus_guard'") == [(6,)]
    assert pair("lost")["document"]["lost"] == []


@pytest.mark.parametrize("verb", ["prepare", "abort"])
def test_killed_anywhere_it_goes_on_from_there(pair, app, seed, verb):
    """SIGKILL after random times; the app writes all the time and never sees an error."""
    app(SIMPLE + "; CREATE TABLE t3 (); CREATE TABLE t4 (id integer PRIMARY KEY)")
    chance = random.Random(seed)
    stop, errors = threading.Event(), []

    def write():
        with psycopg.connect(pair.urls[0], autocommit=True) as connection:
            connection.execute("SET statement_timeout = '5s'")
            try:
                while not stop.is_set():
                    connection.execute("UPDATE one SET v = v; UPDATE two SET v = 'z'")
            except psycopg.Error as error:
                errors.append(error)
    writer = threading.Thread(target=write)
    writer.start()
    killed = 0
    try:
        if verb == "abort":
            assert pair("prepare")["status"] == 0
        for _ in range(8):
            process = subprocess.Popen([control_binary(), verb, *pair.urls], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(chance.uniform(0.01, 0.4))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
        answer = pair(verb)
        assert answer["status"] == 0, answer
        if verb == "prepare":
            assert pair("lost")["document"]["lost"] == []
            assert pair.source("SELECT migration FROM pgjanus.state") == pair.target("SELECT migration FROM pgjanus.state")
            assert pair.source("TABLE pgjanus.tables") == pair.target("TABLE pgjanus.tables")
            assert pair("abort")["status"] == 0
        assert nothing_left(pair)
    finally:
        stop.set()
        writer.join()
    print(f"killed {killed} of 8")
    assert not errors


REFUSED = {
    "rows on the target": ("target", "CREATE TABLE other (id integer); INSERT INTO other VALUES (1)", 2, "public.other is on the target only"),
    "no right to create": ("source", "REVOKE CREATE ON DATABASE app FROM app", 2, "may not CREATE"),
    "a table of somebody else's": ("source", "CREATE TABLE theirs (id integer)", 2, "public.theirs"),
    "a foreign partition": ("source", "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;"
                            " ALTER TABLE tree DROP CONSTRAINT tree_pkey; CREATE FOREIGN TABLE tree_far PARTITION OF tree FOR VALUES FROM (50) TO (60) SERVER far;", 2,
                            "foreign tables as partitions"),
    "an extension the target's role may not make": ("source", "CREATE EXTENSION pg_stat_statements", 1, "EXTENSION pg_stat_statements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_prevents_it_is_named_and_nothing_is_left_behind(pair, app, case):
    side, plant, status, words = REFUSED[case]
    app(SIMPLE)
    getattr(pair, side)(plant)
    answer = pair("prepare")
    assert answer["status"] == status, answer
    assert words in (answer.get("message") or answer.get("error")), answer
    assert nothing_left(pair)


def test_what_is_left_of_a_prepare_that_never_reached_the_source(pair, app):
    app(SIMPLE)
    assert pair("prepare")["status"] == 0
    pair.source("DROP SCHEMA pgjanus CASCADE")  # As if it had died between its two transactions.
    app("ALTER TABLE one ADD COLUMN w int")
    outcome = pair("prepare")
    assert outcome["status"] == 2 and "lacks columns on the target: w" in outcome["message"], outcome
    assert "drop them on the target, and prepare again" in outcome["hint"], outcome
    assert pair("abort")["status"] == 0
    pair.target("DROP TABLE one, two, tree")
    assert pair("prepare")["status"] == 0


def test_views_that_are_refreshed_all_the_time_are_in_nobodys_way(pair, app, source):
    """What reads the schema and keeps its snapshot for pg_dump must keep no locks of views: whoever refreshes one would wait for
    it, pg_dump for that, and it for pg_dump."""
    app(SIMPLE + "".join(f"; CREATE MATERIALIZED VIEW seen_{i} AS SELECT id, v FROM one" for i in range(40)))
    ended, failures = threading.Event(), []

    def refresh(first):
        with psycopg.connect(source.owner_url, autocommit=True) as connection:
            connection.execute("SET statement_timeout = '10s'")
            while not ended.is_set():
                for i in range(first, 40, 4):
                    connection.execute(f"REFRESH MATERIALIZED VIEW seen_{i}")

    def refreshing(first):
        try:
            refresh(first)
        except psycopg.Error as error:
            failures.append(error)
    threads = [threading.Thread(target=refreshing, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    try:
        answer = pair("prepare")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert answer["status"] == 0 and not failures, (answer, failures)


def test_one_database_twice_is_an_error(pair, app):
    app(SIMPLE)
    same = control("prepare", pair.urls[0], pair.urls[0].replace("127.0.0.1", "localhost"))
    assert same["status"] == 1 and "same database" in same["message"]
    assert nothing_left(pair)


def test_swapped_or_foreign_pairs_are_refused(pair, app, cluster):
    app(SIMPLE)
    assert pair("prepare")["status"] == 0
    swapped = control("prepare", *reversed(pair.urls))
    assert swapped["status"] == 1 and "swapped" in swapped["message"]
    other = cluster("other")
    stranger = control("prepare", pair.urls[0], other.rds_owner())
    assert stranger["status"] == 1 and "knows of no migration" in stranger["message"]


def test_no_schema_takes_the_tables_that_are_there(pair, source, target, app):
    app(SIMPLE)
    target.script("CREATE TABLE one (v text, id integer PRIMARY KEY); CREATE TABLE two (v text)", "app", "app")
    absent = pair("prepare-no-schema")
    assert absent["status"] == 2 and "lacks public.tree" in absent["message"]
    target.script(SIMPLE.split(";", 2)[2].replace("INSERT INTO one VALUES (1, 'x')", ""), "app", "app")
    filled = pair("prepare-no-schema")
    assert filled["status"] == 2 and "public.two already holds rows" in filled["message"]
    target.script("TRUNCATE two; ALTER TABLE two ALTER v TYPE varchar", "app", "app")
    different = pair("prepare-no-schema")
    assert different["status"] == 2 and "public.two has other types" in different["message"]
    assert nothing_left(pair)
    target.script("ALTER TABLE two ALTER v TYPE text", "app", "app")
    assert pair("prepare-no-schema")["status"] == 0
    rejected(target.connect("app"), "INSERT INTO one VALUES ('x', 1)", "25006")


def test_without_pg_dump_the_error_says_what_to_install(pair, app):
    app(SIMPLE)
    answer = control("prepare", *pair.urls, environment={"PATH": "/nowhere"})
    assert answer["status"] == 1 and "pg_dump: not found on PATH" in answer["error"]
    assert nothing_left(pair)


def test_finish_leaves_one_row_and_the_other_sides_fence(pair, app, target):
    app(SIMPLE)
    assert pair("prepare")["status"] == 0
    assert pair("unfence")["status"] == 2
    for _ in range(2):
        assert pair("finish-source")["status"] == 0
    objects = "SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'pgjanus'::regnamespace AND relkind = 'r'"
    assert pair.source(objects) == [(["state"],)]
    assert pair.source(OURS) == [(0,)]
    assert pair.source("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pgjanus'::regnamespace") == [(0,)]
    rejected(target.connect("app"), "INSERT INTO one VALUES (2, 'x')", "25006")
    assert pair("abort")["status"] == 4
    assert pair("prepare")["status"] == 2
    for _ in range(2):
        assert pair("unfence")["status"] == 0
    pair.target("INSERT INTO one VALUES (2, 'x')")
    assert pair.target(objects) == [(["state"],)]
    assert pair.target("SELECT phase, role FROM pgjanus.state") == [("finished", "mirror")]
