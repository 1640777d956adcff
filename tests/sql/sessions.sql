-- What a session holds: settings, statements, cursors, locks, notifications, large objects.
SHOW server_encoding; SHOW client_encoding; SHOW TimeZone;
SET TimeZone = 'America/St_Johns'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = iso_8601;
SELECT timestamptz '2024-02-29 12:00+00', interval '1 day 2 hours', date '2024-12-31';
SET LOCAL TimeZone = 'UTC';
BEGIN; SET LOCAL TimeZone = 'UTC'; SAVEPOINT a; SET TimeZone = 'Asia/Kathmandu'; SHOW TimeZone; ROLLBACK TO a; SHOW TimeZone; COMMIT; SHOW TimeZone;
RESET ALL; SHOW DateStyle;
SET work_mem = 'much'; SET no_such = 1; SET my.own = 'x'; SHOW my.own; SELECT current_setting('my.none'), 1; SELECT current_setting('my.none', true) IS NULL;
SELECT set_config('my.own', 'local', true), current_setting('my.own'); SELECT current_setting('my.own');
SET search_path = nowhere, pg_catalog; SELECT current_schemas(false); SELECT * FROM no_such_table; RESET search_path;
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; CREATE TABLE refused (); SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE;
SET ROLE none; SELECT current_user = session_user; SET ROLE no_such_role; SET SESSION AUTHORIZATION DEFAULT;
SET default_transaction_isolation = 'repeatable read'; BEGIN; SHOW transaction_isolation; COMMIT AND CHAIN; SHOW transaction_isolation; ROLLBACK; RESET default_transaction_isolation;
SET extra_float_digits = 0; SELECT 0.1::float8 + 0.2, pi(); RESET extra_float_digits; SELECT 0.1::float8 + 0.2;
SET bytea_output = escape; SELECT '\x00ff41'::bytea; RESET bytea_output; SELECT '\x00ff41'::bytea;
SET standard_conforming_strings = off;
SELECT 'a\'b;c';
SET standard_conforming_strings = on;
SELECT 'a\', E'a\'b';
PREPARE p (int, text) AS SELECT $1 + 1, upper($2); EXECUTE p (1, 'x'); EXECUTE p ('one', 'x'); EXECUTE p (1); PREPARE p AS SELECT 1;
SELECT name, statement, parameter_types FROM pg_prepared_statements ORDER BY name;
DEALLOCATE p; EXECUTE p (1, 'x'); DEALLOCATE none_such; DEALLOCATE ALL;
PREPARE w AS INSERT INTO base.log VALUES ($1, $2) RETURNING *; EXECUTE w (1, 'prepared'); EXECUTE w (NULL, NULL); EXPLAIN (COSTS off) EXECUTE w (1, 'x'); DEALLOCATE w; DELETE FROM base.log;
CREATE TEMP TABLE plan_changes (a int); PREPARE q AS SELECT * FROM plan_changes; EXECUTE q; ALTER TABLE plan_changes ADD b int; EXECUTE q; DEALLOCATE q;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT n, repeat('c', n) FROM generate_series(1, 10) n;
FETCH 3 FROM c; FETCH BACKWARD 2 FROM c; FETCH LAST FROM c; FETCH NEXT FROM c; FETCH ABSOLUTE 5 FROM c; FETCH RELATIVE -2 FROM c; MOVE FORWARD ALL IN c; FETCH PRIOR FROM c; FETCH 0 FROM c;
SELECT name, is_holdable, is_scrollable FROM pg_cursors WHERE name = 'c';
DECLARE c CURSOR FOR SELECT 1;
ROLLBACK;
FETCH c;
BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT generate_series(1, 5); DECLARE n NO SCROLL CURSOR FOR SELECT 1 / (3 - g) FROM generate_series(1, 5) g; FETCH 2 FROM n; FETCH 2 FROM n; COMMIT;
BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT generate_series(1, 5); COMMIT; FETCH 2 FROM h; MOVE 1 IN h; FETCH ALL FROM h; CLOSE h; CLOSE h; CLOSE ALL;
BEGIN; DECLARE u CURSOR FOR SELECT * FROM base.customers FOR UPDATE; FETCH u; UPDATE base.customers SET name = 'x' WHERE CURRENT OF u; COMMIT;
SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_try_advisory_lock(2, 3), pg_advisory_lock_shared(4);
SELECT pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock(1); SELECT pg_advisory_unlock_all();
BEGIN; SELECT pg_advisory_xact_lock(5); COMMIT; SELECT pg_advisory_unlock(5);
LISTEN news; LISTEN "Odd Channel"; SELECT pg_listening_channels() ORDER BY 1;
NOTIFY news, 'first'; SELECT pg_notify('Odd Channel', 'é;'), pg_notify('nobody hears', 'x'); NOTIFY news;
BEGIN; NOTIFY news, 'same'; NOTIFY news, 'same'; NOTIFY news, 'rolled back?'; ROLLBACK; SELECT 'nothing came';
BEGIN; NOTIFY news, 'same'; NOTIFY news, 'same'; NOTIFY news, 'other'; COMMIT;
SELECT pg_notify('news', repeat('x', 8000)); NOTIFY news, ''; UNLISTEN news; NOTIFY news, 'unheard'; UNLISTEN *; SELECT count(*) FROM pg_listening_channels();
BEGIN; SELECT lo_create(987654) \gset
SELECT lo_open(987654, x'60000'::int) AS fd \gset
SELECT lowrite(:fd, 'hello large object'), lo_tell(:fd), lo_lseek(:fd, 6, 0), loread(:fd, 5), lo_truncate(:fd, 9), lo_lseek(:fd, 0, 2), lo_close(:fd);
SELECT loread(:fd, 5);
ROLLBACK;
SELECT lo_from_bytea(987655, '\x00010203ff'); SELECT lo_put(987655, 2, '\xaabb'); SELECT lo_get(987655), lo_get(987655, 1, 2); SELECT lo_unlink(987655); SELECT lo_get(987655);
CREATE TEMP TABLE t (a int PRIMARY KEY, b text) ON COMMIT PRESERVE ROWS; INSERT INTO t VALUES (1, 'x'); SELECT * FROM t; TABLE t;
CREATE TEMP TABLE d (a int) ON COMMIT DROP; SELECT * FROM d; BEGIN; CREATE TEMP TABLE d (a int) ON COMMIT DELETE ROWS; INSERT INTO d VALUES (1); COMMIT; SELECT count(*) FROM d;
CREATE TEMP SEQUENCE s INCREMENT -1; SELECT nextval('s'), nextval('s'), currval('s'), lastval(); DISCARD SEQUENCES; SELECT lastval();
BEGIN; DISCARD ALL; ROLLBACK; DISCARD TEMP; SELECT * FROM t; DISCARD PLANS; DISCARD ALL;
BEGIN; SELECT 1/0; SELECT 2; SAVEPOINT never; ROLLBACK TO never; COMMIT; ROLLBACK;
BEGIN; SAVEPOINT a; SELECT 1/0; ROLLBACK TO a; SELECT 'alive'; RELEASE a; RELEASE a; ROLLBACK; ABORT; END; BEGIN; BEGIN; COMMIT AND CHAIN; ROLLBACK AND NO CHAIN; COMMIT AND CHAIN;
BEGIN; PREPARE TRANSACTION 'empty'; ROLLBACK PREPARED 'empty'; PREPARE TRANSACTION 'outside'; BEGIN; LISTEN x; PREPARE TRANSACTION 'with listen'; SELECT 'not in a transaction';
DO $$ BEGIN RAISE DEBUG 'unseen'; RAISE LOG 'unseen'; RAISE INFO 'info'; RAISE NOTICE 'notice'; RAISE WARNING 'warning' USING ERRCODE = '01999', HINT = 'hint', DETAIL = 'detail'; END $$;
SET client_min_messages = error; DO $$ BEGIN RAISE WARNING 'unseen'; END $$; SET client_min_messages = debug1; DROP TABLE IF EXISTS none_such; RESET client_min_messages;
SELECT 'before' \; DO $$ BEGIN RAISE NOTICE 'between'; END $$ \; SELECT 'after' \; DO $$ BEGIN RAISE EXCEPTION 'end' USING ERRCODE = 'P9999', TABLE = 'a', COLUMN = 'b'; END $$ \; SELECT 'never';
\errverbose
SET statement_timeout = '20ms'; SELECT pg_sleep(10); RESET statement_timeout; SET lock_timeout = 1; RESET lock_timeout;
SELECT pg_cancel_backend(pg_backend_pid()); SELECT 'still here';
VACUUM base.log; BEGIN; VACUUM base.log; ROLLBACK; ANALYZE base.customers; CLUSTER base.customers USING customers_pkey; REINDEX TABLE base.log; CHECKPOINT;
CREATE INDEX CONCURRENTLY by_name ON base.customers (name); DROP INDEX CONCURRENTLY base.by_name; CREATE DATABASE not_allowed; BEGIN; CREATE INDEX CONCURRENTLY x ON base.customers (name); ROLLBACK;
SELECT 10 / (4 - nextval('w')) FROM (SELECT 1) s;
CREATE TEMP SEQUENCE w; SELECT 10 / (4 - nextval('w')) AS watched \watch 0.01
SELECT $1::int + 1, $2::numeric(10,2), 'x'::varchar(7), now() \gdesc
SELECT 1 AS a, 'x' AS b \gset r_
\echo :r_a :r_b :LAST_ERROR_SQLSTATE :ROW_COUNT :ERROR
\connect
SELECT count(*) FROM pg_prepared_statements; SHOW my.own;
