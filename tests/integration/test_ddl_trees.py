"""What partitions have of their parent: indexes, foreign keys and triggers, each with a name or mode of its own."""

from harness import assert_equal, wait_until
from test_ddl import alike, run, schema_of

TABLES = """
CREATE TABLE r (id int PRIMARY KEY); INSERT INTO r SELECT generate_series(1, 9);
CREATE TABLE noted (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted VALUES (TG_TABLE_NAME || ' ' || TG_NAME); RETURN NEW; END $$;
CREATE TABLE p (id int, k int, r int CONSTRAINT p_r REFERENCES r, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE p2_all PARTITION OF p2 DEFAULT;
CREATE TABLE own (id int, k int, r int CONSTRAINT own_fk REFERENCES r, PRIMARY KEY (id, k));
INSERT INTO p SELECT i, i % 2 + 1, i FROM generate_series(1, 9) i; INSERT INTO own VALUES (1, 3, 1);
"""
TRIGGERS = """
CREATE TRIGGER tell AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER tell_always AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE p ENABLE ALWAYS TRIGGER tell_always;
CREATE TRIGGER passing BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION note();
"""


def flip(pgjanus, verb, source, target, sides):
    """Whoever is the primary now has just what the last one had."""
    last, now = (source, target) if verb == "cutover" else (target, source)
    pgjanus.wait_in_sync()
    before = schema_of(last)
    pgjanus.do(verb, "--force")
    wait_until(lambda: schema_of(now) == before, 20, "constraints to be valid", every=0.2)
    pgjanus.wait_in_sync()
    assert_equal(sides.source, sides.target)


def test_indexes(source, target, sides, mirrored):
    run(mirrored, "CREATE INDEX p_i ON ONLY p (r)", "CREATE INDEX CONCURRENTLY p1_r ON p1 (r)", "ALTER INDEX p_i ATTACH PARTITION p1_r",
        "CREATE INDEX p2_r ON ONLY p2 (r)", "ALTER INDEX p_i ATTACH PARTITION p2_r", "CREATE INDEX low ON p2_all (r)")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER INDEX p2_r ATTACH PARTITION low", "CREATE INDEX p1_own ON p1 (k)", "CREATE INDEX p_k ON p (k)")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; ALTER TABLE ONLY p ADD CONSTRAINT p_u UNIQUE (k, id); ALTER TABLE p1 ADD CONSTRAINT p1_u UNIQUE (k, id); COMMIT",
        "ALTER INDEX p_u ATTACH PARTITION p1_u", "ALTER TABLE p2 ADD CONSTRAINT p2_u UNIQUE (k, id)", "ALTER INDEX p_u ATTACH PARTITION p2_u")
    alike(mirrored, source, target, sides)
    # Two that would do: it is the attached one that keeps its name.
    run(mirrored, "CREATE INDEX one ON own (k); CREATE INDEX two ON own (k); CREATE INDEX three ON own (r)",
        "ALTER TABLE p ATTACH PARTITION own FOR VALUES IN (3)", "ALTER INDEX one RENAME TO passing; ALTER INDEX two RENAME TO one")
    alike(mirrored, source, target, sides)
    # What leaves first keeps what its parent loses then; what is dropped first is lost to both.
    run(mirrored, "BEGIN; ALTER TABLE p DETACH PARTITION own; DROP INDEX p_k; ALTER TABLE p DROP CONSTRAINT p_u; COMMIT",
        "BEGIN; DROP INDEX p_i; ALTER TABLE p DETACH PARTITION p1; COMMIT")
    alike(mirrored, source, target, sides)


def test_foreign_keys(source, target, sides, mirrored):
    run(mirrored, "ALTER TABLE p ATTACH PARTITION own FOR VALUES IN (3)", "INSERT INTO p VALUES (2, 3, 2)", "ALTER TABLE p1 RENAME CONSTRAINT p_r TO p1_r")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER TABLE p DETACH PARTITION own", "ALTER TABLE own DROP CONSTRAINT own_fk",
        "BEGIN; ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p DROP CONSTRAINT p_r; COMMIT")
    alike(mirrored, source, target, sides)
    run(mirrored, "ALTER TABLE p ADD CONSTRAINT again FOREIGN KEY (r) REFERENCES r", "ALTER TABLE own ADD CONSTRAINT own_again FOREIGN KEY (r) REFERENCES r",
        "ALTER TABLE p ATTACH PARTITION own FOR VALUES IN (3)")
    flip(mirrored, "cutover", source, target, sides)
    # The mirror has no foreign keys for the time being: they come with its promotion.
    run(mirrored, "ALTER TABLE p DETACH PARTITION own", "ALTER TABLE own DROP CONSTRAINT own_again", "DELETE FROM p WHERE r = 1", "DELETE FROM r WHERE id = 1",
        "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)", "ALTER TABLE p DETACH PARTITION p2", "ALTER TABLE p2 RENAME CONSTRAINT again TO p2_again")
    flip(mirrored, "rollback", source, target, sides)


def test_triggers(source, target, sides, mirrored):
    run(mirrored, TRIGGERS, "ALTER TABLE p1 DISABLE TRIGGER tell", "ALTER TABLE p2_all ENABLE REPLICA TRIGGER tell_always",
        "ALTER TABLE p ATTACH PARTITION own FOR VALUES IN (3)", "CREATE TABLE p4 PARTITION OF p FOR VALUES IN (4)")
    flip(mirrored, "cutover", source, target, sides)
    run(mirrored, "DELETE FROM noted", "INSERT INTO p SELECT 100 + k, k FROM generate_series(1, 4) k")
    fired = [f"{table} {name}" for table, name in (("own", "tell"), ("own", "tell_always"), ("p1", "tell_always"), ("p2_all", "tell"),
                                                   ("p4", "tell"), ("p4", "tell_always"))]
    mirrored.wait_in_sync()
    assert [what for (what,) in sides.target.execute("SELECT what FROM noted ORDER BY what COLLATE \"C\"")] == fired
    # On a mirror without session_replication_role all of them are disabled until its promotion.
    run(mirrored, "CREATE TABLE p5 PARTITION OF p FOR VALUES IN (5)", "ALTER TABLE p DETACH PARTITION own", "ALTER TABLE p4 DISABLE TRIGGER tell",
        "ALTER TRIGGER tell_always ON p RENAME TO told", "ALTER TABLE p1 ENABLE TRIGGER tell", "DROP TRIGGER passing ON p")
    flip(mirrored, "rollback", source, target, sides)
    run(mirrored, "DELETE FROM noted", "INSERT INTO p SELECT 200 + k, k FROM unnest(ARRAY[1, 2, 4, 5]) k")
    assert [what for (what,) in sides.source.execute("SELECT what FROM noted ORDER BY what COLLATE \"C\"")] == [
        "p1 tell", "p1 told", "p2_all tell", "p4 told", "p5 tell", "p5 told"]
