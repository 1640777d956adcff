"""What the app's other roles may do: copied by `prepare`, followed while mirroring, there when the mirror becomes the primary."""

import subprocess

import psycopg
import pytest

from harness import wait_until
from harness.cluster import server_programs

SCHEMA = """
CREATE SCHEMA inner_part;
CREATE TYPE inner_part.mood AS ENUM ('sad', 'fine');
CREATE TABLE users (id serial PRIMARY KEY, email text, secret text);
CREATE TABLE inner_part.notes (id int PRIMARY KEY, body text);
CREATE TABLE tree (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (100);
CREATE VIEW seen AS SELECT id, email FROM users;
CREATE FUNCTION guarded(a int, VARIADIC b text[]) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE PROCEDURE swept() LANGUAGE sql AS 'SELECT 1';
GRANT USAGE ON SCHEMA inner_part TO writer, reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, inner_part.notes, tree TO writer WITH GRANT OPTION;
GRANT SELECT (id, email) ON users TO reader;
GRANT SELECT ON seen TO PUBLIC;
GRANT USAGE ON SEQUENCE users_id_seq TO writer;
REVOKE EXECUTE ON FUNCTION guarded FROM PUBLIC;
GRANT EXECUTE ON FUNCTION guarded TO reader;
REVOKE ALL ON TYPE inner_part.mood FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA inner_part GRANT USAGE ON SEQUENCES TO writer;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""

CHANGES = (
    "GRANT INSERT ON seen TO writer",
    "REVOKE SELECT ON seen FROM PUBLIC",
    "REVOKE GRANT OPTION FOR UPDATE ON users FROM writer",
    "REVOKE SELECT (email) ON users FROM reader",
    "CREATE TABLE fresh (id bigserial PRIMARY KEY); GRANT ALL ON fresh TO writer",
    "GRANT EXECUTE ON FUNCTION guarded TO PUBLIC",
    "REVOKE ALL ON PROCEDURE swept FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM reader",
    "ALTER TABLE inner_part.notes RENAME TO remarks; REVOKE DELETE ON inner_part.remarks FROM writer",
    "DROP TABLE tree; DROP VIEW seen",
    "DO $$ BEGIN GRANT TRUNCATE ON users TO reader; END $$",
)


@pytest.fixture
def roles(source, target):
    """On both sides; dropped with what they have."""
    sides = (source, target)
    for server in sides:
        for role in ("reader", "writer"):
            server.execute(f"CREATE ROLE {role}")
        server.execute("GRANT writer TO app")
    yield
    for server in sides:
        for role in ("writer", "reader", "later"):  # What a grantor gave goes with the grantor's own.
            if server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)):
                server.execute(f"DROP OWNED BY {role} CASCADE", database="app")
                server.execute(f"DROP ROLE {role}")


def privileges(server):
    """As pg_dump writes them, without those of schema pgjanus and of the role that the servers were made with."""
    dump = subprocess.run([str(server_programs() / "pg_dump"), "--schema-only", "--exclude-schema=pgjanus", "--dbname",
                           server.owner_url], check=True, capture_output=True, text=True).stdout
    return sorted(line for line in dump.splitlines()
                  if line.startswith(("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")) and not line.endswith(" TO app;"))


def alike(source, target):
    wait_until(lambda: privileges(source) == privileges(target), 30,
               lambda: f"the same privileges: {set(privileges(source)) ^ set(privileges(target))}")


def test_they_are_copied_and_followed_and_there_behind_a_flip(source, target, app, programs, roles):
    app(SCHEMA)
    pgjanus = programs(source.owner_url, target.owner_url).start()
    pgjanus.do("prepare")
    assert len(privileges(source)) >= 15 and privileges(source) == privileges(target)
    pgjanus.do("load")
    target.script("GRANT SELECT ON inner_part.notes TO pg_monitor", "app", "app")  # The target's own stays.
    source.script("GRANT SELECT ON inner_part.notes TO pg_monitor", "app", "app")
    for number, change in enumerate(CHANGES):
        if number % 2:
            source.script(change, "app", "app")
        else:
            with pgjanus.connect() as client:
                client.execute(change)
        alike(source, target)
    source.script("REVOKE SELECT ON inner_part.remarks FROM pg_monitor", "app", "app")
    alike(source, target)
    pgjanus.wait_in_sync()
    pgjanus.do("verify")
    with pgjanus.connect() as client:
        for verb, there, here in (("cutover", target, source), ("rollback", source, target)):
            client.execute("RESET ROLE")
            client.execute(f"CREATE TABLE of_{verb} (id int PRIMARY KEY); GRANT INSERT ON of_{verb} TO writer")
            client.execute("SET ROLE writer")
            client.execute(f"INSERT INTO of_{verb} VALUES (1)")
            pgjanus.wait_in_sync()
            if verb == "rollback":
                pgjanus.do("verify")
            client.execute("RESET ROLE")
            client.execute(f"REVOKE INSERT ON of_{verb} FROM writer; GRANT UPDATE, SELECT ON of_{verb} TO writer")
            pgjanus.do(verb)  # Right behind it.
            assert privileges(there) == privileges(here)
            client.execute("SET ROLE writer")
            client.execute(f"UPDATE of_{verb} SET id = 2")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(f"INSERT INTO of_{verb} VALUES (3)")
            client.execute("RESET ROLE")
            client.execute("GRANT DELETE ON users TO reader" if verb == "cutover" else "REVOKE DELETE ON users FROM reader")
            alike(source, target)
    assert pgjanus.status()["mirror"]["state"] == "in_sync"


def test_what_is_taken_away_while_nobody_runs_is_taken_away_there(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT, UPDATE ON users TO reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    pgjanus.do("prepare")
    source.script("REVOKE SELECT ON users FROM reader", "app", "app")
    pgjanus.do("load")
    alike(source, target)
    pgjanus.kill9()
    source.script("REVOKE UPDATE ON users FROM reader; GRANT DELETE ON users TO reader", "app", "app")
    pgjanus.start()
    alike(source, target)


def test_what_is_taken_away_behind_a_flip_that_nobody_outlived_is_taken_away_on_the_old_primary(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY); GRANT SELECT, UPDATE ON users, other TO reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    alike(source, target)
    pgjanus.do("cutover", "--force")
    pgjanus.kill9()
    target.script("REVOKE UPDATE ON users FROM reader", "app", "app")
    pgjanus.start()
    alike(source, target)


def test_a_composite_types_privileges_are_followed(source, target, app, programs, roles):
    app("CREATE TYPE pair AS (a int, b text)")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    for change in ("REVOKE USAGE ON TYPE pair FROM PUBLIC", "GRANT USAGE ON TYPE pair TO reader"):
        app(change)
        alike(source, target)


def test_what_default_privileges_gave_is_taken_away_in_the_transaction_that_made_the_table(source, target, app, programs, roles):
    app("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; CREATE TABLE users (id int PRIMARY KEY)")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    alike(source, target)
    with pgjanus.connect() as client:
        client.execute("CREATE TABLE hidden (id int PRIMARY KEY); REVOKE SELECT ON hidden FROM reader")
    alike(source, target)


def test_several_grantors_and_what_the_target_does_not_have(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE kept_out (id int PRIMARY KEY); GRANT SELECT ON kept_out TO reader;"
        "GRANT SELECT ON users TO writer WITH GRANT OPTION; GRANT SELECT ON users TO reader WITH GRANT OPTION;"
        "SET ROLE writer; GRANT SELECT ON users TO reader; RESET ROLE")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    pgjanus.do("prepare")
    target.script("DROP TABLE kept_out", "app", "app")
    granted = [line for line in privileges(target) if " TO reader" in line]
    assert granted == ["GRANT SELECT ON TABLE public.users TO reader WITH GRANT OPTION;"]
    pgjanus.do("prepare")
    assert "statements=0 without_object=1" in pgjanus.log() and "privilege_refused" not in pgjanus.log()


def test_what_the_mirror_refuses_to_take_away_is_taken_away_later(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT ON users TO reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    alike(source, target)
    with psycopg.connect(target.owner_url) as other:
        other.execute("GRANT INSERT ON users TO pg_monitor")
        source.script("REVOKE SELECT ON users FROM reader", "app", "app")
        wait_until(lambda: "privilege_refused" in pgjanus.log(), 30, "the mirror to refuse it")
        other.rollback()
    alike(source, target)


def test_what_the_server_takes_and_does_not_do_is_told(source, target, app, programs, roles):
    target.execute("CREATE SCHEMA theirs; GRANT USAGE, CREATE ON SCHEMA theirs TO app", database="app")
    app("CREATE SCHEMA theirs; CREATE TABLE theirs.users (id int PRIMARY KEY); GRANT USAGE ON SCHEMA theirs TO reader;"
        "GRANT SELECT ON theirs.users TO reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    wait_until(lambda: pgjanus.log().count("privilege_refused") == 2, 20, "prepare and the mirror to tell")  # By a warning of the server's.
    assert "GRANT USAGE ON SCHEMA \\\"theirs\\\" TO \\\"reader\\\": the server took it" in pgjanus.log()
    assert privileges(target).count("GRANT SELECT ON TABLE theirs.users TO reader;") == 1
    target.execute("GRANT USAGE ON SCHEMA theirs TO app WITH GRANT OPTION", database="app")
    wait_until(lambda: "GRANT USAGE ON SCHEMA theirs TO reader;" in privileges(target), 30, lambda: str(privileges(target)))
    target.execute("DROP SCHEMA theirs CASCADE", database="app")  # DROP OWNED leaves reader what app gave on.


def test_a_mirror_with_grantors_of_its_own_loses_what_they_gave_on(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT, UPDATE ON users TO writer WITH GRANT OPTION;"
        "SET ROLE writer; GRANT SELECT, UPDATE ON users TO reader; RESET ROLE")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.do("cutover", "--force")
    target.script("REVOKE SELECT ON users FROM writer, reader; REVOKE UPDATE ON users FROM writer", "app", "app")
    alike(source, target)  # Of what writer gave on, reader keeps what it has on the new primary: of the owner.
    assert privileges(source) == ["GRANT UPDATE ON TABLE public.users TO reader;"]
    assert "privilege_refused" not in pgjanus.log()


def test_a_role_that_owns_it_on_the_target_is_granted_nothing(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT ON users TO writer;"
        "CREATE AGGREGATE placed(float8 ORDER BY float8) (sfunc = float8pl, stype = float8, finalfunc = float8mul);"
        "GRANT EXECUTE ON FUNCTION placed TO reader; REVOKE EXECUTE ON FUNCTION placed FROM PUBLIC")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    pgjanus.do("prepare")
    target.execute("REVOKE ALL ON users FROM writer; ALTER TABLE users OWNER TO writer", database="app")
    pgjanus.do("load")
    pgjanus.wait_in_sync()
    source.script("GRANT INSERT ON users TO reader", "app", "app")
    wait_until(lambda: "GRANT INSERT ON TABLE public.users TO reader;" in privileges(target), 30, lambda: str(privileges(target)))
    assert "privilege_refused" not in pgjanus.log()
    assert [line for line in privileges(source) if "FUNCTION" in line] == [line for line in privileges(target) if "FUNCTION" in line] != []


def test_what_the_target_has_besides_stays(source, target, app, programs, roles):
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT ON users TO reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    target.script("GRANT SELECT, UPDATE ON users TO writer", "app", "app")
    with pgjanus.connect() as client:
        client.execute("GRANT UPDATE ON users TO reader")
        client.execute("REVOKE SELECT ON users FROM reader")
    wait_until(lambda: [line for line in privileges(target) if "writer" not in line] == privileges(source), 30,
               lambda: f"the source's on the target: {privileges(target)}")
    assert [line for line in privileges(target) if "writer" in line] == ["GRANT SELECT,UPDATE ON TABLE public.users TO writer;"]


def test_a_role_that_the_target_lacks_is_named_and_served_once_it_is_there(source, target, app, programs, roles):
    source.execute("CREATE ROLE later")
    app("CREATE TABLE users (id int PRIMARY KEY); GRANT SELECT ON users TO later, reader")
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    assert privileges(target) == ["GRANT SELECT ON TABLE public.users TO reader;"]
    wait_until(lambda: pgjanus.log().count("role_absent") == 2, 20, "prepare and the mirror to tell")
    target.execute("CREATE ROLE later")
    alike(source, target)


def test_a_renamed_table_has_them_under_its_own_name(source, target, app, configured, roles):
    app("CREATE TABLE users (id serial PRIMARY KEY, email text); GRANT SELECT ON users TO reader; "
        "GRANT USAGE ON SEQUENCE users_id_seq TO writer")
    configured.write('[[rename]]\nsource = "public.users"\ntarget = "auth.people"\n')
    pgjanus = configured.start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    with pgjanus.connect() as client:
        client.execute("GRANT UPDATE (email) ON users TO writer")
    wait_until(lambda: any("UPDATE(email)" in line for line in privileges(target)), 30, lambda: str(privileges(target)))
    assert "GRANT SELECT ON TABLE auth.people TO reader;" in privileges(target)
