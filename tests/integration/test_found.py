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
