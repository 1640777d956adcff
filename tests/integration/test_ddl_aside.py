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
LISTS = {"functions": (ROWS, FUNCTIONS), "partitions": (PARTS, PARTITIONS)}


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
    for text in histories:
        run(pgjanus, f"BEGIN; {text}; COMMIT")
        wait_until(lambda: schema_of(source, forth) == schema_of(target, forth), 30, lambda: f"the schemas to be equal after {text}: {pgjanus.status()['mirror']}")
        equal_within(sides.source, sides.target)
        alike(pgjanus, source, target, sides, forth)
    pgjanus.do("verify")
