"""What a mirror keeps for its promotion, while schemas, tables and what stands on them change their names and places."""

from test_ddl import run
from test_ddl_trees import flip

TABLES = """
CREATE SCHEMA a; CREATE SCHEMA b; CREATE SEQUENCE a.s;
CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 9);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE a.t (id int PRIMARY KEY DEFAULT nextval('a.s'), r int CONSTRAINT one REFERENCES r, q int CONSTRAINT two REFERENCES r);
CREATE TABLE a.u (id int PRIMARY KEY, r int CONSTRAINT one REFERENCES r);
CREATE TRIGGER one BEFORE UPDATE ON a.t FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE a.t ENABLE ALWAYS TRIGGER one;
CREATE RULE two AS ON DELETE TO a.u WHERE old.id = 0 DO INSTEAD NOTHING;
INSERT INTO a.t (r, q) VALUES (1, 2), (3, 4); INSERT INTO a.u VALUES (1, 5);
"""


def test_it_follows_names_whatever_the_hops(source, target, sides, mirrored):
    """First on a mirror that has its foreign keys, then on one whose role merely owns its tables."""
    moves = (
        # A schema is renamed, and what is in it moves out.
        ("BEGIN; ALTER SCHEMA a RENAME TO c; ALTER TABLE c.t SET SCHEMA b; ALTER SEQUENCE c.s SET SCHEMA b; COMMIT",
         "INSERT INTO b.t (r) VALUES (6)"),
        # Schemas exchange their names, a table stays where it was called, its keys exchange theirs, and one is dropped.
        ("BEGIN; ALTER SCHEMA b RENAME TO x; ALTER SCHEMA c RENAME TO b; ALTER SCHEMA x RENAME TO c; ALTER TABLE c.t SET SCHEMA b; "
         "ALTER TABLE b.t RENAME CONSTRAINT one TO three; ALTER TABLE b.t RENAME CONSTRAINT two TO one; ALTER TABLE b.u DROP CONSTRAINT one; COMMIT",
         "INSERT INTO b.t (r) VALUES (7)"),
        # Another takes the name of one that is gone, with keys of the same names.
        ("BEGIN; ALTER SCHEMA c RENAME TO a; DROP TABLE b.t; ALTER TABLE b.u RENAME TO t; "
         "CREATE TRIGGER one BEFORE UPDATE ON b.t FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE b.t ADD CONSTRAINT one FOREIGN KEY (r) REFERENCES r; "
         "ALTER RULE two ON b.t RENAME TO one; COMMIT", "INSERT INTO b.t VALUES (nextval('a.s'), 8)"),
    )
    for (move, write), verb in zip(moves, ("cutover", "rollback", "cutover")):
        run(mirrored, move)
        flip(mirrored, verb, source, target, sides)
        run(mirrored, write)
