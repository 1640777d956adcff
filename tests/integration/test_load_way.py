"""A load gives way to whoever waits for its locks, and comes to its end all the same."""

import threading

import psycopg

from harness import wait_until
from test_ddl import alike, run
from test_ddl_load_columns import FAST
from test_ddl_load_way import BIG, COPYING, begin, end


def rates(rows):
    return f"[load]\nyield = \"off\"\nworkers = 1\nrows_per_second = {rows}\n"


def test_a_table_that_is_locked_whenever_it_is_copied_comes_at_last(app, source, target, sides, configured):
    """Whole, for longer than anybody waits: after it gave way four times it is copied to its end, and those who wait are named."""
    verb = begin(app, sides, configured, BIG.format(key="", rows=100000), rates(2000))
    over = threading.Event()

    def lock_always():
        while not over.is_set():
            with psycopg.connect(source.owner_url) as somebody:
                somebody.execute("LOCK TABLE big")
                somebody.execute("INSERT INTO big VALUES (0, 'z')")

    locker = threading.Thread(target=lock_always)
    locker.start()
    try:
        told = lambda: [line for line in configured.log().splitlines() if "event=load_keeps_app_waiting" in line]  # noqa: E731
        [line] = wait_until(told, 60, "the load to go on")
        assert "big, part 1 of 1" in line and "LOCK TABLE big" in line
        wait_until(lambda: sides.target.execute("SELECT state FROM pgjanus.tables WHERE table_name = 'big'").fetchone() == ("mirrored",), 20, "the table")
    finally:
        over.set()
        locker.join()
    end(verb, configured)
    assert configured.log().count("event=load_gives_way ") == 4
    alike(configured, source, target, sides)


def test_what_is_copied_in_chunks_is_copied_in_smaller_ones_after_it_gave_way(app, source, target, sides, configured):
    verb = begin(app, sides, configured, BIG.format(key=" PRIMARY KEY", rows=30000), rates(2000))
    parts = "SELECT count(*), count(DISTINCT coalesce(end_page, -1)), max(end_page) FROM pgjanus.chunks c JOIN pgjanus.tables t ON t.id = c.table_id WHERE table_name = 'big'"
    assert sides.target.execute(parts).fetchone()[0] == 1
    wait_until(lambda: sum(worker["rows"] for worker in configured.status()["load"]["workers"]) > 12000, 30, "some of its rows")
    run(configured, "UPDATE big SET t = 'y' WHERE id IN (5, 29000)")
    with source.connect("app", autocommit=False) as somebody:
        somebody.execute("LOCK TABLE big")
    wait_until(lambda: sides.target.execute(parts).fetchone()[:2] == (2, 2), 20, "two parts")
    end(verb, configured)
    alike(configured, source, target, sides)
    configured.do("verify")


def test_a_table_that_replayed_ddl_wants_again_and_again_comes_at_last(app, source, target, sides, configured):
    """On the mirror, too: rows wait for that copy then, and not for ever."""
    verb = begin(app, sides, configured, BIG.format(key="", rows=30000), rates(2000))
    for number in range(1, 5):
        run(configured, f"CREATE VIEW v{number} AS SELECT id FROM big")
        wait_until(lambda n=number: configured.log().count("event=load_retried ") == n, 20, "the load to give way")
        wait_until(lambda: sides.target.execute(COPYING).fetchone(), 30, "rows to be copied again")
    run(configured, "CREATE VIEW v5 AS SELECT id FROM big")
    assert "load_goes_on_to_its_end" in configured.log()
    wait_until(lambda: verb.poll() is not None, 60, "the load to end")
    end(verb, configured)
    assert configured.log().count("event=load_gives_way ") == 4
    alike(configured, source, target, sides)
