"""DETACH CONCURRENTLY that is cancelled half way: nothing but FINALIZE leads on, and the status says so."""

import psycopg
import pytest

from harness import wait_until
from test_ddl import BASE, alike, schema_of


@pytest.fixture
def mirrored(app, source, target, programs):
    pgjanus = programs(source.owner_url, target.owner_url).start()
    app(BASE + "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    return pgjanus


def test_a_detach_that_was_cancelled_names_its_remedy(source, target, sides, app, mirrored):
    def error():
        return mirrored.status()["mirror"]["error"] or ""

    with source.connect("app", autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM days")
        with pytest.raises(psycopg.errors.QueryCanceled), psycopg.connect(source.owner_url, autocommit=True) as owner:
            owner.execute("SET statement_timeout = '1s'")
            owner.execute("ALTER TABLE days DETACH PARTITION days_1 CONCURRENTLY")
    app("UPDATE days_1 SET what = 'changed' WHERE seq < 20; INSERT INTO heap VALUES ('beside', 1)")
    wait_until(lambda: "ALTER TABLE public.days DETACH PARTITION public.days_1 FINALIZE" in error(), 30, "the remedy in the status")
    # Other tables go on.
    wait_until(lambda: sides.target.execute("SELECT 1 FROM heap WHERE word = 'beside'").fetchone(), 20, "the other table's row")
    refused = mirrored.cli("cutover", "--force")
    assert refused.code != 0 and "FINALIZE" in refused.stdout + refused.stderr, refused
    app("ALTER TABLE days DETACH PARTITION days_1 FINALIZE; UPDATE days_1 SET what = 'alone' WHERE seq = 30")
    wait_until(lambda: sides.target.execute("SELECT 1 FROM days_1 WHERE what = 'alone'").fetchone(), 30, "the table of its own")
    alike(mirrored, source, target, sides)


def test_a_tree_goes_whose_detach_was_cancelled(source, target, app, mirrored):
    """Held up until then, and the status went on saying so for ever: whoever asks whether the locks are gone found nothing to ask for."""
    def error():
        return mirrored.status()["mirror"]["error"] or ""

    with mirrored.connect() as client:
        for turn in range(3):  # That may be asked just before, which is as good.
            if turn:
                client.execute("CREATE TABLE days (seq int PRIMARY KEY) PARTITION BY RANGE (seq)")
                client.execute("CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (1) TO (100)")
                client.execute("INSERT INTO days SELECT generate_series(1, 50)")
            with source.connect("app", autocommit=False) as reader:
                reader.execute("SELECT count(*) FROM days")
                with pytest.raises(psycopg.errors.QueryCanceled), psycopg.connect(source.owner_url, autocommit=True) as owner:
                    owner.execute("SET statement_timeout = '300ms'")
                    owner.execute("ALTER TABLE days DETACH PARTITION days_1 CONCURRENTLY")
            client.execute("UPDATE days_1 SET seq = seq WHERE seq < 20")
            wait_until(lambda: "FINALIZE" in error(), 30, "the remedy in the status")
            client.execute("DROP TABLE days CASCADE")
            wait_until(lambda: schema_of(source) == schema_of(target), 30, "the mirror to follow")
            wait_until(lambda: not error(), 10, "nothing to be said any more")
    mirrored.wait_in_sync()
