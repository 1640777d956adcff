"""Several statements on the same objects in one transaction: the mirror sees only before and after, and finds its way by names.

Each history was found by a fuzzer that composes such transactions, and left wrong rows, a missing object or a stalled mirror.
"""

import psycopg
import pytest

from harness import equal_within, wait_until
from test_ddl import BASE, alike, run, schema_of

VIEWS = """
CREATE TABLE t (id int PRIMARY KEY, a text, c text NOT NULL); INSERT INTO t SELECT i, 'a' || i, 'c' || i FROM generate_series(1, 20) i;
CREATE TABLE u (LIKE t INCLUDING ALL); CREATE VIEW over_c AS SELECT id, c FROM t; CREATE VIEW over_t AS SELECT id, a FROM t;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE uses (id int PRIMARY KEY DEFAULT one(), n int);
CREATE VIEW low AS SELECT id, n FROM uses; CREATE VIEW high AS SELECT id FROM low;
CREATE POLICY few ON u USING (id > 0); COMMENT ON POLICY few ON u IS 'kept';
"""
UNDER_VIEWS = [
    "CREATE OR REPLACE VIEW over_c AS SELECT id, a AS c FROM t; ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c text; UPDATE t SET c = 'new' || id",
    "CREATE OR REPLACE VIEW over_c AS SELECT id, NULL::text AS c FROM t; ALTER TABLE t DROP COLUMN c; ALTER TABLE t RENAME a TO c; INSERT INTO t VALUES (33, 'n')"
    "; CREATE OR REPLACE VIEW over_t AS SELECT id, NULL::text AS a FROM u",
    "CREATE OR REPLACE VIEW over_c AS SELECT id, a AS c FROM u; DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'new'), (2, 'newer')",
    "DROP FUNCTION one() CASCADE; CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 62'",
    "CREATE OR REPLACE VIEW high AS SELECT id FROM uses; DROP VIEW low; CREATE VIEW low AS SELECT id, n FROM uses WHERE id > 5",
    "ALTER POLICY few ON u USING (id > 1)"]
NAMES = """
CREATE SCHEMA old; CREATE SCHEMA live;
CREATE TABLE old.t (id int CONSTRAINT k1 PRIMARY KEY, a text); INSERT INTO old.t SELECT i, 'old' FROM generate_series(1, 9) i;
CREATE TABLE live.t (id int CONSTRAINT k2 PRIMARY KEY, a text); INSERT INTO live.t SELECT i, 'live' FROM generate_series(5, 30) i;
CREATE FUNCTION old.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION live.f() RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE TABLE now (id int PRIMARY KEY, a text); CREATE TABLE next (id int PRIMARY KEY, a text); INSERT INTO next VALUES (1, 'next');
CREATE SCHEMA gone; CREATE TABLE gone.t (id int PRIMARY KEY); INSERT INTO gone.t VALUES (1);
CREATE TABLE two (a int CONSTRAINT checked CHECK (a > 0), b int CONSTRAINT single UNIQUE); INSERT INTO two VALUES (1, 1);
CREATE TABLE old.k (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, a text UNIQUE); CREATE INDEX i ON old.k (n); INSERT INTO old.k (a) VALUES ('x'), ('y');
CREATE TABLE live.k (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, a text UNIQUE); CREATE INDEX i ON live.k (a, n); INSERT INTO live.k (a) VALUES ('z');
CREATE TABLE p (id int PRIMARY KEY, a text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1, 'x');
"""
EXCHANGES = [
    "ALTER TABLE old.t RENAME TO t2; ALTER TABLE old.t2 SET SCHEMA live; ALTER TABLE live.t SET SCHEMA old; UPDATE live.t2 SET a = 'was old' WHERE id < 3",
    "ALTER FUNCTION old.f() RENAME TO f2; ALTER FUNCTION old.f2() SET SCHEMA live; ALTER FUNCTION live.f() SET SCHEMA old",
    "ALTER TABLE now RENAME TO before; ALTER INDEX now_pkey RENAME TO before_pkey; ALTER TABLE next RENAME TO now; ALTER INDEX next_pkey RENAME TO now_pkey;"
    "INSERT INTO now VALUES (2, 'now')",
    "ALTER TABLE now RENAME TO passing; ALTER TABLE before RENAME TO now; ALTER TABLE passing RENAME TO before; ALTER INDEX now_pkey RENAME TO passing;"
    "ALTER INDEX before_pkey RENAME TO now_pkey; ALTER INDEX passing RENAME TO before_pkey; INSERT INTO now VALUES (3, 'x')",
    "ALTER TABLE two RENAME CONSTRAINT checked TO passing; ALTER TABLE two RENAME CONSTRAINT single TO checked; ALTER TABLE two RENAME CONSTRAINT passing TO single",
    "ALTER TABLE old.k SET SCHEMA public; ALTER TABLE live.k SET SCHEMA old; ALTER TABLE k SET SCHEMA live; INSERT INTO live.k (a) VALUES ('w'); INSERT INTO old.k (id, a) VALUES (7, 'w')",
    "ALTER TABLE gone.t SET SCHEMA public; DROP SCHEMA gone; CREATE SCHEMA gone; CREATE TABLE gone.n (id int PRIMARY KEY); INSERT INTO gone.n VALUES (7)",
    "CREATE SCHEMA arch; ALTER TABLE p DETACH PARTITION part; ALTER TABLE part SET SCHEMA arch; CREATE TABLE part PARTITION OF p FOR VALUES FROM (0) TO (10);"
    "INSERT INTO p SELECT id + 1, a FROM arch.part"]
TREES = """
CREATE TABLE k (id int PRIMARY KEY, a text) PARTITION BY RANGE (id); CREATE TABLE k_rest PARTITION OF k DEFAULT;
CREATE TABLE k_1 (id int PRIMARY KEY, a text); INSERT INTO k_1 SELECT i, 'one' FROM generate_series(1, 5) i; INSERT INTO k VALUES (50, 'rest');
CREATE TABLE bag (id int, a text) PARTITION BY LIST (id); CREATE TABLE bag_2 PARTITION OF bag FOR VALUES IN (2, 3); CREATE TABLE bag_rest PARTITION OF bag DEFAULT;
INSERT INTO bag SELECT i % 5, 'b' FROM generate_series(1, 30) i; CREATE TABLE bag_7 (id int, a text); INSERT INTO bag_7 VALUES (7, 'x'), (7, 'x'), (7, 'y');
CREATE TABLE parent (id int, a text); CREATE TABLE child (id int, a text); INSERT INTO parent VALUES (1, 'p'), (1, 'p'); INSERT INTO child VALUES (11, 'c'), (12, 'c');
"""
PASSING = [
    "ALTER TABLE k ATTACH PARTITION k_1 FOR VALUES FROM (0) TO (10); UPDATE k SET a = 'via k' WHERE id < 4; DELETE FROM k WHERE id = 2; ALTER TABLE k DETACH PARTITION k_1",
    "ALTER TABLE bag ATTACH PARTITION bag_7 FOR VALUES IN (7); UPDATE bag SET a = 'via bag' WHERE id = 7; ALTER TABLE bag DETACH PARTITION bag_7",
    "ALTER TABLE child INHERIT parent; UPDATE parent SET a = 'via parent'; ALTER TABLE child NO INHERIT parent",
    "ALTER TABLE bag DETACH PARTITION bag_2; UPDATE bag_2 SET a = 'alone'",
    "UPDATE bag_rest SET a = 'last' WHERE id = 4; DROP TABLE bag_rest; INSERT INTO bag_2 VALUES (2, 'later')"]


@pytest.fixture
def mirrored(app, source, target, programs):
    app(BASE)
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"})
    return pgjanus


@pytest.mark.parametrize("setting, histories", [(VIEWS, UNDER_VIEWS), (NAMES, EXCHANGES), (TREES, PASSING)], ids=["views", "names", "trees"])
@pytest.mark.parametrize("way", ["through", "past"])
def test_in_one_transaction(way, setting, histories, app, source, target, sides, mirrored):
    app(setting)
    mirrored.start()
    for verb in ("prepare", "load"):
        mirrored.do(verb)
    mirrored.wait_in_sync()
    for text in histories:
        if way == "through":
            run(mirrored, f"BEGIN; {text}; COMMIT")
        else:
            with psycopg.connect(source.owner_url, autocommit=True) as past:
                for statement in text.split(";"):
                    past.execute(statement)
        wait_until(lambda: schema_of(source) == schema_of(target), 30, lambda: f"the schemas to be equal after {text}: {mirrored.status()['mirror']}")
        equal_within(sides.source, sides.target)
        alike(mirrored, source, target, sides)
    mirrored.do("verify")
