"""ADD CONSTRAINT … USING INDEX: the mirror's index becomes the constraint's, too, as foreign keys and other things may hang on it."""

import pytest

from test_ddl import alike, run

TABLES = """
CREATE TABLE u (id int PRIMARY KEY, e int NOT NULL, f int NOT NULL, g int); INSERT INTO u SELECT i, i, i, i FROM generate_series(1, 20) i;
CREATE UNIQUE INDEX ue ON u (e); CREATE UNIQUE INDEX ug ON u (g) INCLUDE (f);
CREATE TABLE o (id int PRIMARY KEY, e int REFERENCES u (e)); INSERT INTO o SELECT i, i FROM generate_series(1, 20) i;
CREATE TABLE "the %s" (id int NOT NULL, n int CONSTRAINT "k ""%" PRIMARY KEY); INSERT INTO "the %s" SELECT i, -i FROM generate_series(1, 20) i;
CREATE UNIQUE INDEX "next %" ON "the %s" (id);
ALTER TABLE "the %s" REPLICA IDENTITY USING INDEX "next %"; ALTER TABLE "the %s" CLUSTER ON "next %"; COMMENT ON INDEX "next %" IS 'said';
CREATE TABLE account (id int NOT NULL CONSTRAINT account_pkey PRIMARY KEY, big bigint NOT NULL); INSERT INTO account SELECT i, i FROM generate_series(1, 20) i;
CREATE UNIQUE INDEX account_big ON account (big);
CREATE TABLE entry (id int PRIMARY KEY, account bigint, CONSTRAINT fk FOREIGN KEY (account) REFERENCES account (id)); INSERT INTO entry SELECT i, i FROM generate_series(1, 20) i;
CREATE TABLE tree (id int NOT NULL, n int NOT NULL) PARTITION BY RANGE (id); CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (10);
CREATE TABLE tree_2 (id int NOT NULL, n int NOT NULL); CREATE UNIQUE INDEX i_1 ON tree_1 (id); CREATE UNIQUE INDEX i_2 ON tree_2 (id);
INSERT INTO tree VALUES (1, 1), (2, 2); INSERT INTO tree_2 VALUES (11, 1), (12, 2);
"""


def indexes(server):
    return dict(server.execute("SELECT oid::bigint, relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace", database="app"))


@pytest.mark.parametrize("history", [
    "ALTER TABLE u ADD CONSTRAINT ue UNIQUE USING INDEX ue",
    "ALTER TABLE u ADD CONSTRAINT uc UNIQUE USING INDEX ue",
    "ALTER TABLE u ADD CONSTRAINT uc UNIQUE USING INDEX ug DEFERRABLE INITIALLY DEFERRED; INSERT INTO u VALUES (31, 31, 31, 31)",
    "ALTER INDEX ue RENAME TO passing; ALTER TABLE u ADD CONSTRAINT uc UNIQUE USING INDEX passing; CREATE INDEX ue ON u (e, f); CREATE INDEX passing ON u (f, e)",
    'ALTER TABLE "the %s" DROP CONSTRAINT "k ""%"; ALTER TABLE "the %s" ADD CONSTRAINT "k ""%" PRIMARY KEY USING INDEX "next %"; UPDATE "the %s" SET n = id',
    "ALTER TABLE entry DROP CONSTRAINT fk; ALTER TABLE account DROP CONSTRAINT account_pkey; ALTER TABLE account ADD CONSTRAINT account_pkey PRIMARY KEY USING INDEX account_big;"
    "ALTER TABLE account RENAME id TO old_id; ALTER TABLE account RENAME big TO id; ALTER TABLE account ALTER old_id DROP NOT NULL;"
    "ALTER TABLE entry ADD CONSTRAINT fk FOREIGN KEY (account) REFERENCES account (id); INSERT INTO account VALUES (NULL, 77); INSERT INTO entry VALUES (77, 77)",
    "CREATE SCHEMA elsewhere; ALTER TABLE account SET SCHEMA elsewhere; ALTER TABLE elsewhere.account RENAME CONSTRAINT account_pkey TO account_big_was;"
    "ALTER TABLE elsewhere.account ADD CONSTRAINT account_unique UNIQUE USING INDEX account_big; ALTER TABLE elsewhere.account RENAME TO accounts"],
    ids=["same name", "other name", "deferrable", "names taken", "swap", "swap with foreign keys", "moved"])
def test_the_index_stays(history, source, target, sides, mirrored):
    before = indexes(target)
    run(mirrored, f"BEGIN; {history}; COMMIT")
    alike(mirrored, source, target, sides)
    now, gone = indexes(target), {"k \"%", "account_pkey"}
    assert all(oid in now or name in gone or "elsewhere" in history for oid, name in before.items())
    mirrored.do("verify")


def test_where_there_is_no_index_to_take(source, target, sides, mirrored):
    """Made between two looks; gone on the mirror; of partitions, where Postgres makes some by itself."""
    run(mirrored, "BEGIN; CREATE UNIQUE INDEX fresh ON u (id, e); ALTER TABLE u ADD CONSTRAINT fresh UNIQUE USING INDEX fresh; COMMIT")
    alike(mirrored, source, target, sides)
    with target.connect("app") as mirror:
        mirror.execute("DROP INDEX ug")
    run(mirrored, "ALTER TABLE u ADD CONSTRAINT g UNIQUE USING INDEX ug")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN; ALTER TABLE tree_2 ADD PRIMARY KEY USING INDEX i_2; ALTER TABLE ONLY tree ADD PRIMARY KEY (id); "
                  "ALTER TABLE tree_1 ADD CONSTRAINT one PRIMARY KEY USING INDEX i_1; ALTER INDEX tree_pkey ATTACH PARTITION one; "
                  "ALTER TABLE tree ATTACH PARTITION tree_2 FOR VALUES FROM (10) TO (20); INSERT INTO tree VALUES (3, 3), (13, 13); COMMIT")
    alike(mirrored, source, target, sides)


def test_an_index_is_made_again_concurrently(source, target, sides, mirrored):
    before = indexes(target)
    with mirrored.connect(autocommit=True) as client:
        for statement in ("COMMENT ON INDEX ue IS 'said'", "REINDEX INDEX CONCURRENTLY ue", "REINDEX INDEX CONCURRENTLY account_pkey",
                          'REINDEX TABLE CONCURRENTLY "the %s"', "REINDEX INDEX CONCURRENTLY i_1"):
            client.execute(statement)
    alike(mirrored, source, target, sides)
    assert before == indexes(target), "what is there is not built anew"


def test_both_ways(source, target, sides, mirrored):
    for verb in ("verify", "cutover"):
        mirrored.do(verb)
    run(mirrored, "BEGIN; ALTER TABLE u ADD CONSTRAINT uc UNIQUE USING INDEX ue; INSERT INTO u VALUES (41, 41, 41); COMMIT")
    mirrored.wait_in_sync()
    assert "uc" in indexes(source).values() and "ue" not in indexes(source).values()
    for verb in ("verify", "rollback"):
        mirrored.do(verb)
    run(mirrored, "ALTER TABLE u DROP CONSTRAINT uc CASCADE", "CREATE UNIQUE INDEX ue ON u (e)", "ALTER TABLE u ADD CONSTRAINT uc UNIQUE USING INDEX ue")
    alike(mirrored, source, target, sides)
