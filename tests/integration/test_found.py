"""Small tests for what the differential tester (tests/differential) found."""

from harness import equal_within, wait_until


def test_a_constraint_that_leaves_again_before_it_was_validated_is_validated_later(app, sides, pgjanus):
    app("CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES child); INSERT INTO child VALUES (1, 1), (2, 1)")
    pgjanus.do("prepare")
    pgjanus.do("load")
    for _ in range(3):  # Quicker one after the other than constraints are validated.
        pgjanus.do("cutover", "--force")
        pgjanus.do("rollback", "--force")
    wait_until(lambda: sides.source.execute(
        "SELECT convalidated FROM pg_constraint WHERE conname = 'child_parent_fkey'").fetchall() == [(True,)],
        20, "the foreign key to be valid again")
    equal_within(sides.source, sides.target)


def test_quoted_identifiers_do_not_change_the_text_of_a_row(app, sides, pgjanus):
    app("CREATE TABLE bag (what regprocedure, number int UNIQUE); INSERT INTO bag VALUES ('abs(int)', 1)")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect(options="-c quote_all_identifiers=on") as client:
        client.execute("UPDATE bag SET what = 'sqrt(float8)'")
        client.execute("DELETE FROM bag")
        client.execute("INSERT INTO bag VALUES ('abs(int)', 1)")
    equal_within(sides.source, sides.target)
    assert pgjanus.status()["mirror"]["error"] is None


def test_rules_do_not_act_on_a_mirror_without_replica_role(app, source, sides, pgjanus):
    """The old source, after the cutover: its role may not set session_replication_role."""
    app("""CREATE TABLE note (id int PRIMARY KEY, what text); CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), id int);
           CREATE RULE also AS ON INSERT TO note DO ALSO INSERT INTO log (id) VALUES (NEW.id);
           CREATE RULE never AS ON UPDATE TO note WHERE NEW.id > 1000 DO INSTEAD NOTHING;
           CREATE RULE gone AS ON DELETE TO note DO ALSO INSERT INTO log (id) VALUES (-OLD.id);
           ALTER TABLE note ENABLE ALWAYS RULE gone""")
    pgjanus.do("prepare")
    pgjanus.do("load")
    write = "INSERT INTO note VALUES (1, 'a'), (2, 'b'); UPDATE note SET what = 'c'; DELETE FROM note WHERE id = 1; DELETE FROM note"
    with pgjanus.connect() as client:
        client.execute(write)
        equal_within(sides.source, sides.target)
        pgjanus.do("cutover", "--force")
        client.execute(write)
        equal_within(sides.source, sides.target)
        pgjanus.do("rollback", "--force")
        client.execute(write)
        equal_within(sides.source, sides.target)
    assert sides.source.execute("SELECT rulename, ev_enabled FROM pg_rewrite WHERE ev_class = 'note'::regclass "
                                "ORDER BY 1").fetchall() == [("also", "O"), ("gone", "A"), ("never", "O")]
    assert sides.source.execute("SELECT count(*) FROM log").fetchone()[0] == 3 * 4


def test_prepare_right_after_the_start_meets_no_lock_of_its_own(app, sides, pgjanus):
    app("CREATE TABLE t (id int PRIMARY KEY)")
    for _ in range(6):
        pgjanus.restart()
        with pgjanus.admin() as admin:
            admin.execute("PREPARE")
            admin.execute("ABORT CONFIRM 'app'")
        sides.target.execute("DROP TABLE t")


def test_columns_of_different_and_of_nondeterministic_collations_are_captured(app, sides, pgjanus):
    app("""CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
           CREATE TABLE keyed (a text COLLATE "C", b text COLLATE "POSIX", n int, PRIMARY KEY (a, b));
           CREATE TABLE bag (a text COLLATE caseless, b text COLLATE "C");
           CREATE TABLE same (a text COLLATE caseless);
           INSERT INTO keyed VALUES ('a', 'b', 1), ('c', 'd', 2); INSERT INTO bag VALUES ('word', 'x'); INSERT INTO same VALUES ('word')""")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client:
        client.execute("UPDATE keyed SET a = upper(a)")
        client.execute("UPDATE bag SET a = upper(a)")
        client.execute("UPDATE same SET a = upper(a)")
        client.execute("DELETE FROM bag")
    equal_within(sides.source, sides.target)


def test_keys_of_another_collation_than_their_types(app, sides, pgjanus):
    """Two collations in one comparison fail it, or keep it from the index."""
    app("""CREATE DOMAIN code AS text COLLATE "C"; CREATE TABLE icu (k code COLLATE "en-x-icu" PRIMARY KEY, v int);
           CREATE TABLE usual (k code COLLATE "default" PRIMARY KEY, v int); CREATE TABLE named (k name COLLATE "en-x-icu" PRIMARY KEY, v int);
           INSERT INTO icu VALUES ('a', 1), ('B', 2); INSERT INTO usual SELECT * FROM icu; INSERT INTO named SELECT * FROM icu""")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client:
        for table in ("icu", "usual", "named"):
            client.execute(f"INSERT INTO {table} VALUES ('c', 3), ('D', 4); UPDATE {table} SET v = v + 1; UPDATE {table} SET k = 'e' WHERE k = 'D'::text")
            client.execute(f"DELETE FROM {table} WHERE k = 'a'::text")
    equal_within(sides.source, sides.target)
    assert pgjanus.status()["mirror"]["error"] is None


def test_the_parts_of_a_key_change_places(app, sides, pgjanus):
    """What is noted keeps its order, and so does the list, whatever makes it be written anew."""
    app("CREATE TABLE pairs (a int, b int, v int, PRIMARY KEY (a, b)); INSERT INTO pairs SELECT i, i + 1, i FROM generate_series(1, 9) i")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client:
        client.execute("ALTER TABLE pairs DROP CONSTRAINT pairs_pkey, ADD PRIMARY KEY (b, a)")
        client.execute("INSERT INTO pairs VALUES (20, 30, 1)")
        equal_within(sides.source, sides.target)
        client.execute("CREATE TABLE another (id int PRIMARY KEY)")
        write = "INSERT INTO pairs VALUES (%s, 50, 1); UPDATE pairs SET v = v + 1; DELETE FROM pairs WHERE a = %s"
        for number, flip in enumerate((None, "cutover", "rollback")):
            if flip:
                pgjanus.do(flip, "--force")
            client.execute(write.replace("%s", str(40 + number), 1).replace("%s", str(1 + number)))
            equal_within(sides.source, sides.target)
    assert pgjanus.status()["mirror"]["error"] is None


def test_rows_without_columns_are_mirrored_by_their_number(app, sides, pgjanus):
    app("CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;"
        "CREATE TABLE made (five int GENERATED ALWAYS AS (5) STORED); INSERT INTO made DEFAULT VALUES")
    pgjanus.do("prepare")
    pgjanus.do("load")
    with pgjanus.connect() as client:
        for table in ("bare", "made"):
            for _ in range(3):
                client.execute(f"INSERT INTO {table} DEFAULT VALUES")
            client.execute(f"DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} LIMIT 2)")
        equal_within(sides.source, sides.target)
        assert pgjanus.do("verify").json["differences"] == []
        client.execute("TRUNCATE bare, made")
        client.execute("INSERT INTO bare SELECT FROM generate_series(1, 3)")
    equal_within(sides.source, sides.target)
    assert pgjanus.status()["mirror"]["error"] is None


def test_vectors_without_elements_are_loaded(app, sides, pgjanus):
    app("CREATE TABLE vectors (id int PRIMARY KEY, o oidvector, i int2vector); INSERT INTO vectors VALUES (1, '', ''), (2, '1 2', '3')")
    pgjanus.do("prepare")
    pgjanus.do("load")
    equal_within(sides.source, sides.target)


def test_a_sequence_of_a_table_that_another_role_owns_reaches_the_old_source(app, source, sides, pgjanus):
    """Replaying makes the sequence; its table there belongs to a role of which ours is merely a member."""
    source.execute("CREATE ROLE crew; GRANT crew TO app")
    sides.source.execute("GRANT USAGE, CREATE ON SCHEMA public TO crew")
    app("CREATE TABLE note (id int PRIMARY KEY); ALTER TABLE note OWNER TO crew; CREATE TABLE own (id int PRIMARY KEY)")
    pgjanus.do("prepare")
    pgjanus.do("load")
    pgjanus.do("cutover", "--force")
    with pgjanus.connect() as client:
        client.execute("ALTER TABLE note ADD COLUMN number serial")
        client.execute("INSERT INTO note VALUES (1), (2)")
        client.execute("CREATE SEQUENCE moves OWNED BY own.id")
        client.execute("ALTER SEQUENCE moves OWNED BY note.id")
    pgjanus.wait_in_sync()
    equal_within(sides.source, sides.target)
    assert sides.source.execute("SELECT DISTINCT refobjid::regclass::text FROM pg_depend WHERE objid IN ('moves'::regclass, "
                                "'note_number_seq'::regclass) AND deptype = 'a'").fetchall() == [("note",)]
    pgjanus.do("rollback", "--force")
    with pgjanus.connect() as client:
        assert client.execute("INSERT INTO note VALUES (3) RETURNING number").fetchone() == (3,)


def test_a_constraint_that_the_app_dropped_after_a_flip_needs_no_validation(app, source, sides, pgjanus):
    """It came back NOT VALID, and was dropped before it was validated: FINISH would have been refused for ever."""
    app("CREATE TABLE lot (id int PRIMARY KEY)")
    pgjanus.do("prepare")
    pgjanus.do("load")
    for schema, table in (("public", "lot"), ("public", "gone"), ("elsewhere", "gone")):
        source.execute(f"INSERT INTO pgjanus.kept VALUES ('check', '{schema}', '{table}', 'fresh', '{{}}', true)", database="app")
    wait_until(lambda: not sides.source.execute("SELECT 1 FROM pgjanus.kept").fetchone(), 20, "nothing left to validate")


def test_tables_truncated_all_at_once_again_and_again_are_caught_up_with_together(app, source, sides, pgjanus):
    """As Django's test suite does it behind each test: not one of them after the other, a fifth of a second each."""
    names = ", ".join(f"t_{n}" for n in range(200))
    app("CREATE TABLE big (id int PRIMARY KEY, v int); INSERT INTO big SELECT i, 0 FROM generate_series(1, 60000) i;"
        + "".join(f"CREATE TABLE t_{n} (id int PRIMARY KEY);" for n in range(200)))
    pgjanus.do("prepare")
    pgjanus.do("load")
    with source.connect("app") as direct:  # Which waits for no batch.
        direct.execute("SET ROLE app")

        def held_up():
            direct.execute(f"UPDATE big SET v = v + 1 WHERE id % 4 = 0; TRUNCATE {names}")
            return pgjanus.log().count("event=table_held_up") >= 200
        wait_until(held_up, 60, "the tables to be held up", every=0.01)
    pgjanus.wait_in_sync(25)
    equal_within(sides.source, sides.target)
