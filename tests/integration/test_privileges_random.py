"""GRANT and REVOKE by chance, through pgjanus, around it and while it is dead, between flips: whoever becomes the primary has
what the other one had. PGJANUS_SEED replays a seed, or begins with it; PGJANUS_SEEDS: how many.
"""

import os
import random

import psycopg
import pytest

from harness import wait_until
from test_privileges import alike, privileges

ROLES = ('"Mixed Case"', "plain", '"we""ird.name"', "PUBLIC")
FIRST = int(os.environ.get("PGJANUS_SEED", "1"))
SCHEMA = """
CREATE SCHEMA "Odd Schema"; CREATE TYPE "Odd Schema".mood AS ENUM ('a'); CREATE DOMAIN dom AS int; CREATE TYPE pair AS (a int, b text);
CREATE TABLE t0 (id serial PRIMARY KEY, "Col A" text, b int); CREATE TABLE "Odd Schema"."T 1" (id int PRIMARY KEY, "Col A" text, b int);
CREATE TABLE tree (id int PRIMARY KEY, "Col A" text, b int) PARTITION BY RANGE (id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (100);
CREATE VIEW v AS SELECT * FROM t0; CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id, 2 AS b; CREATE SEQUENCE "Odd Schema"."S";
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f("Odd Schema".mood, pair[], OUT x int, VARIADIC y text[]) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f(a dom DEFAULT 1, b int DEFAULT 2) RETURNS TABLE (q int) LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE "P"(INOUT a int) LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int)
"""
TABLES = ("t0", '"Odd Schema"."T 1"', "tree", "tree_1", "v", "mv")
ROUTINES = ("FUNCTION f(int)", 'FUNCTION f("Odd Schema".mood, pair[], text[])', "FUNCTION f(dom, int)", 'PROCEDURE "P"(int)', "FUNCTION agg(int)")
DEFAULTS = (("TABLES", "SELECT"), ("TABLES", "INSERT"), ("SEQUENCES", "USAGE"), ("FUNCTIONS", "EXECUTE"), ("TYPES", "USAGE"))
DDL = ("CREATE TABLE n{n} (id serial PRIMARY KEY, b int); GRANT SELECT (b), INSERT ON n{n} TO plain; "
       "CREATE FUNCTION g{n}() RETURNS int LANGUAGE sql AS $$SELECT 1$$",
       'DROP VIEW v; CREATE VIEW v AS SELECT * FROM t0; GRANT SELECT ON v TO "Mixed Case"',
       "ALTER TABLE t0 RENAME TO x; ALTER TABLE x RENAME TO t0; ALTER TABLE tree RENAME b TO c; ALTER TABLE tree RENAME c TO b",
       "DROP FUNCTION f(int); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS $$SELECT 2$$; REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC")


@pytest.fixture
def roles(source, target):
    for server in (source, target):
        for role in ROLES[:3]:
            server.execute(f"CREATE ROLE {role}")
        server.execute('GRANT plain, "Mixed Case" TO app')
    yield
    for server in (source, target):
        for role in ROLES[:3]:
            server.execute(f"DROP OWNED BY {role} CASCADE", database="app")
            server.execute(f"DROP ROLE {role}")


class Changes:
    """Statements by chance; some are refused, as when a table is not there or a role grants what it has not."""

    def __init__(self, seed):
        self.chance, self.made = random.Random(seed), 0

    def what(self):
        pick = self.chance.choice
        table = pick(TABLES)
        column = pick(("id", '"Col A"', "b"))
        kinds = [(6, f"{pick(('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'ALL'))} ON {table}"),
                 (3, f"{pick(('SELECT', 'INSERT', 'UPDATE'))} ({column}) ON {table}"),
                 (3, f"EXECUTE ON {pick(ROUTINES)}"),
                 (1, f"USAGE ON TYPE {pick(('pair', 'dom', chr(34) + 'Odd Schema' + chr(34) + '.mood'))}"),
                 (1, f'{pick(("USAGE", "CREATE", "ALL"))} ON SCHEMA "Odd Schema"'),
                 (1, f"{pick(('USAGE', 'SELECT', 'UPDATE', 'ALL'))} ON SEQUENCE " + pick(("t0_id_seq", '"Odd Schema"."S"'))),
                 (1, "SELECT ON ALL TABLES IN SCHEMA public")]
        return self.chance.choices([one for _, one in kinds], [weight for weight, _ in kinds])[0]

    def next(self):
        pick = self.chance.choice
        if self.chance.random() < 0.15:
            self.made += 1
            return pick(DDL).format(n=self.made)
        role, before, what = pick(ROLES), "", self.what()
        if self.chance.random() < 0.07:
            before = "ALTER DEFAULT PRIVILEGES " + pick(("", 'IN SCHEMA "Odd Schema" '))
            what = "{1} ON {0}".format(*pick(DEFAULTS))
        if self.chance.random() < 0.5:
            return f"{before}GRANT {what} TO {role}" + (" WITH GRANT OPTION" if role != "PUBLIC" and self.chance.random() < 0.3 else "")
        return f"{before}REVOKE {'GRANT OPTION FOR ' if role != 'PUBLIC' and self.chance.random() < 0.2 else ''}{what} FROM {role} CASCADE"


def tried(run, sql):
    try:
        run(sql)
    except psycopg.Error as error:
        print(f"refused: {sql}: {str(error).splitlines()[0]}")


def some_changes(pgjanus, primary, changes):
    chance = changes.chance
    with pgjanus.connect(autocommit=True) as through, primary.connect("app", autocommit=True) as around:
        around.execute("SET ROLE app")
        for _ in range(chance.randrange(1, 8)):
            sql, way = changes.next(), chance.random()
            ending = ("; ROLLBACK" if way < 0.1 else "; INSERT INTO t0 (b) VALUES (1); COMMIT") if way < 0.2 else ""
            tried((around if way > 0.7 else through).execute, f"BEGIN; {sql}{ending}" if ending else sql)
            if ending:
                through.execute("ROLLBACK")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + int(os.environ.get("PGJANUS_SEEDS", "3"))))
def test_whoever_becomes_the_primary_has_what_the_other_had(source, target, app, programs, roles, seed):
    changes = Changes(seed)
    app(SCHEMA)
    for _ in range(12):
        tried(lambda sql: source.execute(sql, database="app", user="app"), changes.next())
    pgjanus = programs(source.owner_url, target.owner_url).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    verbs, primary, other = ["cutover", "rollback"], source, target
    for _ in range(6):
        some_changes(pgjanus, primary, changes)
        then = changes.chance.random()
        if then < 0.2:
            pgjanus.kill9()
            for _ in range(3):
                tried(lambda sql, at=primary: at.execute(sql, database="app", user="app"), changes.next())
            pgjanus.start()
            pgjanus.wait_in_sync()
        elif then < 0.6:
            had = privileges(primary)
            wait_until(lambda: pgjanus.cli(verbs[0], "--force").code == 0, 20, "the flip")  # A guard may meet a table that is new.
            verbs.reverse()
            primary, other = other, primary
            assert privileges(primary) == had, set(privileges(primary)) ^ set(had)
        else:
            alike(source, target)
    alike(source, target)
    assert "event=privilege_refused" not in pgjanus.log()
