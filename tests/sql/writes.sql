-- Writes of every kind into tables that are mirrored, if anything is.
SET search_path = base;
INSERT INTO customers (name, email) VALUES ('Ada', 'ada@example.org'), ('Grace', NULL), ('Ünsal', 'ü@example.org') RETURNING *;
INSERT INTO customers (name, email) VALUES ('twice', 'ada@example.org');
INSERT INTO customers (name, email) VALUES ('twice', 'ada@example.org') ON CONFLICT (email) DO UPDATE SET name = customers.name || ' II' RETURNING id, name;
INSERT INTO customers (name, email) VALUES ('never', 'ada@example.org') ON CONFLICT DO NOTHING RETURNING id;
INSERT INTO customers (id, name) VALUES (1, 'key taken');
INSERT INTO customers (name) VALUES (NULL);
INSERT INTO orders (customer, amount, note) SELECT 1 + n % 3, n * 1.5, repeat('n', n) FROM generate_series(1, 12) n RETURNING id, doubled;
INSERT INTO orders (customer, amount) VALUES (999, 1);
INSERT INTO orders (customer, amount) VALUES (1, -1);
INSERT INTO orders (customer, amount) VALUES (1, 123456789.99);
INSERT INTO orders (customer, doubled) VALUES (1, 5);
UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0 RETURNING id, amount;
UPDATE orders o SET note = c.name FROM customers c WHERE c.id = o.customer AND o.id < 4 RETURNING o.id, o.note;
UPDATE customers SET id = 30 WHERE id = 3;
SELECT customer, count(*) FROM orders GROUP BY 1 ORDER BY 1;
DELETE FROM orders USING customers c WHERE c.id = customer AND c.name LIKE 'Ada%' AND orders.id > 9 RETURNING orders.id;
WITH moved AS (DELETE FROM orders WHERE id = 1 RETURNING *), kept AS (INSERT INTO log SELECT id, 'kept' FROM moved RETURNING *)
  SELECT * FROM kept;
MERGE INTO orders o USING (VALUES (2, 5.0), (3, 6.0), (77, 7.0)) AS s (id, amount) ON o.id = s.id
  WHEN MATCHED AND o.id = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET amount = s.amount
  WHEN NOT MATCHED THEN INSERT (id, customer, amount) VALUES (s.id, 1, s.amount);
SELECT id, customer, amount, doubled FROM orders ORDER BY id;
SELECT * FROM bought ORDER BY name;
INSERT INTO parts SELECT n, n % 2, 'v' || n FROM generate_series(1, 6) n;
UPDATE parts SET half = 1 - half WHERE n < 4 RETURNING tableoid::regclass, *;
INSERT INTO parts VALUES (9, 2, 'nowhere');
DELETE FROM ONLY parts;
DELETE FROM parts_1 RETURNING n;
SELECT tableoid::regclass, * FROM parts ORDER BY n;
BEGIN;
INSERT INTO later VALUES (1, 2), (2, 1);
UPDATE later SET twin = 3 - twin;
COMMIT;
INSERT INTO later VALUES (5, 6);
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO later VALUES (7, 8);
ROLLBACK;
BEGIN; DELETE FROM customers WHERE id = 30; SELECT count(*) FROM orders; ROLLBACK;
DELETE FROM customers WHERE id = 30;
SELECT count(*) FROM orders;
DELETE FROM log WHERE what <> 'UPDATE';
SELECT * FROM log ORDER BY 1, 2;
TRUNCATE log;
TRUNCATE customers;
BEGIN; TRUNCATE customers, orders RESTART IDENTITY CASCADE; SELECT nextval('orders_id_seq'); ROLLBACK;
SELECT count(*) FROM customers;
CREATE FUNCTION pg_temp.writes(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log SELECT i, 'from a function' FROM generate_series(1, n) i;
  BEGIN
    INSERT INTO customers (id, name) VALUES (1, 'a second one');
  EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'caught %', SQLSTATE;
  END;
  RETURN (SELECT count(*) FROM log);
END $$;
SELECT pg_temp.writes(3), pg_temp.writes(2);
CREATE PROCEDURE pg_temp.in_steps() LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..3 LOOP
    INSERT INTO log VALUES (i, 'step');
    IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
  END LOOP;
END $$;
CALL pg_temp.in_steps();
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;
BEGIN; INSERT INTO log VALUES (100, 'prepared'); PREPARE TRANSACTION 'a writer';
SELECT gid FROM pg_prepared_xacts WHERE database = current_database();
COMMIT PREPARED 'a writer';
BEGIN; INSERT INTO log VALUES (101, 'never'); PREPARE TRANSACTION 'a loser';
ROLLBACK PREPARED 'a loser';
ROLLBACK PREPARED 'a loser';
SELECT max(at) FROM log;
COPY customers (id, name) FROM STDIN;
50	copied
51	copied too
\.
COPY customers (id, name) FROM STDIN;
52	fine
1	taken
\.
COPY orders (customer, amount) FROM STDIN (FORMAT csv);
50,1.25
50,"2.50"
999,1
\.
SELECT id, name FROM customers ORDER BY id;
BEGIN; LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE; SELECT id FROM orders ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED; COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum(amount) FROM orders; UPDATE orders SET note = 'serial' WHERE id = 4; COMMIT;
START TRANSACTION READ ONLY; UPDATE orders SET note = 'no'; ROLLBACK;
SELECT setval('orders_id_seq', 500), nextval('orders_id_seq'), currval('orders_id_seq'), lastval();
INSERT INTO orders (customer, amount) VALUES (1, 1) RETURNING id;
DELETE FROM customers;
DELETE FROM log;
TRUNCATE parts, later;
ALTER SEQUENCE orders_id_seq RESTART;
ALTER SEQUENCE customers_id_seq RESTART;
