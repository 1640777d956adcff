-- Every type's text, its edges and its errors; then COPY in each format, and results of every size.
CREATE SCHEMA types; SET search_path = types;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int CHECK (VALUE BETWEEN 0 AND 9) NOT NULL DEFAULT 5; CREATE TYPE span AS RANGE (subtype = float8);
SELECT true, false, NULL::bool, 'yes'::bool, 'maybe'::bool; SELECT true, false, NULL::bool, 'yes'::bool;
SELECT (-32768)::int2, 2147483647, 9223372036854775807, 32768::int2; SELECT (-32768)::int2, 2147483647, (-9223372036854775808), 9223372036854775807 + 1;
SELECT 1e-400::numeric, 'NaN'::numeric, 'Infinity'::numeric, 123456789012345678901234567890.123456789, 1.10::numeric(5,3), 1e131071 IS NOT NULL, 999.999::numeric(5,2); SELECT 1e-400::numeric, 'NaN'::numeric, '-Infinity'::numeric, 1.10::numeric(5,3), 0.00, -0.0;
SELECT 0.1::float4, 1e-45::float4, 1.7976931348623157e308::float8, '-0'::float8, 'NaN'::float8, 'Infinity'::float8, 1e309::float8; SELECT 0.1::float4, 1e-45::float4, 1.7976931348623157e308::float8, '-0'::float8, 'NaN'::float8, '-Infinity'::float8, 5e-324::float8;
SELECT '$1,234.56'::money, -1::money, 1::oid, 'pg_class'::regclass, 'int4'::regtype, 'now'::regproc, '(1,2)'::tid, '0/16B3748'::pg_lsn, 'x'::"char", 'name'::name;
SELECT ''::text, ' '::char(3) || '|', 'abc'::char(5) || '|', 'toolong'::varchar(3), E'tab\tnewline\nquote''\\', U&'\00e9\+01F600', 'naïve café — 日本語 🎉', E'\u0041';
SELECT E'\x00'; SELECT E'\xff'; SELECT chr(0); SELECT length('日本語'), octet_length('日本語'), reverse('añb'), upper('straße'), 'ß' < 't' COLLATE "C";
SELECT '\x'::bytea, '\x00ff'::bytea, 'a\\000b'::bytea, '\xfg'::bytea; SELECT '\x'::bytea, '\xDEADBEEF'::bytea, E'\\001\\377'::bytea;
SELECT date '0001-01-01 BC', date 'infinity', date '5874897-12-31', time '24:00', time '23:59:60', timetz '12:00+05:30', timestamp '-infinity', timestamptz '2024-03-31 02:30 Europe/Berlin', date '2024-02-30'; SELECT date '0001-01-01 BC', date 'infinity', time '24:00', timetz '12:00+05:30', timestamp '294276-12-31 23:59:59.999999', timestamptz '4713-11-24 00:00 BC';
SELECT interval '1 year 2 mons 3 days 04:05:06.789', interval '-1 day +02:03', interval '0', interval '178000000 years', justify_interval('400 days'), age(timestamp '2024-02-29', timestamp '2023-03-01');
SELECT '550e8400-e29b-41d4-a716-446655440000'::uuid, '192.168.0.1/24'::inet, '::1'::inet, '10.0.0.0/8'::cidr, '08:00:2b:01:02:03'::macaddr, '08:00:2b:01:02:03:04:05'::macaddr8, '10.0.0.1/8'::cidr; SELECT '::ffff:1.2.3.4'::inet, inet '10.1.2.3' - 5;
SELECT B'0101', B'1'::bit(3), B'10101'::varbit(3), X'1F', ~B'10'; SELECT B'11'::bit(3); SELECT '(1,2)'::point, '[(0,0),(1,1)]'::lseg, '(1,1),(0,0)'::box, '((0,0),(1,0),(0,1))'::polygon, '<(0,0),5>'::circle, '{1,2,3}'::line, '[(0,0),(1,1)]'::path;
SELECT '{"a": [1, 2.50, null, "x\u00e9"], "a": 2}'::json, '{"a": [1, 2.50, null, "x\u00e9"], "b": 1, "a": 2}'::jsonb, 'null'::jsonb, '"\u0000"'::jsonb; SELECT '{"b": 1, "a": {"c": [1e3, true]}}'::jsonb #> '{a,c}', '{"a":1}'::jsonb || '[2]', '$.a[*] ? (@ > 1)'::jsonpath, '{'::json;
SELECT '<a b="c">é</a>'::xml, xmlparse(content '<a/>'), '<a>'::xml; SELECT 'fat & (rat | cat):a*'::tsquery, 'The fat cats'::tsvector, to_tsvector('english', 'The fat cats'), ts_headline('english', 'fat cats', 'cat');
SELECT '{}'::int[], '{1,NULL,3}'::int[], '{{a,"b c"},{"NULL",NULL}}'::text[], '[0:1]={5,6}'::int[], ARRAY[ROW(1, 'x,y')::pair], '{1,2'::int[]; SELECT ARRAY[[1,2],[3,4]], array_agg(x ORDER BY x DESC) FROM generate_series(1, 3) x; SELECT ARRAY[1,'x'];
SELECT ROW(1, NULL, 'a"b'), ROW(1, 'x')::pair, (ROW(1, 'x')::pair).b, '(,)'::pair, ROW(), ROW(NULL), 'happy'::mood, 'it''s ok'::mood < 'happy', enum_range(NULL::mood), 'none'::mood; SELECT 5::small, 10::small; SELECT NULL::small;
SELECT '[1,5)'::int4range, 'empty'::numrange, '[2024-01-01,)'::daterange, '{[1,2),[5,6)}'::int4multirange, '[0.5,1.5]'::span, int4range(5, 1); SELECT '[1,5)'::int4range * '[3,9]'::int4range, upper('[1,5]'::int4range), range_agg(r) FROM (VALUES ('[1,2)'::int4range), ('[2,3)')) v (r);
SELECT NULL, NULL::text, 'unknown', pg_typeof('x'), pg_typeof(NULL), pg_typeof(ROW(1)), ''::unknown;
SELECT; SELECT FROM generate_series(1, 3); VALUES (1, 'a'), (2, NULL); TABLE pg_catalog.pg_am LIMIT 0; SELECT 1 WHERE false; SELECT 'a' AS "a b", 'b' AS "A""B", 'c' AS "é", 1 AS "?column?", 2;
;;
-- only a comment
/* another */ ;
SELECT 1 /* nested /* comment */ ; */, 2; SELECT 'a;b', $$c;d$$, $x$e;$$;$x$; SELECT '
two lines';
SELECT * FROM; SELECT 'é', x FROM y; SELECT 1 +; SELECT 'unterminated" FROM x; '; SELECT foo(1); SELECT 1::nothing; SELECT count(*, 1); INSERT INTO nothing VALUES (1); SELECT "x; ";
SELECT ARRAY(SELECT 1/0); SELECT 'a'::int + 1; SELECT substring('x' FROM -1 FOR -1); SELECT (SELECT 1 UNION SELECT 2); SELECT 1 UNION SELECT 'x'; SELECT ln(0), 1; SELECT 2 ^ 100000; SELECT repeat('x', 1 << 30);
SELECT n, repeat(chr(64 + n % 26), n * 37) FROM generate_series(1, 60) n; SELECT n FROM generate_series(1, 2000) n; SELECT repeat('wide é ', 60000) AS wide; SELECT md5(string_agg(md5(n::text), '')) FROM generate_series(1, 50000) n;
SELECT string_agg('SELECT ' || n, '; ') AS many FROM generate_series(1, 150) n \gset
:many;
SELECT 'SELECT ' || string_agg(n || ' AS c' || n, ', ') AS columns FROM generate_series(1, 600) n \gset
\pset format unaligned
:columns;
SELECT 'SELECT ' || repeat('(', 500) || '1' || repeat(' + 1)', 500) AS deep \gset
:deep;
SELECT 'SELECT ''' || repeat('long é', 40000) || '''' AS long \gset
:long;
\pset format aligned
CREATE TABLE everything (k int PRIMARY KEY, b bool, n numeric, f float8, t text, c char(4), y bytea, d date, z timestamptz, i interval, u uuid, j jsonb, a text[], m mood, p pair, r int4range);
INSERT INTO everything VALUES (1, true, 1.50, 0.1, E'a\tb\\c"\n''', 'x', '\x00ff', '2024-02-29', '2024-02-29 12:00+00', '1 day', '550e8400-e29b-41d4-a716-446655440000', '{"a": 1}', '{a,"b,c",NULL}', 'happy', '(1,"x y")', '[1,5)'), (2), (3, false, 'NaN', '-Infinity', '', '', '', 'infinity', '-infinity', '0', NULL, 'null', '{}', 'sad', '(,)', 'empty');
\d everything
COPY everything TO STDOUT; COPY everything TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (t), NULL 'nil'); COPY (SELECT k, t FROM everything ORDER BY k DESC) TO STDOUT (DELIMITER '|', NULL ''); COPY everything (k, y) TO STDOUT (FORMAT binary);
CREATE TABLE again (LIKE everything INCLUDING ALL);
\copy everything TO 'PGJANUS_SQL_FILE'
\copy again FROM 'PGJANUS_SQL_FILE'
\copy everything TO 'PGJANUS_SQL_FILE' (FORMAT binary)
TRUNCATE again;
\copy again FROM 'PGJANUS_SQL_FILE' (FORMAT binary)
SELECT count(*) FROM again NATURAL JOIN everything; SELECT a.t = e.t, a.y = e.y, a.p = e.p FROM again a JOIN everything e USING (k) ORDER BY k;
COPY again FROM STDIN;
1	t
\.
COPY again (k, t) FROM STDIN (FORMAT csv, HEADER match);
k,t
10,"quoted ""text""
over two lines"
11,
12,""
\.
COPY again (k, t) FROM STDIN (FORMAT csv, HEADER match);
k,wrong
1,x
\.
COPY again (k, m) FROM STDIN;
20	none
\.
COPY again (k, t) FROM STDIN (DELIMITER ',', NULL 'nil', ENCODING 'LATIN1') WHERE k < 32;
30,x
31,nil
32,dropped
\.
COPY again FROM STDIN (FORMAT nothing);
COPY again FROM '/nowhere'; COPY nowhere TO STDOUT; COPY (INSERT INTO again (k) VALUES (40) RETURNING k) TO STDOUT;
SELECT k, t, t IS NULL FROM again WHERE k >= 10 ORDER BY k;
COPY again (k) FROM STDIN \; SELECT count(*) FROM again \; COPY again (k) TO STDOUT
50
51
\.
;
SET client_encoding = 'LATIN1'; SELECT length('é'), U&'\00e9'; SELECT U&'\4e00'; SET client_encoding = 'SQL_ASCII'; SELECT 'é'; SET client_encoding = 'EUC_JP'; SELECT U&'\4e00'; RESET client_encoding;
DROP SCHEMA types CASCADE;
