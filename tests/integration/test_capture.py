"""Capture notes exactly the keys that changed, whatever the app does and whoever writes."""

import pytest

from capture_harness import base, judged, world  # noqa: F401


# Table, a new key, an old one and what that one becomes.
KEY_TABLES = [
    ("key_text", "'new'", "'a'", "'b c'"),
    ("key_uuid", "gen_random_uuid()", "'00000000-0000-0000-0000-00000000000a'", "gen_random_uuid()"),
    ("key_citext", "'Eve'", "'ADA'", "'Zoe'"), ("key_float", "0.1::float8 + 0.7", "0.1", "1.0 / 3"),
    ("key_real", "0.7", "0.1::real", "2.0 / 3"), ("key_numeric", "2.50", "1", "1.000"),
    ("key_stamp", "'02/01/2024 03:04:05 UTC'", "'infinity'", "'04/05/2024 06:07:08.9 UTC'"),
    ("key_date", "'02/01/2025'", "'infinity'", "'03/04/2025'"),
    ("key_interval", "'1-2 3 4:05:06'", "'-1 day'", "'1 week'"),
    ("key_enum", "'happy'", None, None), ("key_domain", "77", "1", "78"),
    ("key_bytea", "'\\x5c00'", "''", "'\\x5cff'"), ("key_char", "'x'", "'ab'", "' y'"),
    ("key_bool", "false", None, None), ("key_money", "'7.25'", "'1234.50'::money", "'-8.5'"),
    ("key_array", "'{x,\"y,z\"}'", "'{}'", "'{\"\"}'"), ("key_row", "'(5,\"q\"\"r\")'", "'(,)'::pair", "'(,\"\")'"),
    ("key_range", "'[01/02/2024 00:00:00 UTC,)'", "'empty'", "'(,01/02/2024 00:00:00 UTC)'"),
]


@pytest.mark.parametrize("table,new,old,other", KEY_TABLES, ids=[row[0] for row in KEY_TABLES])
def test_a_key_is_noted_as_its_types_output_whatever_the_session_set(base, table, new, old, other):
    judged(base, f"INSERT INTO {table} (k, v) VALUES ({new}, 99)")
    base.judge.clear()
    judged(base, f"UPDATE {table} SET v = v + 1")
    base.judge.clear()
    if old:
        judged(base, f"UPDATE {table} SET k = {other}, v = -1 WHERE k = {old}")
        assert base.judge.journal(), "the old key was not found"
        base.judge.clear()
    judged(base, f"DELETE FROM {table}")


STATEMENTS = {
    "insert": "INSERT INTO plain VALUES (21, 'n'), (22, NULL)",
    "insert select": "INSERT INTO plain SELECT g, 'x' FROM generate_series(100, 5000) g",
    "update": "UPDATE plain SET v = v || 'x' WHERE id <= 3",
    "update of the key": "UPDATE plain SET id = id + 100 WHERE id > 15",
    "delete": "DELETE FROM plain WHERE id % 2 = 0",
    "nothing": "UPDATE plain SET v = 'x' WHERE false",
    "composite": "INSERT INTO composite VALUES (9, 'z', 1); UPDATE composite SET b = b || '!' WHERE a = 1;"
                 " DELETE FROM composite WHERE a = 2",
    "unique for key": "INSERT INTO by_unique VALUES (NULL, 8, 'h'); UPDATE by_unique SET y = y + 10 WHERE x = 1;"
                      " DELETE FROM by_unique WHERE x = 2",
    "deferrable key": "UPDATE deferrable_key SET id = id + 1",
    "odd names": """INSERT INTO "Odd ""$$' table" VALUES (2, 'a', 'b', 3, 4, 'q', 5);
                    UPDATE "Odd ""$$' table" SET "new" = 'changed', "changed" = 7;
                    DELETE FROM "Odd ""$$' table" WHERE "found" = 1""",
    "generated": "INSERT INTO generated (n) VALUES (7), (8); UPDATE generated SET n = 9 WHERE id = 1;"
                 " INSERT INTO generated OVERRIDING SYSTEM VALUE VALUES (50, 1)",
    "dropped columns": "INSERT INTO narrowed VALUES (9, 9); UPDATE narrowed SET id = 10 WHERE id = 1",
    "on conflict update": "INSERT INTO plain VALUES (1, 'c'), (30, 'i') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "on conflict nothing": "INSERT INTO plain VALUES (1, 'c'), (31, 'i') ON CONFLICT DO NOTHING",
    "merge": "MERGE INTO plain p USING (VALUES (1, 'm'), (2, NULL), (40, 'n')) s (id, v) ON p.id = s.id"
             " WHEN MATCHED AND s.v IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v"
             " WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)",
    "writable CTE": "WITH gone AS (DELETE FROM plain WHERE id < 4 RETURNING *),"
                    " moved AS (INSERT INTO composite SELECT id, v, 0 FROM gone RETURNING *)"
                    " UPDATE key_domain SET v = 9 FROM moved WHERE k = moved.a",
    "do block": "DO $$ BEGIN FOR i IN 50..55 LOOP INSERT INTO plain VALUES (i, 'do');"
                " UPDATE plain SET v = 'x' WHERE id = i - 50; END LOOP; END $$",
    "function in select": "SELECT write_plain(60), write_plain(61)",
    "view": "INSERT INTO plain_view VALUES (70, 'v'); DELETE FROM plain_view WHERE id = 1",
    "select for update": "SELECT * FROM plain FOR UPDATE",
    "cascade delete": "DELETE FROM customer WHERE id IN (1, 2)",
    "cascade update": "DELETE FROM note; UPDATE customer SET id = id + 100 WHERE id <= 2",
    "set null": "DELETE FROM customer WHERE id = 2",
    "unique swap": "BEGIN; UPDATE customer SET email = 't' WHERE id = 1; UPDATE customer SET email = '1@x' WHERE id = 2;"
                   " UPDATE customer SET email = '2@x' WHERE id = 1; COMMIT",
    "triggers that write": "UPDATE watched SET v = v + 1 WHERE id <= 2; INSERT INTO watched VALUES (9, 9);"
                           " DELETE FROM watched WHERE id = 3",
    "row security": "UPDATE secret SET v = v + 1; INSERT INTO secret VALUES (8, 'writer', 0);"
                    " DELETE FROM secret WHERE id = 3",
    "partition root": "INSERT INTO measures VALUES (11, '2001-01-01', 1), (11, '2011-01-01', 1);"
                      " UPDATE measures SET v = v + 1 WHERE id < 3; DELETE FROM measures WHERE id = 4",
    "intermediate partition": "INSERT INTO measures_new VALUES (12, '2012-01-01', 2);"
                              " UPDATE measures_new SET v = 0 WHERE id < 4; DELETE FROM measures_new WHERE id = 5",
    "leaf partition": "INSERT INTO measures_new_odd VALUES (1, '2013-01-01', 9);"
                      " UPDATE measures_new_odd SET v = -1 WHERE id = 3; DELETE FROM measures_new_odd WHERE id = 5;"
                      " UPDATE ONLY measures_old SET v = 3 WHERE id = 1",
    "row movement": "UPDATE measures SET at = at + 3650 WHERE at < '2010-01-01' AND id < 6",
    "row movement below": "UPDATE measures_new SET id = id + 20 WHERE id IN (1, 2)",
    "row movement in a merge": "MERGE INTO measures m USING (VALUES (1), (2)) s (id) ON m.id = s.id AND m.at < '2010-01-01'"
                               " WHEN MATCHED THEN UPDATE SET at = '2016-06-06'",
    "row movement in a merge with all actions":
        "MERGE INTO measures m USING (VALUES (1, 1), (2, 1), (3, 0), (50, 1)) s (id, keep)"
        " ON m.id = s.id AND m.at < '2010-01-01' WHEN MATCHED AND keep = 0 THEN DELETE"
        " WHEN MATCHED THEN UPDATE SET at = '2016-06-06' WHEN NOT MATCHED THEN INSERT VALUES (s.id, '2001-01-01', 1)",
    "row movement by a cascade": "UPDATE city_code SET code = code + 10 WHERE code < 3",
    "merge in a tree": "MERGE INTO measures m USING (VALUES (1, 1), (2, 1), (3, 0), (4, 0), (51, 1), (7, 1)) s (id, keep)"
                       " ON m.id = s.id AND m.at > '2010-01-01' WHEN MATCHED AND keep = 0 THEN DELETE"
                       " WHEN MATCHED THEN UPDATE SET v = 77 WHEN NOT MATCHED THEN INSERT VALUES (s.id, '2021-01-01', 1)",
    "on conflict in a tree": "INSERT INTO measures VALUES (1, '2015-01-01', 5), (3, '2015-01-01', 5), (60, '2016-01-01', 6)"
                             " ON CONFLICT (id, at) DO UPDATE SET v = excluded.v",
    "inheritance, parent": "INSERT INTO city VALUES (5, 'five'); UPDATE city SET name = name || '!';"
                           " DELETE FROM city WHERE id = 4",
    "inheritance, ONLY": "UPDATE ONLY city SET name = 'o'; DELETE FROM ONLY city WHERE id = 1",
    "inheritance, child": "INSERT INTO capital VALUES (6, 'six', 'u'); UPDATE capital SET id = 7 WHERE id = 6;"
                          " INSERT INTO village VALUES (1, 'hut', 3); DELETE FROM village WHERE people = 3",
    "keyless": "INSERT INTO keyless VALUES (1, 'x', '{\"a\": 1}', '01/01/2024 00:00:00 UTC', '(1,a)', 0.1);"
               " UPDATE keyless SET b = 'y' WHERE a = 1; DELETE FROM keyless WHERE a IS NULL AND b IS NULL",
    "keyless, back and forth": "UPDATE keyless SET b = 'z'; UPDATE keyless SET b = 'x' WHERE a = 1",
    "keyless, one of two": "DELETE FROM keyless_stable WHERE ctid = (SELECT min(ctid) FROM keyless_stable)",
    "keyless, NULL and ''": "UPDATE keyless_stable SET b = '' WHERE b IS NULL; INSERT INTO keyless_stable VALUES (NULL, NULL)",
    "no columns": "INSERT INTO nothing DEFAULT VALUES; DELETE FROM nothing; INSERT INTO nothing DEFAULT VALUES",
    "keyless tree": "INSERT INTO keyless_tree VALUES (1, 'a'), (9, NULL); UPDATE keyless_tree SET v = 'n' WHERE id < 3;"
                    " DELETE FROM keyless_tree_rest WHERE v IS NULL; UPDATE keyless_tree_rest SET v = 'q';"
                    " UPDATE keyless_tree SET id = id + 1 WHERE id > 1",
    "savepoints": "BEGIN; INSERT INTO plain VALUES (80, 'a'); SAVEPOINT s; INSERT INTO plain VALUES (81, 'b');"
                  " UPDATE keyless_stable SET a = 5; ROLLBACK TO s; INSERT INTO plain VALUES (82, 'c'); RELEASE s; COMMIT",
    "rollback": "BEGIN; DELETE FROM plain; DELETE FROM keyless; ROLLBACK",
    "inner exception": "DO $$ BEGIN INSERT INTO plain VALUES (83, 'a'); BEGIN INSERT INTO plain VALUES (84, 'b');"
                       " RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; END $$",
    "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE plain SET v = 's' WHERE id = 2; COMMIT",
    "prepared statement": "PREPARE u AS UPDATE plain SET v = v || $1 WHERE id = $2;"
                          + "".join(f" EXECUTE u('p', {n});" for n in range(1, 9)) + " DEALLOCATE u",
    "a mark of somebody else's": "SET pgjanus.apply = 'on'; UPDATE plain SET v = 'marked'; RESET pgjanus.apply",
    "search_path of one's own": "CREATE TEMP TABLE old_rows (id integer); CREATE TEMP TABLE new_rows (id integer);"
                                " CREATE TEMP TABLE journal (x integer); SET search_path = pg_temp, public;"
                                " UPDATE plain SET v = 'temp' WHERE id < 3; SET search_path = public;"
                                " DROP TABLE pg_temp.old_rows, pg_temp.new_rows, pg_temp.journal",
}
# Keys that were written though nothing is different in the end.
TOUCHED = {
    "odd names": {"Odd \"$$' table": [("2", "a", "q", "3"), ("1", "changed", "q", "2")]},
    "inheritance, child": {"capital": [("6",)]},
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_journal_names_the_keys_that_changed(base, name):
    judged(base, STATEMENTS[name], touched=TOUCHED.get(name))


@pytest.mark.parametrize("sql", [
    "UPDATE keyless_tree SET id = id + 1",
    "MERGE INTO keyless_tree t USING (VALUES (1)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = 7"])
def test_rows_that_move_in_a_tree_without_key_ask_for_a_reload(base, sql):
    judged(base, sql, reload=["keyless_tree"])


def test_rows_move_while_triggers_update_other_trees(base):
    """The inner statement's end must not end the outer one's watch."""
    base.owner.execute("CREATE FUNCTION inner_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                       " UPDATE by_code SET n = n WHERE false; UPDATE by_code_low SET n = n WHERE false; RETURN NEW; END $$;"
                       "CREATE TRIGGER inner_update BEFORE UPDATE ON measures FOR EACH ROW EXECUTE FUNCTION inner_update()")
    judged(base, "MERGE INTO measures m USING generate_series(1, 6) s (id) ON m.id = s.id AND m.at < '2010-01-01'"
                 " WHEN MATCHED THEN UPDATE SET at = '2016-06-06'")
    base.owner.execute("DROP TRIGGER inner_update ON measures; DROP FUNCTION inner_update()")


def test_the_watch_for_moving_rows_ends_with_its_statement(base):
    """Otherwise every later row of the transaction would be noted twice."""
    base.writer.execute("BEGIN; UPDATE measures SET v = 0 WHERE false; INSERT INTO measures VALUES (99, '2001-01-01', 0);"
                        " SAVEPOINT s; DO $$ BEGIN UPDATE measures SET v = 1 / (id - 1); EXCEPTION WHEN OTHERS THEN NULL;"
                        " END $$; INSERT INTO keyless_tree VALUES (5, 'e'); COMMIT")
    noted = base.judge.connection.execute("SELECT count(*), count(key) FROM pgjanus.journal").fetchone()
    assert noted == (2, 2)


HOSTILE = """
CREATE SCHEMA hostile;
CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (false); CREATE DOMAIN hostile.int4 AS pg_catalog.int4 CHECK (false);
DO $$ DECLARE f pg_catalog.text; o pg_catalog.text[];
BEGIN
  FOREACH f IN ARRAY ARRAY['current_setting(pg_catalog.text, bool)', 'set_config(pg_catalog.text, pg_catalog.text, bool)',
      'substr(pg_catalog.text, integer)', 'pg_has_role(name, name, pg_catalog.text)', 'num_nulls(integer)', 'num_nulls(integer, date)',
      'concat(integer)', 'concat(pg_catalog.text)', 'concat(date)', 'concat(float8)', 'pg_current_xact_id()', 'sum(integer)',
      'array_position(pg_catalog.text[], pg_catalog.text)', 'compared(pg_catalog.text, pg_catalog.text)',
      'compared(integer, integer)', 'compared(bigint, integer)', 'compared(name, name)'] LOOP
    EXECUTE 'CREATE FUNCTION hostile.' || f || ' RETURNS bool LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION $a$hostile$a$; END''';
  END LOOP;
  FOREACH o SLICE 1 IN ARRAY ARRAY[['= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text'], ['= (LEFTARG = integer, RIGHTARG = integer'],
      ['= (LEFTARG = name, RIGHTARG = name'], ['<> (LEFTARG = bigint, RIGHTARG = integer'], ['> (LEFTARG = integer, RIGHTARG = integer']] LOOP
    EXECUTE 'CREATE OPERATOR hostile.' || o[1] || ', FUNCTION = hostile.compared)';
  END LOOP;
END $$;
CREATE TEMP TABLE journal (x int); CREATE TEMP TABLE old_rows (id int); CREATE TEMP TABLE new_rows (id int);
SET search_path = hostile, pg_temp, pg_catalog
"""


@pytest.mark.parametrize("table,column,row", [
    ("plain", "v", "700, 'n'"), ("keyless_stable", "b", "7, 'n'"), ("keyless", "b", "7, 'n'"), ("measures", "v", "7, '2015-06-06', 7")])
def test_no_name_is_looked_up_where_the_app_says(base, table, column, row):
    """The functions run with their owner's rights: what somebody puts ahead of pg_catalog must not be called by them."""
    before = base.judge.rows()
    base.owner.execute(HOSTILE)
    try:
        base.owner.execute(f"UPDATE public.{table} SET {column} = NULL; INSERT INTO public.{table} VALUES ({row})")
        base.judge.check(before, base.judge.rows())
        base.judge.clear()
        before = base.judge.rows()
        base.owner.execute(f"DELETE FROM public.{table}")
        base.judge.check(before, base.judge.rows())
    finally:
        base.owner.execute("RESET search_path; DROP SCHEMA hostile CASCADE; DROP TABLE pg_temp.journal, pg_temp.old_rows, pg_temp.new_rows")


def test_copy_is_captured(base):
    before = base.judge.rows()
    with base.writer.cursor() as cursor:
        with cursor.copy("COPY plain FROM STDIN") as copy:
            for n in range(200, 1500):
                copy.write_row((n, None))
        with cursor.copy("COPY measures FROM STDIN") as copy:
            for n in range(200, 300):
                copy.write_row((n, f"0{n % 9 + 1}/02/20{n % 20:02}", n))
        with cursor.copy("COPY keyless_stable FROM STDIN") as copy:
            for n in range(50):
                copy.write_row((n % 3, None))
        with cursor.copy("COPY measures_new_odd (id, at, v) FROM STDIN") as copy:
            copy.write_row((1, "03/04/2020", 5))
    base.judge.check(before, base.judge.rows())


TRUNCATES = {
    "TRUNCATE plain": ["plain"],
    "TRUNCATE customer CASCADE": ["customer", "orders", "line", "note"],
    "TRUNCATE measures": ["measures"],
    "TRUNCATE measures_new": ["measures"],
    "TRUNCATE measures_new_rest": ["measures"],
    "TRUNCATE city": ["city", "capital", "village"],
    "TRUNCATE ONLY city": ["city"],
    "TRUNCATE keyless, keyless_tree": ["keyless", "keyless_tree"],
    "BEGIN; TRUNCATE plain; INSERT INTO plain VALUES (1, 'again'); COMMIT": ["plain"],
}


@pytest.mark.parametrize("sql", TRUNCATES)
def test_truncate_asks_for_the_whole_table(base, sql):
    judged(base, sql, reload=TRUNCATES[sql])


def test_a_prepared_transaction_brings_its_keys_when_it_commits(base):
    before = base.judge.rows()
    base.writer.execute("BEGIN; UPDATE plain SET v = '2pc' WHERE id < 4; PREPARE TRANSACTION 'two'")
    assert not base.judge.journal()
    base.judge.check(before, before)
    base.writer.execute("COMMIT PREPARED 'two'")
    base.judge.check(before, base.judge.rows())
    base.judge.clear()
    before = base.judge.rows()
    base.writer.execute("BEGIN; DELETE FROM plain; PREPARE TRANSACTION 'two'")
    base.writer.execute("ROLLBACK PREPARED 'two'")
    base.judge.check(before, base.judge.rows())


def test_the_transaction_id_is_that_of_the_whole_transaction(base):
    with base.writer.transaction():
        base.writer.execute("SAVEPOINT a; UPDATE plain SET v = 'x' WHERE id = 1; RELEASE a;"
                            "UPDATE plain SET v = 'y' WHERE id = 2")
        xid = base.writer.execute("SELECT pg_current_xact_id()::text").fetchone()[0]
    assert base.judge.connection.execute(
        "SELECT array_agg(DISTINCT xid::text) FROM pgjanus.journal").fetchone()[0] == [xid]
