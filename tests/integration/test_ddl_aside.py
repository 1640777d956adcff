"""What goes while something still depends on it: what it does until it can be dropped, and what goes with it.

Each history stopped the mirror for good, or left rows or definitions with another table.
"""

import pytest

from harness import equal_within, wait_until
from test_ddl import alike, run, schema_of

ROWS = """
CREATE TYPE ty AS (a int); CREATE FUNCTION f(ty) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE o (id int PRIMARY KEY, a text); CREATE FUNCTION upper_a(o) RETURNS text LANGUAGE sql AS 'SELECT upper($1.a)';
CREATE TABLE o2 (id int PRIMARY KEY, a text); CREATE FUNCTION upper_a(o2) RETURNS text LANGUAGE sql AS 'SELECT upper($1.a)';
CREATE TABLE t (id int PRIMARY KEY, c text, d text); CREATE VIEW v AS SELECT id, c FROM t; CREATE FUNCTION fv(v) RETURNS text LANGUAGE sql AS 'SELECT $1.c';
CREATE FUNCTION g() RETURNS text LANGUAGE sql AS 'SELECT 1::text'; ALTER TABLE t ALTER c SET DEFAULT g();
"""
FUNCTIONS = [
    "DROP FUNCTION f(ty); DROP TYPE ty",
    "DROP TABLE o CASCADE",
    "DROP FUNCTION upper_a(o2); DROP TABLE o2; CREATE TABLE o2 (a text PRIMARY KEY); CREATE FUNCTION upper_a(o2) RETURNS text LANGUAGE sql AS 'SELECT upper($1.a)'",
    "DROP FUNCTION fv(v); DROP VIEW v; CREATE VIEW v AS SELECT id, c, d FROM t; CREATE FUNCTION fv(v) RETURNS text LANGUAGE sql AS 'SELECT $1.d'",
    "DROP FUNCTION g() CASCADE; CREATE FUNCTION g() RETURNS varchar LANGUAGE sql AS 'SELECT 2::text'; ALTER TABLE t ALTER c SET DEFAULT g(); INSERT INTO t VALUES (9)"]
PARTS = """
CREATE TABLE p (id int PRIMARY KEY, x text) PARTITION BY RANGE (id); CREATE TABLE pa PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE pd PARTITION OF p DEFAULT; INSERT INTO p SELECT i, 'x' FROM generate_series(1, 5) i; INSERT INTO p VALUES (500, 'd'); CREATE VIEW w AS SELECT id, x FROM pa;
CREATE TABLE par (id int PRIMARY KEY, c text); CREATE TABLE chi (PRIMARY KEY (id)) INHERITS (par); INSERT INTO par VALUES (1, 'a'); INSERT INTO chi VALUES (2, 'b');
CREATE VIEW wc AS SELECT id, c FROM chi;
"""
PARTITIONS = [
    "CREATE OR REPLACE VIEW w AS SELECT id, x FROM pd; DROP TABLE pa; INSERT INTO p VALUES (7, 'seven')",
    "CREATE OR REPLACE VIEW wc AS SELECT id, c FROM par; DROP TABLE chi; ALTER TABLE par ADD CONSTRAINT ck CHECK (c <> 'b'); INSERT INTO par VALUES (3, 'z')"]
VALUES = """
CREATE TABLE t (id int PRIMARY KEY, n serial, i int GENERATED ALWAYS AS IDENTITY, d text); INSERT INTO t (id, d) SELECT i, 'x' FROM generate_series(1, 5) i;
CREATE VIEW w AS SELECT id, n, i FROM t;
CREATE TABLE p (id int PRIMARY KEY, c text, d text) PARTITION BY RANGE (id); CREATE TABLE pa PARTITION OF p FOR VALUES FROM (0) TO (100);
ALTER TABLE pa ALTER c SET NOT NULL; INSERT INTO p SELECT i, 'x' FROM generate_series(1, 5) i; CREATE VIEW wp AS SELECT id, c FROM p;
CREATE DOMAIN dn AS text CHECK (VALUE IS NOT NULL); CREATE TABLE o (id int PRIMARY KEY, c dn, d text); INSERT INTO o SELECT i, 'x' FROM generate_series(1, 5) i;
CREATE VIEW wo AS SELECT id, c::text AS c FROM o;
CREATE TABLE k (id int PRIMARY KEY, c int UNIQUE, d int NOT NULL); INSERT INTO k VALUES (1, 2, 3), (2, 3, 3); CREATE VIEW wk AS SELECT id, c, d FROM k GROUP BY id;
"""
WANTED = [
    "CREATE OR REPLACE VIEW w AS SELECT id, id AS n, id AS i FROM t; ALTER TABLE t DROP COLUMN n, DROP COLUMN i; INSERT INTO t VALUES (7, 'seven')",
    "CREATE OR REPLACE VIEW wp AS SELECT id, d AS c FROM p; ALTER TABLE p DROP COLUMN c; INSERT INTO p VALUES (7, 'seven')",
    "CREATE OR REPLACE VIEW wo AS SELECT id, d AS c FROM o; ALTER TABLE o DROP COLUMN c; INSERT INTO o VALUES (7, 'seven')",
    "CREATE OR REPLACE VIEW wk AS SELECT id, c, d FROM k; ALTER TABLE k DROP CONSTRAINT k_pkey; UPDATE k SET d = c; ALTER TABLE k ADD CONSTRAINT k_pkey PRIMARY KEY (d);"
    "UPDATE k SET id = 1; INSERT INTO k VALUES (1, 9, 9)"]
STAYS = """
CREATE TABLE t (id int PRIMARY KEY, c text, d text); CREATE TABLE v (id int PRIMARY KEY, c text, d text); CREATE TABLE o (id int PRIMARY KEY, x t);
INSERT INTO t SELECT i, 'x', 'd' FROM generate_series(1, 5) i; INSERT INTO v SELECT i, 'v', 'd' FROM generate_series(1, 5) i; INSERT INTO o VALUES (1, '(1,x,d)');
CREATE VIEW w AS SELECT id, c FROM t;
CREATE TABLE par (id int PRIMARY KEY, c text, d text); CREATE TABLE chi (c text, PRIMARY KEY (id)) INHERITS (par); INSERT INTO chi VALUES (2, 'a', 'b');
CREATE VIEW wp AS SELECT id, c FROM par;
"""
REFUSED = [
    "CREATE OR REPLACE VIEW w AS SELECT id, d AS c FROM t; ALTER TABLE t DROP COLUMN c; ALTER TABLE t RENAME TO u; ALTER TABLE v RENAME TO t; UPDATE u SET d = 'q'",
    "CREATE OR REPLACE VIEW wp AS SELECT id, d AS c FROM par; ALTER TABLE par DROP COLUMN c; ALTER TABLE par RENAME TO par2; UPDATE par2 SET d = 'q'",
    "CREATE FUNCTION positive(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0'; CREATE DOMAIN pos AS int NOT NULL CHECK (positive(VALUE));"
    "CREATE TYPE cc AS (x pos); CREATE TABLE new (id int PRIMARY KEY, a pos[], b cc); INSERT INTO new VALUES (1, '{1}', '(1)')"]
LISTS = {"values": (VALUES, WANTED), "stays": (STAYS, REFUSED), "functions": (ROWS, FUNCTIONS), "partitions": (PARTS, PARTITIONS)}


@pytest.mark.parametrize("setting", LISTS)
@pytest.mark.parametrize("way", ["through", "flipped"])
def test_what_goes_leaves_nothing_behind(way, setting, app, source, target, sides, programs):
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
        wait_until(lambda: "ddl_followed_from_here" in pgjanus.log().split("event=flipped")[-1], 30, "the catalog of the new primary to be read")
    for text in histories:
        run(pgjanus, f"BEGIN; {text}; COMMIT")
        wait_until(lambda: schema_of(source, forth) == schema_of(target, forth), 30, lambda: f"the schemas to be equal after {text}: {pgjanus.status()['mirror']}")
        equal_within(sides.source, sides.target)
        alike(pgjanus, source, target, sides, forth)
    pgjanus.do("verify")
