"""What goes, or is renamed, while something of the old name or in the old place is still needed: steps say names, and a name must
lead to the right object, or to none.

Each history left rows or definitions with another table, or a mirror that stopped for good.
"""

import psycopg
import pytest

from harness import equal_within, wait_until
from test_ddl import alike, run, schema_of

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, c text NOT NULL, d text); INSERT INTO t SELECT i, 'tc' || i, 'td' || i FROM generate_series(1, 5) i;
CREATE TABLE v (LIKE t INCLUDING ALL); INSERT INTO v SELECT i, 'vc' || i, 'vd' || i FROM generate_series(3, 9) i;
CREATE VIEW w AS SELECT id, c FROM t; CREATE VIEW w2 AS SELECT 1 AS one, id FROM t;
"""
SWAPS = [
    # Without downtime: the view is led to the new table before the old one goes.
    "CREATE OR REPLACE VIEW w AS SELECT id, c FROM v; CREATE OR REPLACE VIEW w2 AS SELECT 1 AS one, id FROM v; DROP TABLE t; ALTER TABLE v RENAME TO t;"
    "ALTER INDEX v_pkey RENAME TO t_pkey; INSERT INTO t VALUES (20, 'c', 'd')",
    "CREATE OR REPLACE VIEW w AS SELECT id, d AS c FROM t; ALTER TABLE t DROP COLUMN c; ALTER TABLE t RENAME TO u; UPDATE u SET d = 'u' WHERE id = 4",
    "CREATE TABLE v (LIKE u INCLUDING ALL, c text); INSERT INTO v VALUES (1, 'd', 'c'); CREATE OR REPLACE VIEW w AS SELECT id, NULL::text AS c FROM u;"
    "ALTER TABLE u DROP COLUMN d; ALTER TABLE u RENAME TO t; ALTER TABLE v RENAME TO u; INSERT INTO t VALUES (30)",
    "ALTER TABLE t ADD COLUMN c text, ADD COLUMN d text; UPDATE t SET c = 'c', d = 'd'",
    "CREATE OR REPLACE VIEW w AS SELECT id, d AS c FROM t; ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c text; UPDATE t SET c = 'again';"
    "CREATE OR REPLACE VIEW w AS SELECT id, c FROM t",
    "CREATE OR REPLACE VIEW w AS SELECT 1 AS id, 'a'::text AS c; CREATE OR REPLACE VIEW w2 AS SELECT 1 AS one, 2 AS id; DROP TABLE t; ALTER TABLE u RENAME TO t;"
    "CREATE UNIQUE INDEX on_new ON t (c); ALTER TABLE t ADD CONSTRAINT seen CHECK (id > 0), ALTER c TYPE varchar(50), ALTER d SET DEFAULT 'dd', ALTER d SET NOT NULL;"
    "COMMENT ON TABLE t IS 'new'"]
SCHEMAS = """
CREATE TABLE t (id int PRIMARY KEY, c int NOT NULL); INSERT INTO t SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE t_new (id int PRIMARY KEY, c int NOT NULL); INSERT INTO t_new SELECT i, i * 2 FROM generate_series(1, 3) i;
CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, c int); INSERT INTO s.t SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE s.v (id int PRIMARY KEY, c int); INSERT INTO s.v SELECT i, i * 2 FROM generate_series(1, 3) i;
CREATE SCHEMA live; CREATE SCHEMA stage; CREATE TABLE live.m (id int PRIMARY KEY); INSERT INTO live.m VALUES (1);
CREATE TABLE live.o (id int PRIMARY KEY); CREATE TABLE stage.o (id int PRIMARY KEY); INSERT INTO stage.o VALUES (1);
CREATE SCHEMA reused; CREATE TABLE reused.t (id int PRIMARY KEY); INSERT INTO reused.t VALUES (1);
CREATE TABLE row_of (id int PRIMARY KEY); CREATE FUNCTION of_row(row_of) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE p (id int PRIMARY KEY, x text) PARTITION BY RANGE (id); CREATE TABLE cur PARTITION OF p FOR VALUES FROM (0) TO (100);
INSERT INTO p SELECT i, 'x' FROM generate_series(1, 5) i; CREATE TABLE nxt (id int PRIMARY KEY, x text); INSERT INTO nxt SELECT i, 'y' FROM generate_series(11, 15) i;
"""
PLACES = [
    "CREATE SCHEMA arch; ALTER TABLE t SET SCHEMA arch; ALTER TABLE t_new RENAME TO t; ALTER TABLE t ALTER c TYPE bigint, ALTER c DROP NOT NULL,"
    "ADD COLUMN z int DEFAULT 3; INSERT INTO t VALUES (99, NULL)",
    "ALTER SCHEMA s RENAME TO s2; ALTER TABLE s2.t RENAME TO passing; ALTER TABLE s2.v RENAME TO t; ALTER TABLE s2.passing RENAME TO v; ALTER TABLE s2.t ALTER c TYPE bigint",
    "ALTER SCHEMA live RENAME TO passing; ALTER SCHEMA stage RENAME TO live; ALTER SCHEMA passing RENAME TO stage; ALTER TABLE stage.m SET SCHEMA live;"
    "INSERT INTO live.m VALUES (2)",
    "CREATE SCHEMA apart; ALTER TABLE row_of SET SCHEMA apart; ALTER FUNCTION of_row(apart.row_of) SET SCHEMA apart",
    "CREATE SCHEMA other; ALTER TABLE reused.t SET SCHEMA other; DROP SCHEMA reused; ALTER SCHEMA other RENAME TO reused; INSERT INTO reused.t VALUES (2)",
    "CREATE SCHEMA arch2; ALTER TABLE p DETACH PARTITION cur; ALTER TABLE cur SET SCHEMA arch2; ALTER TABLE nxt RENAME TO cur;"
    "ALTER TABLE p ATTACH PARTITION cur FOR VALUES FROM (0) TO (100); INSERT INTO p VALUES (50, 'z')",
    "ALTER TABLE p DETACH PARTITION cur; ALTER TABLE p RENAME TO q; ALTER TABLE q ATTACH PARTITION cur FOR VALUES FROM (0) TO (60)",
    "ALTER TABLE q DETACH PARTITION cur; ALTER TABLE cur RENAME TO cur2; ALTER TABLE q ATTACH PARTITION cur2 FOR VALUES FROM (0) TO (500); INSERT INTO q VALUES (300, 'z')"]
TREES = """
CREATE TABLE par (id int PRIMARY KEY, c int, d int); CREATE TABLE chi (PRIMARY KEY (id)) INHERITS (par); INSERT INTO par VALUES (1, 1, 1);
INSERT INTO chi VALUES (2, 2, 2), (3, 3, 3); CREATE VIEW w AS SELECT id, c FROM par;
CREATE TYPE ty AS (id int, c int, d int); CREATE TABLE typed OF ty (PRIMARY KEY (id)); INSERT INTO typed VALUES (1, 1, 1), (2, 2, 2);
ALTER TABLE typed ALTER c SET NOT NULL; CREATE VIEW wt AS SELECT id, c FROM typed;
CREATE TYPE pair AS (a int, c int); CREATE TABLE has (id int PRIMARY KEY, x pair); INSERT INTO has VALUES (1, '(1,1)'), (2, '(2,2)'); CREATE VIEW wc AS SELECT id, (x).c AS c FROM has;
CREATE TABLE g (id int PRIMARY KEY, c int NOT NULL) PARTITION BY RANGE (id); CREATE TABLE g1 PARTITION OF g FOR VALUES FROM (0) TO (100);
INSERT INTO g VALUES (1, 1); CREATE VIEW wg AS SELECT id, c FROM g;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW wf AS SELECT f(1) AS c;
"""
COLUMNS = [
    "CREATE OR REPLACE VIEW w AS SELECT id, d AS c FROM par; ALTER TABLE par DROP COLUMN c; ALTER TABLE par ADD COLUMN c int; UPDATE ONLY par SET c = 71; UPDATE chi SET c = 7",
    "CREATE OR REPLACE VIEW w AS SELECT id, c FROM par; ALTER TABLE par DROP COLUMN d; ALTER TABLE par ADD COLUMN d int; UPDATE chi SET d = 8",
    "CREATE OR REPLACE VIEW w AS SELECT id, d AS c FROM par; ALTER TABLE par DROP COLUMN c; ALTER TABLE par RENAME COLUMN d TO c; UPDATE chi SET c = 9",
    "CREATE OR REPLACE VIEW wt AS SELECT id, d AS c FROM typed; ALTER TYPE ty DROP ATTRIBUTE c CASCADE; ALTER TYPE ty ADD ATTRIBUTE c int CASCADE; UPDATE typed SET c = 7;"
    "INSERT INTO typed VALUES (5, 5, 5)",
    "CREATE OR REPLACE VIEW wc AS SELECT id, (x).a AS c FROM has; ALTER TYPE pair DROP ATTRIBUTE c; ALTER TYPE pair ADD ATTRIBUTE c int; UPDATE has SET x.c = 7",
    "CREATE OR REPLACE VIEW wg AS SELECT id, 1 AS c FROM g; ALTER TABLE g DROP COLUMN c; ALTER TABLE g ADD COLUMN c text; INSERT INTO g VALUES (2, 'two')",
    "CREATE OR REPLACE VIEW wf AS SELECT 1 AS c; DROP FUNCTION f(int); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE OR REPLACE VIEW wf AS SELECT f(1) AS c"]
LISTS = {"tables": (TABLES, SWAPS), "schemas": (SCHEMAS, PLACES), "trees": (TREES, COLUMNS)}


@pytest.mark.parametrize("setting", LISTS)
@pytest.mark.parametrize("way", ["through", "past", "flipped"])
def test_names_lead_to_the_right_object(way, setting, app, source, target, sides, programs):
    tables, histories = LISTS[setting]
    app(tables)
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"})
    pgjanus.start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    forth = way != "flipped"
    if not forth:
        pgjanus.do("verify")
        pgjanus.do("cutover")
    for text in histories:
        if way == "past":
            with psycopg.connect(source.owner_url) as past:
                past.execute(text)
        else:
            run(pgjanus, f"BEGIN; {text}; COMMIT")
        wait_until(lambda: schema_of(source, forth) == schema_of(target, forth), 30, lambda: f"the schemas to be equal after {text}: {pgjanus.status()['mirror']}")
        equal_within(sides.source, sides.target)
        alike(pgjanus, source, target, sides, forth)
    pgjanus.do("verify")
