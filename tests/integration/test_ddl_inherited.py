"""Legacy inheritance: parent and child share columns, each has its own defaults and NOT NULL, and ONLY means just that."""

from test_ddl import alike, run

TABLES = """
CREATE TABLE p (id int PRIMARY KEY, x text, y int NOT NULL DEFAULT 1, z text);
CREATE TABLE c (extra int, PRIMARY KEY (id)) INHERITS (p);
CREATE TABLE d (PRIMARY KEY (id)) INHERITS (c);
INSERT INTO p VALUES (1, 'p'); INSERT INTO c (id) VALUES (2); INSERT INTO d (id) VALUES (3);
CREATE TABLE t (a int, b text, k int) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
INSERT INTO t VALUES (1, 'b', 1);
CREATE TABLE n (a int, k int);
INSERT INTO n VALUES (5, 2);
"""


def test_only_the_parent(source, target, sides, mirrored):
    run(mirrored, "ALTER TABLE ONLY p ALTER x SET NOT NULL", "ALTER TABLE ONLY p ALTER y DROP NOT NULL",
        "INSERT INTO c (id) VALUES (4)", "INSERT INTO p VALUES (5, 'x', NULL)", "ALTER TABLE ONLY p DROP COLUMN z",
        "INSERT INTO c (id, z) VALUES (6, 'z')")
    alike(mirrored, source, target, sides)
    # The parent alone gives it up, then one child does, and one of that name comes; all between two looks.
    run(mirrored, "BEGIN; ALTER TABLE ONLY p DROP COLUMN x; ALTER TABLE ONLY c DROP COLUMN x; ALTER TABLE p ADD COLUMN x text DEFAULT 'new'; "
        "INSERT INTO d (id, x) VALUES (7, 'own'); COMMIT")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; ALTER TABLE p DROP COLUMN y; ALTER TABLE c RENAME z TO zz; ALTER TABLE ONLY c DROP COLUMN zz; ALTER TABLE d RENAME zz TO z; COMMIT")
    alike(mirrored, source, target, sides)


def test_a_child_that_had_it_first(source, target, sides, mirrored):
    run(mirrored, "BEGIN; ALTER TABLE c ADD COLUMN w int DEFAULT 7; ALTER TABLE p ADD COLUMN w int DEFAULT 8; COMMIT", "INSERT INTO c (id) VALUES (20)")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER TABLE d ADD COLUMN v text DEFAULT 'd'", "ALTER TABLE p ADD COLUMN v text DEFAULT 'p'", "INSERT INTO d (id) VALUES (21)",
        "BEGIN; ALTER TABLE p DROP COLUMN v; ALTER TABLE d DROP COLUMN v; COMMIT", "ALTER TABLE ONLY c ALTER y DROP NOT NULL",
        "BEGIN; ALTER TABLE p DROP COLUMN w; CREATE TABLE e () INHERITS (p); ALTER TABLE e ALTER y DROP DEFAULT; "
        "ALTER TABLE e ALTER x SET NOT NULL; ALTER TABLE e ALTER y DROP NOT NULL; COMMIT")
    alike(mirrored, source, target, sides)


def test_a_table_that_becomes_a_child(source, target, sides, mirrored):
    """What it needs for that was done to it by itself, and not along with a parent."""
    run(mirrored, "BEGIN; ALTER TABLE n ADD COLUMN b text; ALTER TABLE n ALTER a TYPE bigint; ALTER TABLE n ALTER a TYPE int; "
        "ALTER TABLE t ATTACH PARTITION n FOR VALUES IN (2); COMMIT", "INSERT INTO t VALUES (6, 'b', 2)")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; CREATE TABLE m (a bigint, bee text, k int); INSERT INTO m VALUES (1, 'm', 3); COMMIT",
        "BEGIN; ALTER TABLE m RENAME bee TO b; ALTER TABLE m ALTER a TYPE int; ALTER TABLE t ATTACH PARTITION m FOR VALUES IN (3); COMMIT",
        "UPDATE t SET b = 'later' WHERE k = 3")
    alike(mirrored, source, target, sides)
    run(mirrored, "DELETE FROM t WHERE a IS NULL", "ALTER TABLE t ALTER a SET NOT NULL", "CREATE TABLE s (a int, b text, k int)", "INSERT INTO s VALUES (1, 's', 4)",
        "BEGIN; ALTER TABLE s ALTER a SET NOT NULL; ALTER TABLE t ATTACH PARTITION s FOR VALUES IN (4); COMMIT", "UPDATE t SET b = 'last'")
    alike(mirrored, source, target, sides)
    run(mirrored, "CREATE TABLE i (id int PRIMARY KEY, ex text)", "INSERT INTO i VALUES (30, 'i')",
        "BEGIN; ALTER TABLE i RENAME ex TO x; ALTER TABLE i ADD COLUMN y int NOT NULL DEFAULT 4; ALTER TABLE i ADD COLUMN z text; "
        "ALTER TABLE i INHERIT p; COMMIT", "UPDATE p SET y = y + 1")
    alike(mirrored, source, target, sides)


def test_partitions_stricter_than_their_parent(source, target, sides, mirrored):
    run(mirrored, "ALTER TABLE t ALTER a SET NOT NULL",
        "BEGIN; ALTER TABLE t ALTER a DROP NOT NULL; ALTER TABLE t1 ALTER a SET NOT NULL; COMMIT")
    alike(mirrored, source, target, sides)


def test_generated_columns(source, target, sides, mirrored):
    run(mirrored, "CREATE TABLE a (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED); CREATE TABLE b (PRIMARY KEY (id)) INHERITS (a)",
        "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (a * 2) STORED", "INSERT INTO b VALUES (1)",
        "ALTER TABLE a ALTER g DROP EXPRESSION", "ALTER TABLE t ALTER g DROP EXPRESSION", "INSERT INTO b VALUES (40, 7)", "INSERT INTO t VALUES (9, 'g', 1, 7)")
    alike(mirrored, source, target, sides)


def test_a_child_that_left_and_came_back(source, target, sides, mirrored):
    """Its columns and checks are its own since, so they stay when the parent's go."""
    run(mirrored, "ALTER TABLE p ADD CHECK (x <> 'never')", "BEGIN; ALTER TABLE c NO INHERIT p; ALTER TABLE c INHERIT p; COMMIT")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; ALTER TABLE d RENAME TO dd; ALTER TABLE dd NO INHERIT c; ALTER TABLE p ADD COLUMN n int; ALTER TABLE dd ADD COLUMN n int; ALTER TABLE dd INHERIT c; "
        "ALTER TABLE p DROP COLUMN z; ALTER TABLE p DROP CONSTRAINT p_x_check; COMMIT", "INSERT INTO dd (id, z) VALUES (30, 'z')")
    alike(mirrored, source, target, sides)
