"""Materialized views: one that is populated on the primary can be selected from after a flip, one that is not cannot."""

import pytest

from harness import wait_until
from test_ddl import BASE, alike, run

VIEWS = """
CREATE VIEW between AS SELECT 1::bigint AS n;
CREATE MATERIALIZED VIEW above AS SELECT n FROM between WITH NO DATA;
CREATE MATERIALIZED VIEW below AS SELECT count(*) AS n FROM heap WITH NO DATA;
CREATE UNIQUE INDEX ON below (n);
CREATE OR REPLACE VIEW between AS SELECT n FROM below;
CREATE MATERIALIZED VIEW full_one AS SELECT count(*) AS n FROM accounts;
CREATE FUNCTION found_by_path() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM heap); END';
CREATE MATERIALIZED VIEW picky AS SELECT found_by_path() AS n WITH NO DATA;
"""


@pytest.fixture
def mirrored(app, source, target, programs):
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()
    app(BASE + VIEWS)
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    return pgjanus


def populated(connection):
    return {name for (name,) in connection.execute("SELECT matviewname::text FROM pg_matviews WHERE ispopulated")}


def test_what_is_populated_follows_the_primary_in_both_directions(source, target, sides, mirrored):
    here, there = sides.source, sides.target
    for verb in ("cutover", "rollback"):
        for statement, expected in (
                ("BEGIN; REFRESH MATERIALIZED VIEW below; REFRESH MATERIALIZED VIEW above; COMMIT", {"above", "below", "full_one"}),
                ("REFRESH MATERIALIZED VIEW full_one WITH NO DATA", {"above", "below"}),
                ("REFRESH MATERIALIZED VIEW above WITH NO DATA; REFRESH MATERIALIZED VIEW below WITH NO DATA", set()),
                ("CREATE MATERIALIZED VIEW fresh AS SELECT n FROM between WITH NO DATA", set()),
                ("REFRESH MATERIALIZED VIEW below", {"below"}),
                ("REFRESH MATERIALIZED VIEW above; REFRESH MATERIALIZED VIEW fresh", {"above", "below", "fresh"})):
            run(mirrored, statement)
            assert populated(here) == expected
            wait_until(lambda: populated(there) == expected, 20, "the mirror's views")
        assert "materialized_view_not_refreshed" not in mirrored.log()
        run(mirrored, "INSERT INTO heap VALUES ('more', 1)", "REFRESH MATERIALIZED VIEW below")
        mirrored.wait_in_sync()
        mirrored.do(verb, "--force")
        here, there = there, here
        with mirrored.connect() as client:
            assert client.execute("SELECT n FROM below").fetchone() == client.execute("SELECT count(*) FROM heap").fetchone()
        run(mirrored, "SELECT * FROM above", "SELECT * FROM fresh", "DROP MATERIALIZED VIEW fresh", "REFRESH MATERIALIZED VIEW full_one")
        wait_until(lambda: populated(there) == {"above", "below", "full_one"}, 20, "the mirror's views")
    alike(mirrored, source, target, sides, sequences=False)


def test_a_view_that_cannot_be_filled_on_the_mirror_holds_nothing_up(source, target, sides, mirrored):
    """Its function finds tables by a search_path that replaying has not. The log says so."""
    run(mirrored, "REFRESH MATERIALIZED VIEW picky", "CREATE MATERIALIZED VIEW picky_too AS SELECT found_by_path() AS n",
        "INSERT INTO heap VALUES ('more', 1)")
    mirrored.wait_in_sync()
    assert "picky_too" in populated(sides.source)
    assert populated(sides.target) == {"full_one"}
    assert mirrored.log().count("materialized_view_not_refreshed") >= 2
    alike(mirrored, source, target, sides)
