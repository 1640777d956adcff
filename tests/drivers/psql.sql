-- psql as people use it: \d of everything, \copy, \gset, \gexec, \watch, FETCH_COUNT, \crosstabview.
\set VERBOSITY verbose
\pset null '(null)'
\echo :SERVER_VERSION_NUM :ENCODING
SHOW server_version;
DROP SCHEMA IF EXISTS psql_script CASCADE;
CREATE SCHEMA psql_script;
SET search_path = psql_script;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE parents (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE DEFAULT 'x', m mood, p positive);
CREATE TABLE children (id bigserial PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE, body jsonb, doubled int GENERATED ALWAYS AS (1 + 1) STORED);
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE INDEX by_body ON children USING gin (body);
CREATE VIEW joined AS SELECT p.name, c.body FROM parents p JOIN children c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM parents;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'row %', NEW.name; RETURN NEW; END $$;
CREATE TRIGGER noting BEFORE INSERT ON parents FOR EACH ROW EXECUTE FUNCTION noted();
COMMENT ON TABLE parents IS 'a comment';
\d
\d+ parents
\d children
\d+ parts
\d+ joined
\dt+ parents
\di
\ds
\dv
\dm
\df
\dT
\dD
\dn psql_script
\dp parents
\du app
\dx
\l app
\sf twice
\sv joined
INSERT INTO parents (name, m, p) VALUES ('one', 'ok', 1), ('two', NULL, 2), ('three', 'sad', NULL);
INSERT INTO parents (name, p) VALUES ('four', -1);
INSERT INTO parents (name) VALUES ('one');
\errverbose
\copy children (id, parent, body) FROM STDIN
100	1	{"a": [1, null]}
101	2	\N
102	3	{"b": "é"}
\.
\copy (SELECT id, body FROM children ORDER BY id) TO STDOUT CSV HEADER
COPY children (id, parent) FROM STDIN;
200	1
201	99
\.
COPY children (id, parent) FROM STDIN;
x	1
\.
COPY parents TO STDOUT;
\copy children (id) FROM PROGRAM 'seq 300 305'
SELECT count(*) AS how_many, max(id) AS most FROM children \gset
\echo :how_many :most
SELECT format('SELECT %s AS n', n) FROM generate_series(1, 3) n \gexec
SELECT 1 AS a, 'x' AS b \gx
SELECT 1 AS a \; SELECT 2 AS b \; SELECT 1/0 \; SELECT 4;
SELECT $1::int + $2::int AS bound \gdesc
SELECT id, name, m FROM parents \crosstabview id m name
\timing off
BEGIN;
SAVEPOINT a;
SELECT 1/0;
SELECT 1;
ROLLBACK TO a;
UPDATE parents SET p = 7 RETURNING id, p;
ROLLBACK;
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT * FROM nowhere;
SELECT 'goes on';
COMMIT;
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT off
DELETE FROM children;
\echo in transaction
ROLLBACK;
\set AUTOCOMMIT on
\set FETCH_COUNT 40
SELECT n, repeat('x', n) FROM generate_series(1, 90) n;
SELECT 10 / (50 - n) FROM generate_series(1, 90) n;
\unset FETCH_COUNT
PREPARE p (int) AS SELECT $1 + 1;
EXECUTE p (41);
DEALLOCATE p;
DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) n;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
CLOSE c;
LISTEN psql_news;
NOTIFY psql_news;
UNLISTEN *;
DO $$ BEGIN RAISE WARNING 'from a block' USING HINT = 'a hint', DETAIL = 'a detail'; END $$;
EXPLAIN (COSTS off) SELECT * FROM parents WHERE id = 1;
SET statement_timeout = 30;
SELECT pg_sleep(20);
RESET statement_timeout;
SET ROLE nobody_there;
SET client_encoding = 'LATIN1';
SELECT length('é');
\encoding UTF8
\lo_list
SELECT lo_unlink(lo_create(0));
VACUUM (ANALYZE) parents;
DISCARD ALL;
SHOW search_path;
\connect -
SELECT current_user, current_schema;
DROP SCHEMA psql_script CASCADE;
\! echo the shell
\q
